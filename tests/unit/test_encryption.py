"""Sealed secrets: opened by whoever should, by nobody else."""

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from core.platform.crypto.sealing import (
    HEADER_BYTES,
    BrokenSealError,
    LocalKeys,
    Sealer,
    SecretBox,
    UnknownKeyError,
    key_id,
)

pytestmark = pytest.mark.guarantee("G6")

OLD = b"o" * 32
NEW = b"n" * 32
WRAPPED_AT = HEADER_BYTES + 2
CONTENT_AT = WRAPPED_AT + 60


def sealed_directly(key: bytes, plaintext: bytes, context: str) -> bytes:
    """As version 1 did, without an envelope: version, key id, nonce, ciphertext."""
    header, nonce = b"\x01" + bytes.fromhex(key_id(key)), os.urandom(12)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext, header + context.encode())


class Service:
    """Stands for a key management service: master keys that only it has, and answers of a length of
    its own.
    """

    def __init__(self) -> None:
        self.newest_id = "00112233445566ff"
        self.ids = [self.newest_id]
        self._wrapping = AESGCM(os.urandom(32))
        self.asked: list[str] = []

    def wrap(self, data_key: bytes) -> bytes:
        self.asked.append("wrap")
        return b"a name of its own" + self._wrapping.encrypt(bytes(12), data_key, None)

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        self.asked.append(f"unwrap {key_id}")
        return self._wrapping.decrypt(bytes(12), wrapped.removeprefix(b"a name of its own"), None)


@given(st.binary(max_size=2000) | st.text(max_size=500), st.text(max_size=40))
def test_sealed_opens_to_the_same(plaintext: bytes | str, context: str) -> None:
    sealer = Sealer([NEW])
    opened = sealer.open(sealer.seal(plaintext, context=context), context=context)
    assert opened == (plaintext if isinstance(plaintext, bytes) else plaintext.encode())


def test_seal_hides_the_text_and_differs_each_time() -> None:
    sealer = Sealer([NEW])
    first, second = (sealer.seal("whsec_planted", context="c") for _ in range(2))
    assert first != second
    assert b"whsec_planted" not in first


def test_seal_uses_the_newest_key_and_old_ones_still_open() -> None:
    before = Sealer([OLD]).seal("secret", context="c")
    rotated = Sealer([NEW, OLD])
    assert rotated.open(before, context="c") == b"secret"
    assert Sealer([NEW]).open(rotated.seal("secret", context="c"), context="c") == b"secret"


def test_open_without_the_key_says_which_one_is_missing() -> None:
    sealed = Sealer([OLD]).seal("secret", context="c")
    with pytest.raises(
        UnknownKeyError, match=f"key {key_id(OLD)}, which is not.*has {key_id(NEW)}"
    ) as missing:
        Sealer([NEW]).open(sealed, context="c")
    assert missing.value.key_id == key_id(OLD)


def test_open_in_another_context_is_refused() -> None:
    sealer = Sealer([NEW])
    with pytest.raises(BrokenSealError, match="users/2"):
        sealer.open(sealer.seal("secret", context="users/1"), context="users/2")


def test_open_refuses_any_changed_byte() -> None:
    """Also in the key's id: a blob cannot be passed to another configured key."""
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal("secret", context="c")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises((BrokenSealError, UnknownKeyError)):
            sealer.open(bytes(changed), context="c")
    swapped = sealed[:1] + bytes.fromhex(key_id(OLD)) + sealed[9:]
    with pytest.raises(BrokenSealError):
        sealer.open(swapped, context="c")


@given(st.binary(max_size=60))
def test_open_refuses_what_is_not_sealed(junk: bytes) -> None:
    with pytest.raises((BrokenSealError, UnknownKeyError)):
        Sealer([NEW]).open(junk, context="c")


def test_each_secret_has_a_key_of_its_own_which_the_master_key_wraps() -> None:
    sealer = Sealer([NEW])
    blobs = [sealer.seal("secret", context="c") for _ in range(20)]

    keys = {LocalKeys([NEW]).unwrap(blob[WRAPPED_AT:CONTENT_AT], key_id(NEW)) for blob in blobs}
    assert len(keys) == len(blobs)
    for blob in blobs:
        own = LocalKeys([NEW]).unwrap(blob[WRAPPED_AT:CONTENT_AT], key_id(NEW))
        nonce, ciphertext = blob[CONTENT_AT : CONTENT_AT + 12], blob[CONTENT_AT + 12 :]
        assert AESGCM(own).decrypt(nonce, ciphertext, b"\x02c") == b"secret"


def test_key_of_one_secret_opens_no_other() -> None:
    sealer = Sealer([NEW])
    first, second = (sealer.seal("secret", context="c") for _ in range(2))
    with pytest.raises(BrokenSealError):
        sealer.open(first[:CONTENT_AT] + second[CONTENT_AT:], context="c")


def test_version_1_is_still_opened_and_only_in_its_context() -> None:
    before = sealed_directly(OLD, b"secret", "c")
    assert Sealer([NEW, OLD]).open(before, context="c") == b"secret"
    with pytest.raises(BrokenSealError):
        Sealer([NEW, OLD]).open(before, context="d")
    with pytest.raises(UnknownKeyError):
        Sealer([NEW]).open(before, context="c")


def test_renewed_is_opened_by_the_newest_key_alone() -> None:
    rotated = Sealer([NEW, OLD])
    for before in (Sealer([OLD]).seal("secret", context="c"), sealed_directly(OLD, b"secret", "c")):
        after = rotated.renew(before, context="c")
        assert after.startswith(rotated.header)
        assert Sealer([NEW]).open(after, context="c") == b"secret"
        with pytest.raises(UnknownKeyError):
            Sealer([OLD]).open(after, context="c")


def test_renewing_an_envelope_leaves_what_it_holds_as_it_is() -> None:
    before = Sealer([OLD]).seal("secret", context="c")
    after = Sealer([NEW, OLD]).renew(before, context="c")
    assert after[CONTENT_AT:] == before[CONTENT_AT:]
    assert after[WRAPPED_AT:CONTENT_AT] != before[WRAPPED_AT:CONTENT_AT]


def test_renew_passes_nothing_on_that_cannot_be_opened() -> None:
    before = Sealer([OLD]).seal("secret", context="c")
    with pytest.raises(BrokenSealError):
        Sealer([NEW, OLD]).renew(before[:-1] + bytes([before[-1] ^ 1]), context="c")
    with pytest.raises(BrokenSealError):
        Sealer([NEW, OLD]).renew(before, context="d")
    with pytest.raises(UnknownKeyError):
        Sealer([NEW]).renew(before, context="c")


def test_header_tells_what_is_sealed_under_the_newest_key() -> None:
    old, rotated = Sealer([OLD]), Sealer([NEW, OLD])
    assert rotated.seal("secret", context="c")[:HEADER_BYTES] == rotated.header
    assert old.seal("secret", context="c")[:HEADER_BYTES] != rotated.header
    assert sealed_directly(NEW, b"secret", "c")[:HEADER_BYTES] != rotated.header


def test_master_keys_may_be_held_by_a_service() -> None:
    """What ENCRYPTION_KEYS alone would open is none of it; what they sealed before can be renewed
    under the service.
    """
    service = Service()
    sealer = Sealer([NEW], wrapper=service)
    sealed = sealer.seal("secret", context="c")
    assert sealer.open(sealed, context="c") == b"secret"
    assert service.asked == ["wrap", f"unwrap {service.newest_id}"]
    assert sealed[:HEADER_BYTES] == sealer.header == b"\x02" + bytes.fromhex(service.newest_id)
    with pytest.raises(UnknownKeyError):
        Sealer([NEW]).open(sealed, context="c")
    renewed = sealer.renew(sealed_directly(NEW, b"secret", "c"), context="c")
    assert sealer.open(renewed, context="c") == b"secret"


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, b"x" * 33]])
def test_sealer_refuses_unusable_keys(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        Sealer(keys)


def test_derived_keys_follow_key_and_purpose() -> None:
    both = Sealer([NEW, OLD])
    assert both.derive_key("callback") == [
        *Sealer([NEW]).derive_key("callback"),
        *Sealer([OLD]).derive_key("callback"),
    ]
    derived = {*both.derive_key("callback"), *both.derive_key("cursor")}
    assert len(derived) == 4
    assert all(len(key) == 32 for key in derived)
    assert not derived & {NEW, OLD}


def test_derived_key_never_changes() -> None:
    """Tokens in callback addresses outlive a deployment; a new derivation would refuse them."""
    assert Sealer([b"a" * 32]).derive_key("callback-token")[0].hex() == (
        "22f79147e5240a4545cd66ce2bfebb14ccdfcb0614bca1f915a1fe393dcd8a2d"
    )


def test_sealer_shows_no_key() -> None:
    sealer: SecretBox = Sealer([NEW])
    assert "n" * 8 not in repr(sealer)
    assert repr(sealer) == f"Sealer(key_ids=['{key_id(NEW)}'])"
