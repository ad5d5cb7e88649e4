"""Sealing: only the right key opens a value, and only for its context."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.platform.crypto.sealing import (
    BrokenSealError,
    Sealed,
    Sealer,
    UnknownKeyError,
    key_id,
)

pytestmark = pytest.mark.guarantee("G6")

OLD = b"o" * 32
NEW = b"n" * 32


@given(st.binary(max_size=2000) | st.text(max_size=500), st.text(max_size=40))
def test_sealed_value_opens_to_the_same_value(plaintext: bytes | str, context: str) -> None:
    sealer = Sealer([NEW])
    opened = sealer.open(sealer.seal(plaintext, context=context), context=context)
    assert opened == (plaintext if isinstance(plaintext, bytes) else plaintext.encode())


def test_seal_hides_the_text_and_differs_each_time() -> None:
    sealer = Sealer([NEW])
    first, second = (sealer.seal("whsec_planted", context="c") for _ in range(2))
    assert first.data != second.data
    assert first.key_id == second.key_id == key_id(NEW)
    assert b"whsec_planted" not in first.data


def test_seal_uses_the_newest_key_and_old_ones_still_open() -> None:
    before = Sealer([OLD]).seal("secret", context="c")
    rotated = Sealer([NEW, OLD])
    assert rotated.open(before, context="c") == b"secret"
    assert Sealer([NEW]).open(rotated.seal("secret", context="c"), context="c") == b"secret"


def test_open_without_the_key_names_the_missing_key() -> None:
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


def test_open_refuses_any_changed_byte_or_key_id() -> None:
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal("secret", context="c")
    for position in range(len(sealed.data)):
        changed = bytearray(sealed.data)
        changed[position] ^= 1
        with pytest.raises(BrokenSealError):
            sealer.open(replace(sealed, data=bytes(changed)), context="c")
    with pytest.raises(BrokenSealError):
        sealer.open(replace(sealed, key_id=key_id(OLD)), context="c")


@given(st.binary(max_size=60))
def test_open_refuses_other_bytes(data: bytes) -> None:
    with pytest.raises(BrokenSealError):
        Sealer([NEW]).open(Sealed(key_id=key_id(NEW), data=data), context="c")


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
    sealer = Sealer([NEW])
    assert "n" * 8 not in repr(sealer)
    assert repr(sealer) == f"Sealer(key_ids=['{key_id(NEW)}'])"
