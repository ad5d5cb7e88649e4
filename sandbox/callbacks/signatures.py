"""Callback signatures: fal uses Ed25519 with a key set, Replicate Standard Webhooks."""

import base64
import hashlib
import hmac
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sandbox.settings import Json

FAL_USER_ID = "sandbox-user"


def fal_headers(
    key: Ed25519PrivateKey, *, request_id: str, user_id: str, unix_seconds: int, body: bytes
) -> dict[str, str]:
    """Sign the request id, user id, timestamp and hex SHA-256 of the body, on a line each."""
    message = "\n".join((request_id, user_id, str(unix_seconds), hashlib.sha256(body).hexdigest()))
    return {
        "X-Fal-Webhook-Request-Id": request_id,
        "X-Fal-Webhook-User-Id": user_id,
        "X-Fal-Webhook-Timestamp": str(unix_seconds),
        "X-Fal-Webhook-Signature": key.sign(message.encode()).hex(),
    }


def replicate_headers(
    secret: str, *, webhook_id: str, unix_seconds: int, body: bytes
) -> dict[str, str]:
    """Sign id, timestamp and body, joined by dots, with the decoded part after `whsec_`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{webhook_id}.{unix_seconds}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(unix_seconds),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def key_set(key: Ed25519PrivateKey) -> Json:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]}


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Return the data folder's signing key; the first start creates it."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        path.write_bytes(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
        path.chmod(0o600)
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
