"""Money: exact conversion in both directions, rounded once, half up."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.money import NANO_PER_USD, nano_usd, round_nano_usd, usd_text

pytestmark = pytest.mark.guarantee("G3")

AMOUNTS = st.integers(min_value=-(10**24), max_value=10**24)


@given(amount=AMOUNTS)
def test_usd_text_and_nano_usd_are_inverse(amount: int) -> None:
    assert nano_usd(usd_text(amount)) == amount


@given(amount=AMOUNTS)
def test_usd_text_is_exact_and_shortest(amount: int) -> None:
    text = usd_text(amount)
    assert Decimal(text) * NANO_PER_USD == amount
    assert "e" not in text.lower()
    assert "." not in text or text[-1] not in "0."
    assert text != "-0"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (3_000_000, "0.003"),
        (150_000, "0.00015"),
        (12_000_000_000, "12"),
        (-500_000_000, "-0.5"),
        (10_000_000_001, "10.000000001"),
    ],
)
def test_usd_text_examples(amount: int, text: str) -> None:
    assert usd_text(amount) == text


@pytest.mark.parametrize("text", ["0.0000000001", "1e-10", "0.0030000001"])
def test_nano_usd_rejects_fractions_of_a_nano_dollar(text: str) -> None:
    with pytest.raises(ValueError, match="finer than a nano-dollar"):
        nano_usd(text)


@given(
    exact=st.decimals(
        min_value=0, max_value=10**15, allow_nan=False, allow_infinity=False, places=6
    )
)
def test_round_nano_usd_is_half_up_within_a_half(exact: Decimal) -> None:
    rounded = round_nano_usd(exact)
    assert rounded == int(exact.to_integral_value(rounding=ROUND_HALF_UP))
    assert abs(Decimal(rounded) - exact) <= Decimal("0.5")
    assert round_nano_usd(Decimal(rounded)) == rounded  # idempotent


@pytest.mark.parametrize(
    ("exact", "rounded"), [("0.5", 1), ("1.5", 2), ("2.5", 3), ("2.4999999999", 2), ("0", 0)]
)
def test_round_nano_usd_halves_go_up(exact: str, rounded: int) -> None:
    assert round_nano_usd(Decimal(exact)) == rounded
