"""Callbacks as received."""

import base64
import hashlib
import time
from typing import Any

import pytest
import standardwebhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sandbox.settings import DEFAULT_WEBHOOK_SECRET
from tests.sandbox.process import FLUX, SEEDANCE, Received, Receiver, Sandbox


def is_signed_by_fal(sandbox: Sandbox, callback: Received) -> bool:
    """Verify as the vendor documents it, with the published keys."""
    headers = callback.headers
    assert abs(time.time() - int(headers["x-fal-webhook-timestamp"])) < 300
    lines = [headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")]
    message = "\n".join([*lines, hashlib.sha256(callback.body).hexdigest()]).encode()
    for key in sandbox.client.get("/fal/.well-known/jwks.json").json()["keys"]:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=="))
        try:
            public.verify(bytes.fromhex(headers["x-fal-webhook-signature"]), message)
        except InvalidSignature:
            continue
        return True
    return False


def is_signed_by_replicate(callback: Received) -> bool:
    try:
        standardwebhooks.Webhook(DEFAULT_WEBHOOK_SECRET).verify(callback.body, callback.headers)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def test_fal_callback_carries_the_output_and_is_signed(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    submitted = sandbox.submit(
        prompt="a", callback=f"{receiver.url}/callbacks/fal/t0ken?x=1"
    ).json()
    sandbox.wait_until(lambda: len(receiver.received) == 1)
    callback = receiver.received[0]
    assert callback.path == "/callbacks/fal/t0ken?x=1"
    body = callback.json()
    assert (body["request_id"], body["gateway_request_id"], body["status"]) == (
        submitted["request_id"],
    ) * 2 + ("OK",)
    assert body["payload"] == sandbox.fal_get(submitted["response_url"]).json()
    assert is_signed_by_fal(sandbox, callback)
    assert sandbox.bill()["lines"][0]["token"] == "t0ken"


def test_fal_callback_of_a_failure_has_status_error(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.submit(SEEDANCE, prompt="no picture", callback=f"{receiver.url}/x")
    sandbox.wait_until(lambda: len(receiver.received) == 1)
    body = receiver.received[0].json()
    assert (body["status"], body["error"]) == ("ERROR", "Invalid status code: 422")
    assert body["payload"]["detail"][0]["loc"] == ["body", "image_url"]
    assert is_signed_by_fal(sandbox, receiver.received[0])


def test_replicate_calls_back_start_output_and_completed(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    created = sandbox.predict(
        input={"prompt": "a"}, webhook=f"{receiver.url}/callbacks/replicate/t1"
    )
    done = sandbox.predicted(created)
    sandbox.wait_until(lambda: len(receiver.received) == 3)
    assert all(map(is_signed_by_replicate, receiver.received))
    bodies = sorted(
        (callback.json() for callback in receiver.received), key=lambda body: body["status"]
    )
    assert [body["status"] for body in bodies] == ["processing", "succeeded", "succeeded"]
    assert done in bodies
    assert done["webhook"] == f"{receiver.url}/callbacks/replicate/t1"
    assert len({callback.headers["webhook-id"] for callback in receiver.received}) == 3
    assert sandbox.bill()["lines"][0]["token"] == "t1"


def test_callback_is_repeated_with_the_same_id_until_acknowledged(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    receiver.statuses = [500, 503]
    sandbox.predict(
        input={"prompt": "a"}, webhook=f"{receiver.url}/x", webhook_events_filter=["completed"]
    )
    sandbox.wait_until(lambda: len(receiver.received) == 3)
    assert len({callback.headers["webhook-id"] for callback in receiver.received}) == 1

    def tries() -> list[dict[str, Any]]:
        return sandbox.client.get("/__control/callbacks").json()["callbacks"]

    sandbox.wait_until(lambda: len(tries()) == 3)
    assert [(item["try"], item["status"]) for item in tries()] == [(1, 500), (2, 503), (3, 200)]


def test_callback_is_not_repeated_after_a_redirect(sandbox: Sandbox, receiver: Receiver) -> None:
    receiver.statuses = [307]
    sandbox.submit(prompt="a", callback=f"{receiver.url}/x")
    sandbox.wait_until(lambda: len(receiver.received) == 1)
    time.sleep(0.3)
    assert len(receiver.received) == 1


def test_callbacks_can_be_switched_off(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.set(callbacks=False)
    sandbox.fal_result(sandbox.submit(prompt="a", callback=f"{receiver.url}/x"))
    time.sleep(0.2)
    assert receiver.received == []


def test_callback_lost_is_never_sent(sandbox: Sandbox, receiver: Receiver) -> None:
    fault = sandbox.fault("callback_lost", model=FLUX)
    sandbox.fal_result(sandbox.submit(prompt="a", callback=f"{receiver.url}/x"))
    sandbox.wait_until(lambda: sandbox.fired(fault) == 1)
    time.sleep(0.2)
    assert receiver.received == []


def test_callback_late_delays_the_callback(sandbox: Sandbox, receiver: Receiver) -> None:
    fault = sandbox.fault("callback_late", params={"seconds": 0.6})
    sandbox.fal_result(sandbox.submit(prompt="a", callback=f"{receiver.url}/x"))
    done_at = time.time()
    sandbox.wait_until(lambda: len(receiver.received) == 1)
    assert receiver.received[0].at - done_at > 0.4
    assert sandbox.fired(fault) == 1


def test_callback_duplicate_is_sent_twice(sandbox: Sandbox, receiver: Receiver) -> None:
    fault = sandbox.fault("callback_duplicate", provider="fal")
    sandbox.submit(prompt="a", callback=f"{receiver.url}/x")
    sandbox.wait_until(lambda: len(receiver.received) == 2)
    assert len({callback.body for callback in receiver.received}) == 1
    assert all(is_signed_by_fal(sandbox, callback) for callback in receiver.received)
    assert sandbox.fired(fault) == 1


@pytest.mark.parametrize("also", [False, True])
def test_callback_forged_has_a_bad_signature(
    sandbox: Sandbox, receiver: Receiver, also: bool
) -> None:
    fault = sandbox.fault("callback_forged", times=2, params={"also": also})
    sandbox.submit(prompt="a", callback=f"{receiver.url}/fal")
    sandbox.predict(
        input={"prompt": "a"}, webhook=f"{receiver.url}/r", webhook_events_filter=["completed"]
    )
    sandbox.wait_until(lambda: len(receiver.received) == (4 if also else 2))
    time.sleep(0.1)
    fal = [
        is_signed_by_fal(sandbox, callback)
        for callback in receiver.received
        if callback.path == "/fal"
    ]
    replicate = [
        is_signed_by_replicate(callback) for callback in receiver.received if callback.path == "/r"
    ]
    assert fal == replicate == ([False, True] if also else [False])
    assert sandbox.fired(fault) == 2


@pytest.mark.parametrize("provider", ["fal", "replicate"])
def test_callback_early_precedes_the_create_response(
    sandbox: Sandbox, receiver: Receiver, provider: str
) -> None:
    fault = sandbox.fault("callback_early", provider=provider)
    sandbox.set(image_seconds=5, submit_seconds=0.1)
    if provider == "fal":
        answer = sandbox.submit(prompt="a", callback=f"{receiver.url}/x")
    else:
        answer = sandbox.predict(
            input={"prompt": "a"}, webhook=f"{receiver.url}/x", webhook_events_filter=["completed"]
        )
    answered_at = time.time()
    assert answer.status_code in {200, 201}
    assert len(receiver.received) == 1
    assert receiver.received[0].at < answered_at
    assert sandbox.fired(fault) == 1
