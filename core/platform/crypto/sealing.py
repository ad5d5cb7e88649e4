"""Secrets at rest, in envelopes: each is sealed with a fresh key of its own (AES-256-GCM), which is
wrapped by a master key. A new master key needs only the wrapping anew.

A sealed secret: version 2, id of the master key, length of the wrapped key, wrapped key, nonce,
ciphertext with tag. Version 1 had no envelope: the master key sealed the secret itself. It is still
opened.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
HEADER_BYTES = 9
"""Version and id of the master key: tells whether something is sealed as it would be today."""
_DIRECT, _ENVELOPE = b"\x01", b"\x02"
_KEY_ID_BYTES: Final = HEADER_BYTES - len(_ENVELOPE)
_LENGTH_BYTES = 2
_NONCE_BYTES = 12  # NIST SP 800-38D: a random 96-bit nonce is safe for 2**32 messages under one key
_TAG_BYTES = 16
_WRAP_PURPOSE = "key-wrapping"


class SealError(Exception):
    """Something sealed cannot be opened. Says why, never what is inside."""


class UnknownKeyError(SealError):
    """The key that sealed it is not among the configured ones."""

    def __init__(self, key_id: str, known: Sequence[str]) -> None:
        super().__init__(
            f"sealed with key {key_id}, which is not in ENCRYPTION_KEYS (has {', '.join(known)})"
        )
        self.key_id = key_id


class BrokenSealError(SealError):
    """The bytes are not ours, were changed, or belong to another context."""


class KeyWrapper(Protocol):
    """Who holds the master keys: the settings (`LocalKeys`), or a key management service that never
    shows them.

    A key's id is 16 hex digits (a service's own, longer name: hashed) and may be shown. Called on
    the event loop: who asks over the network keeps unwrapped keys for a while.
    """

    @property
    def newest_id(self) -> str:
        """The master key that wraps from now on."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """All that can unwrap, newest first."""
        ...

    def wrap(self, data_key: bytes) -> bytes:
        """Encrypt a key of 32 bytes under the newest master key. At most 65535 bytes come back."""
        ...

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """What was wrapped under that master key. Raises UnknownKeyError, BrokenSealError."""
        ...


class SecretBox(Protocol):
    """What the rest of the product needs: `Sealer`."""

    def seal(self, plaintext: bytes | str, *, context: str) -> bytes:
        """Encrypt. `context` names the one place where the result may be opened, e.g.
        `users/usr_…/webhook`.
        """
        ...

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt what `seal` gave for the same context. Raises SealError."""
        ...

    @property
    def newest_id(self) -> str:
        """The master key that seals now."""
        ...

    @property
    def key_ids(self) -> list[str]:
        """The master keys that open; safe to log."""
        ...

    @property
    def header(self) -> bytes:
        """How everything begins that is sealed now."""
        ...

    def renew(self, sealed: bytes, *, context: str) -> bytes:
        """The same secret, under the newest master key. Raises SealError."""
        ...

    def derive_key(self, purpose: str) -> list[bytes]:
        """Keys of 32 bytes for one purpose, newest first: sign with the first, accept any."""
        ...


class LocalKeys:
    """Master keys of the settings. Each wraps with a key that is derived from it, and used for
    nothing else.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """keys: newest first, 32 bytes each. Raises ValueError when there is none, or one has
        another length.
        """
        if not keys:
            raise ValueError("at least one encryption key is needed")
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"an encryption key has {KEY_BYTES} bytes")
        self._keys = {key_id(key): key for key in keys}
        self.newest_id = key_id(keys[0])

    @property
    def ids(self) -> list[str]:
        """Newest first."""
        return list(self._keys)

    def master_key(self, key_id: str) -> bytes:
        """Raises UnknownKeyError."""
        key = self._keys.get(key_id)
        if key is None:
            raise UnknownKeyError(key_id, self.ids)
        return key

    def wrap(self, data_key: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._wrapping(self.newest_id).encrypt(nonce, data_key, None)

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        box = self._wrapping(key_id)
        if len(wrapped) != _NONCE_BYTES + KEY_BYTES + _TAG_BYTES:
            raise BrokenSealError("its wrapped key has another length than ours")
        try:
            return box.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], None)
        except InvalidTag:
            raise BrokenSealError("its wrapped key was changed") from None

    def _wrapping(self, key_id: str) -> AESGCM:
        return AESGCM(_derived(self.master_key(key_id), _WRAP_PURPOSE))

    def derive_key(self, purpose: str) -> list[bytes]:
        """One independent key per master key and purpose, newest first."""
        return [_derived(key, purpose) for key in self._keys.values()]


class Sealer:
    """Seals in envelopes under the newest master key, opens what any of them wrapped."""

    def __init__(self, keys: Sequence[bytes], wrapper: KeyWrapper | None = None) -> None:
        """keys: newest first, 32 bytes each: they derive keys, open version 1, and wrap unless
        `wrapper` does.

        Raises ValueError when there is none, or one has another length.
        """
        self._keys = LocalKeys(keys)
        self._wrapper: KeyWrapper = wrapper or self._keys

    def __repr__(self) -> str:
        return f"Sealer(key_ids={self.key_ids})"

    @property
    def newest_id(self) -> str:
        return self._wrapper.newest_id

    @property
    def key_ids(self) -> list[str]:
        """Newest first, then those that only open; safe to log."""
        return list(dict.fromkeys((*self._wrapper.ids, *self._keys.ids)))

    @property
    def header(self) -> bytes:
        return _ENVELOPE + bytes.fromhex(self.newest_id)

    def seal(self, plaintext: bytes | str, *, context: str) -> bytes:
        """Encrypt under a fresh key. Twice the same gives different bytes."""
        data_key, nonce = AESGCM.generate_key(KEY_BYTES * 8), os.urandom(_NONCE_BYTES)
        data = plaintext.encode() if isinstance(plaintext, str) else plaintext
        ciphertext = AESGCM(data_key).encrypt(nonce, data, _ENVELOPE + context.encode())
        return self._enveloped(data_key, nonce + ciphertext)

    def _enveloped(self, data_key: bytes, content: bytes) -> bytes:
        wrapped = self._wrapper.wrap(data_key)
        return self.header + len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped + content

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt. Raises UnknownKeyError or BrokenSealError."""
        if sealed[:1] == _DIRECT:
            return self._open_direct(sealed, context)
        envelope = _split(sealed)
        return _decrypt(self._data_key(envelope), envelope.content, _ENVELOPE, context)

    def renew(self, sealed: bytes, *, context: str) -> bytes:
        """Under the newest master key: the envelope is made anew, what it holds stays as it is,
        byte for byte.

        It is opened on the way: what cannot be, is not passed on. Raises UnknownKeyError or
        BrokenSealError.
        """
        plaintext = self.open(sealed, context=context)
        if sealed[:1] == _DIRECT:
            return self.seal(plaintext, context=context)
        envelope = _split(sealed)
        return self._enveloped(self._data_key(envelope), envelope.content)

    def _data_key(self, envelope: "_Envelope") -> bytes:
        return self._wrapper.unwrap(envelope.wrapped, envelope.key_id)

    def _open_direct(self, sealed: bytes, context: str) -> bytes:
        header = sealed[:HEADER_BYTES]
        if len(header) < HEADER_BYTES:
            raise BrokenSealError("shorter than anything that was sealed")
        return _decrypt(
            self._keys.master_key(header[1:].hex()), sealed[HEADER_BYTES:], header, context
        )

    def derive_key(self, purpose: str) -> list[bytes]:
        """One independent key per configured key and purpose (HKDF-SHA256), newest first."""
        return self._keys.derive_key(purpose)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """content: nonce and ciphertext."""

    key_id: str
    wrapped: bytes
    content: bytes


def _split(sealed: bytes) -> _Envelope:
    start = HEADER_BYTES + _LENGTH_BYTES
    end = start + int.from_bytes(sealed[HEADER_BYTES:start], "big")
    if sealed[:1] != _ENVELOPE or len(sealed) < end:
        raise BrokenSealError("not something this version of Takeone has sealed")
    return _Envelope(
        key_id=sealed[1:HEADER_BYTES].hex(), wrapped=sealed[start:end], content=sealed[end:]
    )


def _decrypt(key: bytes, content: bytes, header: bytes, context: str) -> bytes:
    if len(content) < _NONCE_BYTES + _TAG_BYTES:
        raise BrokenSealError("shorter than anything that was sealed")
    try:
        return AESGCM(key).decrypt(
            content[:_NONCE_BYTES], content[_NONCE_BYTES:], header + context.encode()
        )
    except InvalidTag:
        raise BrokenSealError(f"changed, or not sealed for the context {context!r}") from None


def key_id(key: bytes) -> str:
    """A short public name of a key: 16 hex digits that tell nothing about it."""
    return hashlib.sha256(b"takeone/key-id" + key).digest()[:_KEY_ID_BYTES].hex()


def _derived(key: bytes, purpose: str) -> bytes:
    """An independent key of the same length (HKDF-SHA256)."""
    return HKDF(
        algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"takeone/{purpose}".encode()
    ).derive(key)
