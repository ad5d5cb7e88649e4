"""Callback tokens: what we signed verifies, nothing else does."""

import base64
from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.ids import JobId, ProviderKeyId, new_job_id
from core.platform.crypto.callback_tokens import CallbackTokens, SignedSend

FAL = "fal"
OLD, NEW = b"o" * 32, b"n" * 32
TOKENS = CallbackTokens([NEW])
ALPHABET = ascii_letters + digits + "-_"
NUMBERS = st.integers(min_value=1, max_value=2**32 - 1)


@given(uuid=st.uuids(), number=NUMBERS)
def test_token_contains_its_job_and_send(uuid: object, number: int) -> None:
    job_id = JobId("job_" + str(uuid).replace("-", ""))
    token = TOKENS.sign(FAL, job_id, number)
    assert TOKENS.verify(FAL, token) == SignedSend(job_id=job_id, send_number=number)
    assert TOKENS.sign(FAL, job_id, number) == token
    assert set(token) <= set(ALPHABET)  # it is a path segment


@given(uuid=st.uuids(), number=NUMBERS)
def test_token_contains_the_own_key_of_its_send(uuid: object, number: int) -> None:
    job_id, key = new_job_id(), ProviderKeyId("pkey_" + str(uuid).replace("-", ""))
    token = TOKENS.sign(FAL, job_id, number, key)
    assert TOKENS.verify(FAL, token) == SignedSend(
        job_id=job_id, send_number=number, provider_key_id=key
    )
    assert TOKENS.verify("replicate", token) is None
    assert set(token) <= set(ALPHABET)


def test_token_of_another_provider_is_rejected() -> None:
    token = TOKENS.sign(FAL, new_job_id(), 1)
    assert TOKENS.verify("replicate", token) is None


@given(
    number=NUMBERS,
    key=st.none() | st.just(ProviderKeyId("pkey_" + "0123456789abcdef" * 2)),
    position=st.integers(min_value=0, max_value=71),
    letter=st.sampled_from(ALPHABET),
)
def test_token_with_a_changed_letter_is_rejected(
    number: int, key: ProviderKeyId | None, position: int, letter: str
) -> None:
    token = TOKENS.sign(FAL, new_job_id(), number, key)
    position %= len(token)
    changed = token[:position] + letter + token[position + 1 :]
    assert changed == token or TOKENS.verify(FAL, changed) is None


@given(text=st.text(max_size=80))
def test_arbitrary_text_is_rejected_as_token(text: str) -> None:
    assert TOKENS.verify(FAL, text) is None


@pytest.mark.parametrize("cut", range(48))
def test_shortened_or_extended_token_is_rejected(cut: int) -> None:
    token = TOKENS.sign(FAL, new_job_id(), 1)
    assert len(token) == 48
    assert TOKENS.verify(FAL, token[:cut]) is None
    assert TOKENS.verify(FAL, token + token[: cut + 1]) is None


def test_token_of_another_send_cannot_be_made_from_this_one() -> None:
    """The signature covers the number of the send, not the job alone."""
    raw = base64.urlsafe_b64decode(TOKENS.sign(FAL, new_job_id(), 1))
    other = raw[:16] + (2).to_bytes(4, "big") + raw[20:]
    assert TOKENS.verify(FAL, base64.urlsafe_b64encode(other).decode()) is None


def test_token_outlives_a_key_rotation_until_its_key_is_dropped() -> None:
    job_id = new_job_id()
    token = CallbackTokens([OLD]).sign(FAL, job_id, 3)
    rotated = CallbackTokens([NEW, OLD])
    assert rotated.verify(FAL, token) == SignedSend(job_id=job_id, send_number=3)
    assert rotated.sign(FAL, job_id, 3) == CallbackTokens([NEW]).sign(FAL, job_id, 3) != token
    assert CallbackTokens([NEW]).verify(FAL, token) is None
