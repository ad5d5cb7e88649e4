"""What verifies callbacks: keys, fetched when needed and kept for a while; Ed25519; Standard
Webhooks.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.platform.key_cache import CacheLimits, Clock, KeyCache, KeysUnavailableError
from core.providers.answers import as_list, as_object, as_text
from core.providers.port import CallbackUnverifiableError, ProviderUnavailableError

K = TypeVar("K")

LIMITS: Final = CacheLimits(
    max_age_seconds=24 * 3600.0,  # fal allows at most a day (webhook documentation, read 2026-11)
    pause_seconds=10.0,
)
TOLERANCE_SECONDS = 300
"""How far a callback's time may be from ours, in both directions."""


class FetchedKeys(Generic[K]):
    """A provider's keys for callbacks, fetched when needed.

    fetch: raises ProviderUnavailableError.
    """

    def __init__(self, fetch: Callable[[], Awaitable[K]], *, clock: Clock = time.monotonic) -> None:
        async def fetch_keys() -> K:
            try:
                return await fetch()
            except ProviderUnavailableError as error:
                raise KeysUnavailableError(str(error)) from None

        self._cache = KeyCache(fetch_keys, LIMITS, clock=clock)

    async def accept(self, fits: Callable[[K], bool]) -> bool:
        """Return whether the keys fit, the cached ones or newly fetched ones.

        Raise CallbackUnverifiableError.
        """
        try:
            keys = await self._cache.current()
            if fits(keys):
                return True
            newer = await self._cache.newer_than(keys)
        except KeysUnavailableError as error:
            raise CallbackUnverifiableError(
                f"the provider's keys cannot be fetched: {error}"
            ) from None
        return newer is not None and fits(newer)


def checked_timestamp(text: str, now: float) -> int | None:
    """The signed time of a callback, in unix seconds; None if it is not a plain whole number or too
    far from now.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return None
    timestamp = int(text)
    return timestamp if abs(now - timestamp) <= TOLERANCE_SECONDS else None


def ed25519_keys(jwks: object) -> tuple[bytes, ...]:
    """The usable keys of a JSON Web Key Set; others are skipped."""
    found = [_ed25519_key(item) for item in as_list(as_object(jwks).get("keys"))]
    return tuple(key for key in found if key is not None)


def _ed25519_key(item: object) -> bytes | None:
    jwk = as_object(item)
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        return None
    text = as_text(jwk.get("x"))
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == 32 else None


def ed25519_signed(keys: Sequence[bytes], signature: bytes, message: bytes) -> bool:
    """Did the owner of any of these keys sign the message?"""
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def standard_webhooks_key(secret: str) -> bytes | None:
    """The HMAC key in whsec_ and base64, else None."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if secret.startswith("whsec_") and key else None


def standard_webhooks_signed(key: bytes, message: bytes, signatures: Sequence[str]) -> bool:
    """Is one of the signatures (v1,base64) that of the message ({id}.{timestamp}.{body})?

    Not by the reference package: on malformed headers it raises errors that are not its own.
    """
    expected = b"v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256))
    return any(
        hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        for signature in signatures
    )
