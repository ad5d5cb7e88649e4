"""Encryption of what Temporal stores: a payload codec and a failure converter.

Names and ids of workflows, activities, signals and task queues, error types and search attributes
stay in clear text: Temporal finds and routes by them.
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
"""The name from Temporal's examples: the Web UI shows such a payload as encrypted."""
KEY_ID: Final = "encryption-key-id"

_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = _SALT_BYTES + _NONCE_BYTES
_KEYS_REMEMBERED = 4096


class SealedPayloads(PayloadCodec):
    """AES-256-GCM codec with key rotation: the first key seals, every key opens.

    Payloads in clear text are read as they are. Data layout: salt, nonce, ciphertext, tag. Each
    process derives its own key from its own salt, so that no key seals anywhere near 2**32
    messages, the limit for random 96-bit nonces (NIST SP 800-38D).
    """

    def __init__(self, keys: Mapping[str, bytes], *, encrypt: bool) -> None:
        """Take 32-byte keys by id, newest first. encrypt False: read both, write in clear."""
        self._keys = dict(keys)
        self._newest_id = next(iter(keys))
        self._salt = os.urandom(_SALT_BYTES)
        self._encrypts = encrypt

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.seal(payload) for payload in payloads] if self._encrypts else list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open payloads. Raises SealError; a workflow waits until its missing key is configured."""
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
        """Open a sealed payload; return any other as it is.

        Raises UnknownKeyError or BrokenSealError.
        """
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
            raise BrokenSealError("the payload was changed or sealed by another product") from None

    def readable(self, payload: Payload) -> Payload:
        """Open a payload for display; return it as it is if it cannot be opened."""
        try:
            return self.open(payload)
        except SealError:
            return payload


def payload_codec(encryption_keys: Sequence[bytes], *, encrypt: bool) -> SealedPayloads:
    """Return a codec with keys derived from ENCRYPTION_KEYS, newest first."""
    sealer = Sealer(encryption_keys)
    return SealedPayloads(
        dict(zip(sealer.key_ids, sealer.derive_key(PURPOSE), strict=True)), encrypt=encrypt
    )


class KeysAndChoice(Protocol):
    """The part of the settings that encryption needs: master keys, newest first, and a switch."""

    @property
    def temporal_encrypt_payloads(self) -> bool: ...

    def encryption_key_bytes(self) -> list[bytes]: ...


def payload_converter(settings: KeysAndChoice) -> DataConverter:
    """Return the data converter of every client: it seals if configured and reads both forms."""
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
        raise BrokenSealError("the payload is too short")
    return data[:_SALT_BYTES], data[_SALT_BYTES:_HEADER_BYTES], data[_HEADER_BYTES:]
