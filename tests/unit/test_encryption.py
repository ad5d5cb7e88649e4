"""Sealed secrets: opened by whoever should, by nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.encryption import BrokenSealError, Sealer, SecretBox, UnknownKeyError, key_id

OLD = b"o" * 32
NEW = b"n" * 32


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
    with pytest.raises(UnknownKeyError, match=f"key {key_id(OLD)}, which is not.*has {key_id(NEW)}") as missing:
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


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, b"x" * 33]])
def test_sealer_refuses_unusable_keys(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        Sealer(keys)


def test_derived_keys_follow_key_and_purpose() -> None:
    both = Sealer([NEW, OLD])
    assert both.derive_key("callback") == [*Sealer([NEW]).derive_key("callback"), *Sealer([OLD]).derive_key("callback")]
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
