"""What verifies callbacks: keys, fetched when needed and kept for a while; Ed25519; Standard
Webhooks.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from core.providers.answers import as_list, as_object, as_text
from core.providers.port import CallbackUnverifiableError, ProviderUnavailableError

K = TypeVar("K")

LIFE_SECONDS = 24 * 3600.0
"""fal allows at most a day (its webhook documentation, read 2026-11)."""
PAUSE_SECONDS = 10.0
"""Between two fetches: forged callbacks must not become requests to the provider, one for one."""
TOLERANCE_SECONDS = 300
"""How far a callback's time may be from ours, in both directions."""


class FetchedKeys(Generic[K]):
    """What `fetch` brought, for at most LIFE_SECONDS. fetch raises ProviderUnavailableError if it
    has none.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[K]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: K | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None

    async def accept(self, fits: Callable[[K], bool]) -> bool:
        """Do the keys fit, these or, if they were changed meanwhile, new ones? Raises
        CallbackUnverifiableError.
        """
        keys = await self._current()
        if fits(keys):
            return True
        newer = await self._newer_than(keys)
        return newer is not None and fits(newer)

    async def _current(self) -> K:
        async with self._lock:
            if self._keys is not None and self._clock() - self._fetched_at < LIFE_SECONDS:
                return self._keys
            if not self._may_try():
                raise CallbackUnverifiableError(
                    "the provider's keys could not be fetched a moment ago"
                )
            return await self._fetched()

    async def _newer_than(self, seen: K) -> K | None:
        """Keys other than those that did not fit: from another's fetch, or from one more. None:
        there are none now.
        """
        async with self._lock:
            if self._keys is not None and self._keys != seen:
                return self._keys
            if not self._may_try():
                return None
            keys = await self._fetched()
            return keys if keys != seen else None

    def _may_try(self) -> bool:
        return self._tried_at is None or self._clock() - self._tried_at >= PAUSE_SECONDS

    async def _fetched(self) -> K:
        self._tried_at = self._clock()
        try:
            self._keys = await self._fetch()
        except ProviderUnavailableError as error:
            raise CallbackUnverifiableError(
                f"the provider's keys cannot be fetched: {error}"
            ) from None
        self._fetched_at = self._clock()
        return self._keys


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
