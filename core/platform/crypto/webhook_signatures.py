"""Signatures of the webhooks we send. Pure: no clock, no I/O.

Two signatures travel with every webhook: Standard Webhooks (github.com/standard-webhooks) over id,
time and body, and a plain HMAC of the body, `X-Webhook-Signature`, for receivers that check no more
than that.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with


class UnusableSecretError(ValueError):
    """Nothing can be signed with it: it is empty, or says `whsec_` without base64 behind. The text
    never quotes it.
    """


def standard_webhooks_key(secret: str) -> bytes:
    """The key of a secret: the decoded bytes of `whsec_…`, else the text's UTF-8 bytes. Raises
    UnusableSecretError.
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
    """`v1,<base64>` over id, time (Unix seconds) and body. Raises UnusableSecretError."""
    signed = f"{event_id}.{timestamp}.".encode() + body
    return (
        "v1,"
        + base64.b64encode(
            hmac.digest(standard_webhooks_key(secret), signed, hashlib.sha256)
        ).decode()
    )


def body_signature(secret: str, body: bytes) -> str:
    """`sha256=<hex>`, keyed with the secret's text exactly as its owner wrote it. Raises
    UnusableSecretError.
    """
    return "sha256=" + hmac.digest(_text_key(secret), body, hashlib.sha256).hex()


def signature_headers(
    secret: str, event_id: str, timestamp: int, body: bytes, *, previous: str | None = None
) -> dict[str, str]:
    """The headers that let a receiver check one try of a webhook. timestamp: of this try, in Unix
    seconds.

    previous: the secret that is being replaced, and signs beside it where there may be several
    signatures.
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
