"""Secrets at rest: AES-256-GCM under the newest encryption key, bound to a context.

ENCRYPTION_KEYS lists the keys, newest first. The first seals; each of them opens. Keys for other
purposes (callback tokens, Temporal payloads, cursors) are derived from them.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
_KEY_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
"""A random 96-bit nonce is safe for 2**32 messages under one key (NIST SP 800-38D)."""
_TAG_BYTES: Final = 16
_SEALING_PURPOSE: Final = "secrets-at-rest"


class SealError(Exception):
    """A sealed value cannot be opened. The text gives the reason, never the content."""


class UnknownKeyError(SealError):
    """The key that sealed the value is not configured."""

    def __init__(self, key_id: str, known: Sequence[str]) -> None:
        super().__init__(
            f"sealed with key {key_id}, which is not in ENCRYPTION_KEYS (has {', '.join(known)})"
        )
        self.key_id = key_id


class BrokenSealError(SealError):
    """The bytes are not a sealed value, were changed, or belong to another context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An encrypted value and the id of the key that opens it. data: nonce, ciphertext, tag."""

    key_id: str
    data: bytes


class Sealer:
    """Seals with the newest key and opens with any configured key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take the keys, newest first, 32 bytes each.

        Raises ValueError if there is no key, or if a key has another length.
        """
        if not keys:
            raise ValueError("at least one encryption key is needed")
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"an encryption key has {KEY_BYTES} bytes")
        self._keys = {key_id(key): key for key in keys}
        self._ciphers = {
            name: AESGCM(_derived(key, _SEALING_PURPOSE)) for name, key in self._keys.items()
        }

    def __repr__(self) -> str:
        return f"Sealer(key_ids={self.key_ids})"

    @property
    def newest_id(self) -> str:
        """The id of the key that seals."""
        return self.key_ids[0]

    @property
    def key_ids(self) -> list[str]:
        """The ids of all keys, newest first; safe to log."""
        return list(self._keys)

    def seal(self, plaintext: bytes | str, *, context: str) -> Sealed:
        """Encrypt with the newest key. Sealing the same value twice gives different bytes.

        context: names the only place where the value may be opened.
        """
        nonce = os.urandom(_NONCE_BYTES)
        data = plaintext.encode() if isinstance(plaintext, str) else plaintext
        key_id = self.newest_id
        ciphertext = self._ciphers[key_id].encrypt(nonce, data, _authenticated(key_id, context))
        return Sealed(key_id=key_id, data=nonce + ciphertext)

    def open(self, sealed: Sealed, *, context: str) -> bytes:
        """Decrypt a value that was sealed for the same context.

        Raises UnknownKeyError or BrokenSealError.
        """
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise UnknownKeyError(sealed.key_id, self.key_ids)
        nonce, ciphertext = sealed.data[:_NONCE_BYTES], sealed.data[_NONCE_BYTES:]
        if len(ciphertext) < _TAG_BYTES:
            raise BrokenSealError("shorter than any sealed value")
        try:
            return cipher.decrypt(nonce, ciphertext, _authenticated(sealed.key_id, context))
        except InvalidTag:
            raise BrokenSealError(f"changed, or not sealed for the context {context!r}") from None

    def derive_key(self, purpose: str) -> list[bytes]:
        """Return an independent key for a purpose from each key, newest first (HKDF-SHA256)."""
        return [_derived(key, purpose) for key in self._keys.values()]


def key_id(key: bytes) -> str:
    """Return the public name of a key: 16 hex digits that reveal nothing about it."""
    return hashlib.sha256(b"takeone/key-id" + key).digest()[:_KEY_ID_BYTES].hex()


def _authenticated(key_id: str, context: str) -> bytes:
    """Return the additional data that GCM authenticates."""
    return f"{key_id}/{context}".encode()


def _derived(key: bytes, purpose: str) -> bytes:
    return HKDF(
        algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"takeone/{purpose}".encode()
    ).derive(key)
