"""What Temporal keeps of a workflow, encrypted: a codec for payloads, and with it error messages
and stack traces.

In clear stay the names and ids of workflows, activities, signals and task queues, the kinds of
errors, and search attributes: by these Temporal finds and routes.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from core.platform.crypto.sealing import (
    KEY_BYTES,
    BrokenSealError,
    Sealer,
    SealError,
    UnknownKeyError,
)

PURPOSE: Final = "temporal-payloads"
ENCODING: Final = b"binary/encrypted"
"""As Temporal's own examples name it: its Web UI says of such a payload that it is encrypted."""
KEY_ID: Final = "encryption-key-id"

_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = _SALT_BYTES + _NONCE_BYTES
_KEYS_REMEMBERED = 4096


class SealedPayloads(PayloadCodec):
    """AES-256-GCM with rotation: the first key seals, each opens. A payload in clear is read as it
    is.

    Data: salt, nonce, ciphertext, tag. Each process has a salt of its own, and with it a key of its
    own: so no key comes near the 2**32 messages after which random nonces of 96 bits may repeat
    (NIST SP 800-38D).
    """

    def __init__(self, keys: Mapping[str, bytes], *, encrypt: bool) -> None:
        """keys: by id, newest first, 32 bytes each. encrypt: False reads both, and writes
        in clear.
        """
        self._keys = dict(keys)
        self._newest_id = next(iter(keys))
        self._salt = os.urandom(_SALT_BYTES)
        self._encrypts = encrypt

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.seal(payload) for payload in payloads] if self._encrypts else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Raises SealError: a workflow whose key is gone stands still until it is back."""
        return [self.open(payload) for payload in payloads]

    def seal(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        key_id = self._newest_id.encode()
        box = AESGCM(_message_key(self._keys[self._newest_id], self._salt))
        sealed = box.encrypt(nonce, payload.SerializeToString(), key_id)
        return Payload(
            metadata={"encoding": ENCODING, KEY_ID: key_id}, data=self._salt + nonce + sealed
        )

    def open(self, payload: Payload) -> Payload:
        """What was sealed; anything else as it is. Raises UnknownKeyError or BrokenSealError."""
        if payload.metadata.get("encoding") != ENCODING or KEY_ID not in payload.metadata:
            return payload
        key_id = payload.metadata[KEY_ID]
        key = self._keys.get(key_id.decode("ascii", "replace"))
        if key is None:
            raise UnknownKeyError(key_id.decode("ascii", "replace")[:64], list(self._keys))
        salt, nonce, sealed = _split(payload.data)
        try:
            return Payload.FromString(
                AESGCM(_message_key(key, salt)).decrypt(nonce, sealed, key_id)
            )
        except (InvalidTag, DecodeError):
            raise BrokenSealError("a payload was changed, or is not ours") from None

    def readable(self, payload: Payload) -> Payload:
        """For a person's eyes: what cannot be opened stays as it is."""
        try:
            return self.open(payload)
        except SealError:
            return payload


def payload_codec(encryption_keys: Sequence[bytes], *, encrypt: bool) -> SealedPayloads:
    """encryption_keys: newest first, as in ENCRYPTION_KEYS; the payloads' own are derived from
    them.
    """
    sealer = Sealer(encryption_keys)
    return SealedPayloads(
        dict(zip(sealer.key_ids, sealer.derive_key(PURPOSE), strict=True)), encrypt=encrypt
    )


class KeysAndChoice(Protocol):
    """Of the settings: the master keys, newest first, and whether to encrypt."""

    @property
    def temporal_encrypt_payloads(self) -> bool: ...

    def encryption_key_bytes(self) -> list[bytes]: ...


def payload_converter(settings: KeysAndChoice) -> DataConverter:
    """For every client of ours: values as by default, sealed where asked for, read in
    both forms.
    """
    encrypt = settings.temporal_encrypt_payloads
    failures = DefaultFailureConverterWithEncodedAttributes if encrypt else DefaultFailureConverter
    codec = payload_codec(settings.encryption_key_bytes(), encrypt=encrypt)
    return replace(DataConverter.default, payload_codec=codec, failure_converter_class=failures)


@lru_cache(maxsize=_KEYS_REMEMBERED)
def _message_key(key: bytes, salt: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"takeone/payload").derive(
        key
    )


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    if len(data) < _HEADER_BYTES + _TAG_BYTES:
        raise BrokenSealError("a payload was cut off, or is not ours")
    return data[:_SALT_BYTES], data[_SALT_BYTES:_HEADER_BYTES], data[_HEADER_BYTES:]
