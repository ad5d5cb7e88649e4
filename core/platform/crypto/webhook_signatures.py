"""Signatures of outgoing webhooks, without clock or I/O.

Every webhook carries two signatures: Standard Webhooks (github.com/standard-webhooks) over id, time
and body, and `X-Webhook-Signature`, a plain HMAC of the body, for simple receivers.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with


class UnusableSecretError(ValueError):
    """The secret is empty, or has no base64 after `whsec_`. The text never contains the secret."""


def standard_webhooks_key(secret: str) -> bytes:
    """Return the key of a secret: the decoded bytes of `whsec_…`, otherwise the text in UTF-8.

    Raises UnusableSecretError.
    """
    if not secret.startswith(SECRET_PREFIX):
        return _text_key(secret)
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(
            encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4), validate=True
        )
    except (binascii.Error, ValueError):
        raise UnusableSecretError("the part after whsec_ is not base64") from None
    if not key:
        raise UnusableSecretError("the secret is empty")
    return key


def standard_webhooks_signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,<base64>` over id, Unix time and body. Raises UnusableSecretError."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return (
        "v1,"
        + base64.b64encode(
            hmac.digest(standard_webhooks_key(secret), signed, hashlib.sha256)
        ).decode()
    )


def body_signature(secret: str, body: bytes) -> str:
    """Return `sha256=<hex>`, keyed with the secret's text as it is. Raises UnusableSecretError."""
    return "sha256=" + hmac.digest(_text_key(secret), body, hashlib.sha256).hex()


def signature_headers(
    secret: str, event_id: str, timestamp: int, body: bytes, *, previous: str | None = None
) -> dict[str, str]:
    """Return the headers with which a receiver verifies an attempt.

    timestamp: of this attempt, in Unix seconds.
    previous: a replaced secret that still signs; only Standard Webhooks allows several signatures.
    """
    signing = [secret] if previous is None else [secret, previous]
    signatures = [standard_webhooks_signature(each, event_id, timestamp, body) for each in signing]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
        "x-webhook-signature": body_signature(secret, body),
    }


def _text_key(secret: str) -> bytes:
    if not secret:
        raise UnusableSecretError("the secret is empty")
    return secret.encode()
