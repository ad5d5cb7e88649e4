"""Prices: units are counted like the vendors', amounts are exact, and storage is lossless."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.money import NanoUsd
from core.domain.plans import StepKind
from core.domain.prices import Price, Quote, Unit, price_from_json, price_to_json
from core.domain.states import CostBasis
from core.providers.port import Limits, Model, ModelInputs
from core.providers.pricing import (
    UnpricedError,
    Volume,
    at_price,
    cost_of,
    count,
    entry,
    find_price,
    quote_of,
    reported_cost,
    sellable,
)

pytestmark = pytest.mark.guarantee("G3")

PAGE, DAY = "the vendor's page", "2026-11-01"

# Published by the vendors: the price of a unit and the cost of a job of this size.
PUBLISHED = [
    (Unit.IMAGE, 3_000_000, Volume(images=4, pixels=1344 * 768), 12_000_000),
    (Unit.MEGAPIXEL, 3_000_000, Volume(images=1, pixels=1280 * 720), 3_000_000),
    # rounded up, like the bill
    (Unit.MEGAPIXEL, 3_000_000, Volume(images=1, pixels=1024 * 1024), 6_000_000),
    # each picture is rounded up
    (Unit.MEGAPIXEL, 3_000_000, Volume(images=2, pixels=1_000_001), 12_000_000),
    (Unit.SECOND, 150_000_000, Volume(seconds=12), 1_800_000_000),
    (Unit.TOKEN, 2_500, Volume(pixels=1920 * 1088, frames=120), 612_000_000),  # "about $0.62"
    (Unit.TOKEN, 2_500, Volume(pixels=1000, frames=1), 2_500),  # rounded up to a whole token
    (Unit.TOKEN, 2_500, Volume(tokens=1_000_000), 2_500_000_000),
    (Unit.CHARACTER, 150_000, Volume(characters=500), 75_000_000),
    (Unit.GPU_SECOND, 1_400_000, Volume(gpu_seconds=Decimal("12.345")), 17_283_000),
    (Unit.GPU_SECOND, "0.5", Volume(gpu_seconds=Decimal(1)), 1),  # half up, once
]  # fmt: skip


@pytest.mark.parametrize(("unit", "unit_nano_usd", "volume", "nano_usd"), PUBLISHED)
def test_price_of_a_unit_equals_the_published_price(
    unit: Unit, unit_nano_usd: int | str, volume: Volume, nano_usd: int
) -> None:
    assert cost_of(entry(unit, unit_nano_usd, PAGE, DAY), volume) == nano_usd


def test_every_unit_has_a_published_case() -> None:
    assert {unit for unit, *_ in PUBLISHED} == set(Unit)
    assert {unit.value for unit in Unit} == {
        "image",
        "megapixel",
        "second",
        "token",
        "character",
        "gpu_second",
    }


@pytest.mark.parametrize("unit", Unit)
def test_count_is_zero_for_nothing_and_monotonic(unit: Unit) -> None:
    one = Volume(
        images=1, pixels=900_000, frames=24, seconds=1, characters=10, gpu_seconds=Decimal("0.25")
    )
    two = Volume(
        images=2, pixels=1_800_000, frames=48, seconds=2, characters=20, gpu_seconds=Decimal("0.5")
    )
    assert 0 < count(unit, one) < count(unit, two)
    nothing = Volume(images=0, pixels=0, frames=0, seconds=0, characters=0, gpu_seconds=Decimal(0))
    assert count(unit, nothing) == 0
    with pytest.raises(UnpricedError):
        count(unit, Volume())


@pytest.mark.parametrize("unit", Unit)
@given(
    units=st.decimals(min_value=0, max_value=10**9, places=3), price=st.decimals(0, 10**9, places=4)
)
def test_cost_of_the_quoted_quantity_is_the_quote(
    unit: Unit, units: Decimal, price: Decimal
) -> None:
    """The quoted quantity and the same quantity from the provider cost the same."""
    volume = _holding(unit, units)
    book = entry(unit, str(price), PAGE, DAY)
    quote = quote_of(book, volume)
    assert quote.low_nano_usd == quote.expected_nano_usd == quote.worst_nano_usd
    cost = reported_cost(str(count(unit, volume)), book)
    assert cost is not None
    assert (cost.nano_usd, cost.basis) == (quote.worst_nano_usd, CostBasis.REPORTED)
    assert abs(quote.worst_nano_usd - count(unit, volume) * price) <= Decimal("0.5")


def _holding(unit: Unit, units: Decimal) -> Volume:
    whole = int(units)
    match unit:
        case Unit.IMAGE:
            return Volume(images=whole)
        case Unit.MEGAPIXEL:
            return Volume(images=1, pixels=whole * 1_000_000)
        case Unit.SECOND:
            return Volume(seconds=whole)
        case Unit.TOKEN:
            return Volume(tokens=whole)
        case Unit.CHARACTER:
            return Volume(characters=whole)
        case Unit.GPU_SECOND:
            return Volume(gpu_seconds=units)


@given(
    unit=st.sampled_from(Unit),
    nano_usd=st.decimals(min_value=0, max_value=10**15, places=6),
    when=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
)
def test_price_survives_storage(unit: Unit, nano_usd: Decimal, when: dict[str, str]) -> None:
    price = Price(unit=unit, unit_nano_usd=nano_usd, source=PAGE, read_on=DAY, when=when)
    assert price_from_json(json.loads(json.dumps(price_to_json(price)))) == price


STORED = price_to_json(entry(Unit.TOKEN, 2_500, PAGE, DAY))


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {**STORED, "unit": "minute"},
        {**STORED, "unit_nano_usd": 2_500},
        {**STORED, "unit_nano_usd": "many"},
        {**STORED, "unit_nano_usd": "NaN"},
        {**STORED, "unit_nano_usd": "-1"},
        {name: value for name, value in STORED.items() if name != "when"},
    ],
)
def test_malformed_price_is_rejected(plain: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        price_from_json(plain)


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [
        ("2500", "0.0000025"),
        ("3000000", "0.003"),
        ("60000000000", "60"),
        ("0", "0"),
        ("0.25", "0.00000000025"),
    ],
)
def test_price_of_a_unit_is_written_exactly(nano_usd: str, text: str) -> None:
    assert entry(Unit.TOKEN, nano_usd, PAGE, DAY).unit_usd_text == text


def test_quote_requires_ordered_amounts() -> None:
    price = entry(Unit.SECOND, 1, PAGE, DAY)
    with pytest.raises(ValueError, match="low <= expected <= worst"):
        Quote(
            price=price,
            low_nano_usd=NanoUsd(2),
            expected_nano_usd=NanoUsd(1),
            worst_nano_usd=NanoUsd(3),
        )


MODEL = Model(
    id="m",
    kind=StepKind.VIDEO,
    limits=Limits(resolutions=("480p", "720p", "1080p")),
    prices=(
        entry(Unit.SECOND, 5, PAGE, DAY, resolution="720p"),
        entry(Unit.SECOND, 9, PAGE, DAY, resolution="1080p"),
    ),
    usual_seconds=1,
    deadline_seconds=60,
    default_resolution="480p",
)


def test_model_is_limited_to_its_priced_parameters() -> None:
    assert sellable(replace(MODEL, prices=())) is None
    assert sellable(replace(MODEL, limits=Limits(resolutions=("480p",)))) is None
    sold = sellable(MODEL)
    assert sold is not None
    assert (sold.limits.resolutions, sold.default_resolution) == (("720p", "1080p"), "720p")
    everywhere = replace(MODEL, prices=(entry(Unit.SECOND, 5, PAGE, DAY),))
    assert sellable(everywhere) == everywhere


def at(resolution: str) -> ModelInputs:
    return ModelInputs(prompt="A paper boat", resolution=resolution)


def test_price_is_found_by_its_parameters_or_not_at_all() -> None:
    assert find_price(MODEL, at("1080p")).unit_nano_usd == 9
    with pytest.raises(UnpricedError):
        find_price(MODEL, at("480p"))
    old = entry(Unit.SECOND, 4, PAGE, "2026-01-01", resolution="720p")
    assert find_price(at_price(MODEL, old), at("720p")) is old
