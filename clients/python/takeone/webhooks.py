"""Verification of received webhooks: Standard Webhooks, with the secrets of this service."""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import Field, ValidationError
from pydantic_core import from_json

from takeone.errors import WebhookVerificationError
from takeone.models.base import Model
from takeone.models.executions import Cost, ExecutionStatus, Failure, Result

TOLERANCE_SECONDS: Final = 300
PREFIX: Final = "whsec_"
_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class WebhookEvent(Model):
    """An event. Members of its type that this class does not have are in `model_extra`."""

    id: str
    type: str
    timestamp: datetime


class ExecutionEvent(WebhookEvent):
    """The end of an execution. sequence: the highest is the latest of the execution."""

    execution_id: str
    generation: int
    sequence: int
    status: ExecutionStatus
    result: Result | None
    error: Failure | None
    cost: Cost
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    now: float | None = None,
) -> WebhookEvent:
    """Return the event of a webhook: an ExecutionEvent, or a WebhookEvent of another type.

    body: as it arrived. secret: the signing secret; several while one is being replaced. Raise
    WebhookVerificationError if no secret has signed it, or if it is older than five minutes. A
    webhook arrives at least once: drop repeats by the event's `id`.
    """
    content = body.encode() if isinstance(body, str) else body
    event_id, timestamp, signatures = (_header(headers, name) for name in _HEADERS)
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WebhookVerificationError("The header webhook-timestamp is malformed.")
    age = (time.time() if now is None else now) - int(timestamp)
    if abs(age) > TOLERANCE_SECONDS:
        raise WebhookVerificationError(f"The webhook was sent {age:.0f} s ago; 300 are allowed.")
    signed = f"{event_id}.{timestamp}.".encode() + content
    for each in [secret] if isinstance(secret, str) else secret:
        digest = hmac.digest(_key(each), signed, hashlib.sha256)
        expected = b"v1," + base64.b64encode(digest)
        if any(
            hmac.compare_digest(expected, signature)
            for signature in signatures.encode().split(b" ")
        ):
            return _event(content)
    raise WebhookVerificationError("The webhook is not signed with this secret.")


def _header(headers: Mapping[str, str], name: str) -> str:
    value = next((value for each, value in headers.items() if each.lower() == name), "")
    if not value:
        raise WebhookVerificationError(f"The webhook lacks the header {name}.")
    return value


def _key(secret: str) -> bytes:
    """Return the key of a secret. With an empty one, anyone could sign."""
    key = _decoded(secret.removeprefix(PREFIX)) if secret.startswith(PREFIX) else secret.encode()
    if not key:
        raise WebhookVerificationError("The secret is empty.")
    return key


def _decoded(text: str) -> bytes:
    unpadded = text.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except ValueError:  # also of characters beyond ASCII
        raise WebhookVerificationError(
            "The part after whsec_ of the secret is not base64."
        ) from None


def _event(content: bytes) -> WebhookEvent:
    try:
        document = from_json(content)
        event = WebhookEvent.model_validate(document)
        if event.type.startswith("execution."):
            return ExecutionEvent.model_validate(document)
    except (ValueError, ValidationError):
        raise WebhookVerificationError("The body of the webhook is not an event.") from None
    return event
