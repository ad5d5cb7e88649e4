"""Secrets at rest: sealed with AES-256-GCM under the newest configured key, opened with any of them."""

import hashlib
import os
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_VERSION = b"\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12  # NIST SP 800-38D: a random 96-bit nonce is safe for 2**32 messages under one key
_TAG_BYTES = 16
_HEADER_BYTES = len(_VERSION) + _KEY_ID_BYTES + _NONCE_BYTES


class SealError(Exception):
    """Something sealed cannot be opened. Says why, never what is inside."""


class UnknownKeyError(SealError):
    """The key that sealed it is not among the configured ones."""

    def __init__(self, key_id: str, known: Sequence[str]) -> None:
        super().__init__(f"sealed with key {key_id}, which is not in ENCRYPTION_KEYS (has {', '.join(known)})")
        self.key_id = key_id


class BrokenSealError(SealError):
    """The bytes are not ours, were changed, or belong to another context."""


class SecretBox(Protocol):
    """What the rest of the product needs; a key management service can stand behind it as well as `Sealer`."""

    def seal(self, plaintext: bytes | str, *, context: str) -> bytes:
        """Encrypt. `context` names the one place where the result may be opened, e.g. `users/usr_…/webhook`."""
        ...

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt what `seal` gave for the same context. Raises SealError."""
        ...

    def derive_key(self, purpose: str) -> list[bytes]:
        """Keys of 32 bytes for one purpose, newest first: sign with the first, accept any."""
        ...


class Sealer:
    """AES-256-GCM with rotation: the first key seals, each key opens. Blob: version, key id, nonce, ciphertext, tag."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """keys: newest first, 32 bytes each. Raises ValueError when there is none, or one has another length."""
        if not keys:
            raise ValueError("at least one encryption key is needed")
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"an encryption key has {KEY_BYTES} bytes")
        self._keys = {key_id(key): key for key in keys}
        self._newest_id = key_id(keys[0])

    def __repr__(self) -> str:
        return f"Sealer(key_ids={self.key_ids})"

    @property
    def key_ids(self) -> list[str]:
        """Ids of the configured keys, newest first; safe to log."""
        return list(self._keys)

    def seal(self, plaintext: bytes | str, *, context: str) -> bytes:
        """Encrypt under the newest key. Twice the same gives different bytes."""
        header = _VERSION + bytes.fromhex(self._newest_id)
        nonce = os.urandom(_NONCE_BYTES)
        data = plaintext.encode() if isinstance(plaintext, str) else plaintext
        box = AESGCM(self._keys[self._newest_id])
        return header + nonce + box.encrypt(nonce, data, header + context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt. Raises UnknownKeyError or BrokenSealError."""
        header, nonce, ciphertext = _split(sealed)
        sealed_by = header[len(_VERSION) :].hex()
        key = self._keys.get(sealed_by)
        if key is None:
            raise UnknownKeyError(sealed_by, self.key_ids)
        try:
            return AESGCM(key).decrypt(nonce, ciphertext, header + context.encode())
        except InvalidTag:
            raise BrokenSealError(f"changed, or not sealed for the context {context!r}") from None

    def derive_key(self, purpose: str) -> list[bytes]:
        """One independent key per configured key and purpose (HKDF-SHA256), newest first."""
        return [
            HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"takeone/{purpose}".encode()).derive(key)
            for key in self._keys.values()
        ]


def key_id(key: bytes) -> str:
    """A short public name of a key: 16 hex digits that tell nothing about it."""
    return hashlib.sha256(b"takeone/key-id" + key).digest()[:_KEY_ID_BYTES].hex()


def _split(sealed: bytes) -> tuple[bytes, bytes, bytes]:
    if len(sealed) < _HEADER_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
        raise BrokenSealError("not something this version of Takeone has sealed")
    header, rest = sealed[: _HEADER_BYTES - _NONCE_BYTES], sealed[_HEADER_BYTES - _NONCE_BYTES :]
    return header, rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
