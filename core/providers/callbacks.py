"""Callback verification: cached provider keys, Ed25519 and Standard Webhooks signatures."""

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
from core.providers.http.responses import as_list, as_object, as_text
from core.providers.port import CallbackUnverifiableError, ProviderUnavailableError

K = TypeVar("K")

LIMITS: Final = CacheLimits(
    max_age_seconds=24 * 3600.0,  # the longest that fal permits (its documentation, read 2026-11)
    pause_seconds=10.0,
)
TOLERANCE_SECONDS = 300
"""Maximum difference between a callback's time and ours, in both directions."""


class FetchedKeys(Generic[K]):
    """A provider's keys for callbacks, fetched when needed.

    fetch: raises ProviderUnavailableError if the provider returns no keys.
    """

    def __init__(self, fetch: Callable[[], Awaitable[K]], *, clock: Clock = time.monotonic) -> None:
        async def fetch_keys() -> K:
            try:
                return await fetch()
            except ProviderUnavailableError as error:
                raise KeysUnavailableError(str(error)) from None

        self._cache = KeyCache(fetch_keys, LIMITS, clock=clock)

    async def verify(self, matches: Callable[[K], bool]) -> bool:
        """Return whether the cached keys match or, after a rotation, freshly fetched ones.

        Raises CallbackUnverifiableError if no keys can be fetched.
        """
        try:
            keys = await self._cache.current()
            if matches(keys):
                return True
            newer = await self._cache.newer_than(keys)
        except KeysUnavailableError as error:
            raise CallbackUnverifiableError(
                f"the provider's keys cannot be fetched: {error}"
            ) from None
        return newer is not None and matches(newer)


def checked_timestamp(text: str, now: float) -> int | None:
    """Return a callback's signed time in unix seconds.

    None if it is not a plain integer, or further than TOLERANCE_SECONDS from now.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return None
    timestamp = int(text)
    return timestamp if abs(now - timestamp) <= TOLERANCE_SECONDS else None


def ed25519_keys(jwks: object) -> tuple[bytes, ...]:
    """Return the Ed25519 keys of a JSON Web Key Set; other keys are skipped."""
    keys = [_ed25519_key(item) for item in as_list(as_object(jwks).get("keys"))]
    return tuple(key for key in keys if key is not None)


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


def verify_ed25519(keys: Sequence[bytes], signature: bytes, message: bytes) -> bool:
    """Return whether the signature is valid under any of these keys."""
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def standard_webhooks_key(secret: str) -> bytes | None:
    """Return the HMAC key of a whsec_ secret, or None if it is malformed."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if secret.startswith("whsec_") and key else None


def verify_standard_webhooks(key: bytes, message: bytes, signatures: Sequence[str]) -> bool:
    """Return whether a signature (v1,base64) is valid for the message ({id}.{timestamp}.{body}).

    The reference package is not used: malformed headers make it raise undocumented errors.
    """
    expected = b"v1," + base64.b64encode(hmac.digest(key, message, hashlib.sha256))
    return any(
        hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        for signature in signatures
    )
