"""Callback tokens: a job id, a send number and the send's key, verifiable without a query."""

import base64
import binascii
import hashlib
import hmac
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.ids import JobId, ProviderKeyId

PURPOSE = "callback-token"
_JOB, _KEY = "job_", "pkey_"
_UUID_BYTES = 16
_SEND_BYTES = _UUID_BYTES + 4
_SHORT_MAC_BYTES, _LONG_MAC_BYTES = 16, 18
"""They make the lengths multiples of three, so that base64 has one form for each token."""
_SHORT_BYTES = _SEND_BYTES + _SHORT_MAC_BYTES
_LONG_BYTES = _SEND_BYTES + _UUID_BYTES + _LONG_MAC_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSend:
    """What a token states: a send and the user's own key that it used; None: the service's key.

    names_key: False in tokens of an earlier version, whose key is in the send's row.
    """

    job_id: JobId
    send_number: int
    provider_key_id: ProviderKeyId | None = None
    names_key: bool = True


class CallbackTokens:
    """Signs with the newest key and verifies with any. keys: derived for PURPOSE, newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def sign(
        self,
        provider: str,
        job_id: JobId,
        send_number: int,
        provider_key_id: ProviderKeyId | None = None,
    ) -> str:
        """Return the token of a send. It stays the same while the newest key does."""
        subject = _uuid_bytes(job_id, _JOB) + send_number.to_bytes(4, "big")
        length = _SHORT_MAC_BYTES
        if provider_key_id is not None:
            subject += _uuid_bytes(provider_key_id, _KEY)
            length = _LONG_MAC_BYTES
        mac = _mac(self._keys[0], _at(provider, subject), length)
        return base64.urlsafe_b64encode(subject + mac).decode()

    def verify(self, provider: str, token: str) -> SignedSend | None:
        """Return what the token of this provider states; None for an invalid token."""
        try:
            raw = base64.b64decode(
                token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            return None
        if len(raw) == _SHORT_BYTES:
            subject, mac = raw[:-_SHORT_MAC_BYTES], raw[-_SHORT_MAC_BYTES:]
            if self._is_signed(mac, _at(provider, subject)):
                return _signed_send(subject)
            # A token of an earlier version names neither provider nor key.
            return _signed_send(subject, names_key=False) if self._is_signed(mac, subject) else None
        if len(raw) == _LONG_BYTES:
            subject, mac = raw[:-_LONG_MAC_BYTES], raw[-_LONG_MAC_BYTES:]
            if self._is_signed(mac, _at(provider, subject)):
                return _signed_send(subject)
        return None

    def _is_signed(self, mac: bytes, subject: bytes) -> bool:
        return any(hmac.compare_digest(_mac(key, subject, len(mac)), mac) for key in self._keys)


def _signed_send(subject: bytes, *, names_key: bool = True) -> SignedSend:
    job, number, key = (
        subject[:_UUID_BYTES],
        subject[_UUID_BYTES:_SEND_BYTES],
        subject[_SEND_BYTES:],
    )
    return SignedSend(
        job_id=JobId(_JOB + uuid.UUID(bytes=job).hex),
        send_number=int.from_bytes(number, "big"),
        provider_key_id=ProviderKeyId(_KEY + uuid.UUID(bytes=key).hex) if key else None,
        names_key=names_key,
    )


def _at(provider: str, subject: bytes) -> bytes:
    return provider.encode() + b"\0" + subject


def _uuid_bytes(text: str, prefix: str) -> bytes:
    return uuid.UUID(hex=text.removeprefix(prefix)).bytes


def _mac(key: bytes, subject: bytes, length: int) -> bytes:
    return hmac.digest(key, subject, hashlib.sha256)[:length]
