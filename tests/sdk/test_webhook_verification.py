"""The Python client's verification of webhooks, against the reference implementation."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from takeone.errors import WebhookVerificationError
from takeone.webhooks import ExecutionEvent, WebhookEvent, verify
from tests.sdk.webhook_vectors import VECTORS, Vector

ENCODED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PLAIN = "a plain secret of an account"
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "type": "execution.completed",
    "timestamp": "2026-11-22T21:17:40.123Z",
    "executionId": "exec_1",
    "generation": 1,
    "sequence": 2,
    "status": "completed",
    "result": {"url": "https://cdn.test/a.mp4", "assets": []},
    "error": None,
    "cost": {"currency": "USD", "estimated": "1", "held": "0", "settled": "0.3", "final": True},
    "metadata": {"order": 7},
}


def signed(
    event: dict[str, Any], secret: str, at: datetime | None = None
) -> tuple[bytes, dict[str, str]]:
    """Return a webhook as the reference implementation signs it."""
    body, now = json.dumps(event), at or datetime.now(UTC)
    key = secret if secret.startswith("whsec_") else secret.encode()
    headers = {
        "Webhook-Id": event["id"],
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(key).sign(event["id"], now, body),
    }
    return body.encode(), headers


@pytest.mark.parametrize("secret", [ENCODED, PLAIN])
def test_event_of_an_execution_has_types(secret: str) -> None:
    event = verify(*signed(EVENT, secret), secret)
    assert isinstance(event, ExecutionEvent)
    assert (event.execution_id, event.status, str(event.cost.settled)) == (
        "exec_1",
        "completed",
        "0.3",
    )


def test_unknown_event_keeps_its_members() -> None:
    event = verify(*signed({**EVENT, "type": "new.event", "extra": 1}, ENCODED), ENCODED)
    assert type(event) is WebhookEvent
    assert event.model_extra is not None
    assert event.model_extra["extra"] == 1


def test_any_of_several_secrets_is_accepted() -> None:
    assert verify(*signed(EVENT, PLAIN), [ENCODED, PLAIN]).id == "evt_1"


def test_changed_body_is_refused() -> None:
    body, headers = signed(EVENT, ENCODED)
    with pytest.raises(WebhookVerificationError, match="not signed"):
        verify(body.replace(b"0.3", b"0.1"), headers, ENCODED)


def test_other_secret_is_refused() -> None:
    with pytest.raises(WebhookVerificationError, match="not signed"):
        verify(*signed(EVENT, ENCODED), PLAIN)


@pytest.mark.parametrize("age", [-301, 301])
def test_webhook_outside_the_tolerance_is_refused(age: int) -> None:
    body, headers = signed(EVENT, ENCODED)
    with pytest.raises(WebhookVerificationError, match="300 are allowed"):
        verify(body, headers, ENCODED, now=int(headers["Webhook-Timestamp"]) + age)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_webhook_without_a_header_is_refused(name: str) -> None:
    body, headers = signed(EVENT, ENCODED)
    del headers[name]
    with pytest.raises(WebhookVerificationError, match="lacks the header"):
        verify(body, headers, ENCODED)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector.name for vector in VECTORS])
def test_vectors_of_all_clients_are_verified(vector: Vector) -> None:
    arguments = (vector.body.encode(), vector.headers, vector.secrets)
    if vector.refused is None:
        assert verify(*arguments, now=vector.now).id == "evt_1"
        return
    with pytest.raises(WebhookVerificationError, match=vector.refused):
        verify(*arguments, now=vector.now)
