"""Callback tokens: a job id and a send number, verifiable without a database query."""

import base64
import binascii
import hashlib
import hmac
import uuid
from collections.abc import Sequence

from core.domain.ids import JobId

PURPOSE = "callback-token"
_PREFIX = "job_"
_UUID_BYTES = 16
_NUMBER_BYTES = 4
_MAC_BYTES = 16


class CallbackTokens:
    """Signs with the newest key and verifies with any. keys: derived for PURPOSE, newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def sign(self, job_id: JobId, send_number: int) -> str:
        """Return the token of a send. It stays the same while the newest key does."""
        subject = uuid.UUID(hex=job_id.removeprefix(_PREFIX)).bytes + send_number.to_bytes(
            _NUMBER_BYTES, "big"
        )
        return (
            base64.urlsafe_b64encode(subject + _mac(self._keys[0], subject)).rstrip(b"=").decode()
        )

    def verify(self, token: str) -> tuple[JobId, int] | None:
        """Return the job and the number of its send; None for an invalid token."""
        try:
            raw = base64.b64decode(
                token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _UUID_BYTES + _NUMBER_BYTES + _MAC_BYTES:
            return None
        subject, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not any(hmac.compare_digest(_mac(key, subject), mac) for key in self._keys):
            return None
        job_id = JobId(_PREFIX + uuid.UUID(bytes=subject[:_UUID_BYTES]).hex)
        return job_id, int.from_bytes(subject[_UUID_BYTES:], "big")


def _mac(key: bytes, subject: bytes) -> bytes:
    return hmac.digest(key, subject, hashlib.sha256)[:_MAC_BYTES]
