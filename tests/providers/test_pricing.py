"""Prices: units are counted like the vendors', amounts are exact, and storage is lossless."""

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.money import NanoUsd
from core.domain.plans import StepKind
from core.domain.prices import Price, Quote, Unit, price_from_json, price_to_json
from core.domain.states import CostBasis
from core.providers.entries import choice, media
from core.providers.models import (
    InputType,
    Measure,
    MediaInput,
    Model,
    ModelInputs,
    OutputField,
    Pixels,
)
from core.providers.pricing import (
    UnpricedError,
    at_price,
    cost_of,
    count,
    entry,
    find_price,
    quote_of,
    reported_cost,
    sellable,
)
from core.providers.volumes import Volume, Volumes, volumes

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
    (Unit.VIDEO, 280_000_000, Volume(videos=1), 280_000_000),
    (Unit.MINUTE, 8_000_000, Volume(seconds=60), 8_000_000),
    (Unit.MINUTE, 8_000_000, Volume(seconds=61), 16_000_000),  # a started minute
    (Unit.FRAME_BLOCK, 22_000_000, Volume(frames=120), 88_000_000),
    (Unit.FRAME_BLOCK, 22_000_000, Volume(frames=121), 110_000_000),  # a started block
    (Unit.THOUSAND_CHARACTERS, 50_000_000, Volume(characters=44), 2_200_000),  # a fraction
    (Unit.CHARACTER, 150_000, Volume(characters=500), 75_000_000),
    (Unit.CREDIT, 150_000, Volume(credits=500), 75_000_000),
    (Unit.GPU_SECOND, 1_400_000, Volume(gpu_seconds=Decimal("12.345")), 17_283_000),
    (Unit.GPU_SECOND, "0.5", Volume(gpu_seconds=Decimal(1)), 1),  # half up, once
    (Unit.RUN, 2_000_000, Volume(runs=1, gpu_seconds=Decimal(9)), 2_000_000),
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
        "video",
        "megapixel",
        "second",
        "minute",
        "frame_block",
        "token",
        "character",
        "thousand_characters",
        "credit",
        "gpu_second",
        "run",
    }


@pytest.mark.parametrize("unit", Unit)
def test_count_is_zero_for_nothing_and_monotonic(unit: Unit) -> None:
    one = Volume(
        images=1,
        videos=1,
        pixels=900_000,
        frames=24,
        seconds=60,
        characters=10,
        credits=5,
        runs=1,
        gpu_seconds=Decimal("0.25"),
    )
    two = Volume(
        images=2,
        videos=2,
        pixels=1_800_000,
        frames=48,
        seconds=120,
        characters=20,
        credits=10,
        runs=2,
        gpu_seconds=Decimal("0.5"),
    )
    assert 0 < count(unit, one) < count(unit, two)
    nothing = Volume(
        images=0,
        videos=0,
        pixels=0,
        frames=0,
        seconds=0,
        characters=0,
        credits=0,
        runs=0,
        gpu_seconds=Decimal(0),
    )
    assert count(unit, nothing) == 0
    with pytest.raises(UnpricedError):
        count(unit, Volume())


@pytest.mark.parametrize("unit", Unit)
@given(units=st.integers(0, 10**9), price=st.decimals(0, 10**9, places=4))
def test_cost_of_the_quoted_quantity_is_the_quote(unit: Unit, units: int, price: Decimal) -> None:
    """The quoted quantity and the same quantity from the provider cost the same."""
    volume = HOLDING[unit](units)
    book = entry(unit, str(price), PAGE, DAY)
    quote = quote_of(book, Volumes(least=volume, usual=volume, most=volume))
    assert quote.low_nano_usd == quote.expected_nano_usd == quote.worst_nano_usd
    cost = reported_cost(str(count(unit, volume)), book)
    assert cost is not None
    assert (cost.nano_usd, cost.basis) == (quote.worst_nano_usd, CostBasis.REPORTED)
    assert abs(quote.worst_nano_usd - count(unit, volume) * price) <= Decimal("0.5")


HOLDING: dict[Unit, Callable[[int], Volume]] = {
    Unit.IMAGE: lambda whole: Volume(images=whole),
    Unit.RUN: lambda whole: Volume(runs=whole),
    Unit.VIDEO: lambda whole: Volume(videos=whole),
    Unit.MEGAPIXEL: lambda whole: Volume(images=1, pixels=whole * 1_000_000),
    Unit.SECOND: lambda whole: Volume(seconds=whole),
    Unit.MINUTE: lambda whole: Volume(seconds=whole * 60),
    Unit.FRAME_BLOCK: lambda whole: Volume(frames=whole * 30),
    Unit.TOKEN: lambda whole: Volume(tokens=whole),
    Unit.CHARACTER: lambda whole: Volume(characters=whole),
    Unit.THOUSAND_CHARACTERS: lambda whole: Volume(characters=whole),
    Unit.CREDIT: lambda whole: Volume(credits=whole),
    Unit.GPU_SECOND: lambda whole: Volume(gpu_seconds=Decimal(whole) / 1000),
}
"""A volume of so many units."""


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
        {**STORED, "unit": "hour"},
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
    body=(choice("resolution", "resolution", ("480p", "720p", "1080p"), "480p"),),
    outputs=(OutputField(path="video", kind=MediaKind.VIDEO),),
    prices=(
        entry(Unit.SECOND, 5, PAGE, DAY, resolution="720p"),
        entry(Unit.SECOND, 9, PAGE, DAY, resolution="1080p"),
    ),
    measure=Measure(seconds=5),
    usual_seconds=1,
    deadline_seconds=60,
    longest_run_seconds=60,
)


def test_model_is_limited_to_its_priced_parameters() -> None:
    assert sellable(replace(MODEL, prices=())) is None
    only = replace(MODEL, body=(choice("resolution", "resolution", ("480p",), "480p"),))
    assert sellable(only) is None
    sold = sellable(MODEL)
    assert sold is not None
    assert (sold.choices("resolution"), sold.default("resolution")) == (("720p", "1080p"), "720p")
    everywhere = replace(MODEL, prices=(entry(Unit.SECOND, 5, PAGE, DAY),))
    assert sellable(everywhere) == everywhere


def at(resolution: str) -> ModelInputs:
    return ModelInputs(values={"prompt": "A paper boat", "resolution": resolution})


def test_price_is_found_by_its_parameters_or_not_at_all() -> None:
    assert find_price(MODEL, at("1080p")).unit_nano_usd == 9
    with pytest.raises(UnpricedError):
        find_price(MODEL, at("480p"))
    old = entry(Unit.SECOND, 4, PAGE, "2026-01-01", resolution="720p")
    assert find_price(at_price(MODEL, old), at("720p")) is old


def test_price_may_depend_on_a_flag() -> None:
    loud = replace(
        MODEL,
        prices=(
            entry(Unit.SECOND, 4, PAGE, DAY, sound="true"),
            entry(Unit.SECOND, 2, PAGE, DAY, sound="false"),
        ),
    )
    prices = [find_price(loud, ModelInputs(values={"sound": flag})) for flag in (True, False)]
    assert [price.unit_nano_usd for price in prices] == [4, 2]


def measured(measure: Measure, inputs: ModelInputs, *, longest: float = 60) -> Volumes:
    """Return the volumes of a model that takes a video, audio of 2 s to `longest`, and an image."""
    model = replace(
        MODEL,
        body=(
            media("source", "video_url", InputType.VIDEO, seconds=(2, longest)),
            media("audio", "audio_url", InputType.AUDIO, seconds=(2, longest)),
        ),
        measure=measure,
    )
    return volumes(model, inputs)


def of_files(**seconds: float | None) -> ModelInputs:
    return ModelInputs(
        media={
            name: MediaInput(facts=MediaFacts(duration_seconds=length, frame_rate=25.0))
            if length is not None
            else MediaInput()
            for name, length in seconds.items()
        }
    )


def spans(possible: Volumes, name: str) -> list[int]:
    return [getattr(volume, name) for volume in (possible.least, possible.usual, possible.most)]


SECONDS = Measure(seconds_of=("source", "audio"), frames_per_second=60)


def test_seconds_of_known_files_are_exact_and_the_shortest_counts() -> None:
    possible = measured(SECONDS, of_files(source=8.96, audio=5.04))
    assert possible.least == possible.most
    assert spans(possible, "seconds") == [6, 6, 6]
    assert spans(possible, "frames") == [126, 126, 126]  # 25 frames a second, as the files state


def test_file_of_unknown_length_is_held_at_the_longest() -> None:
    assert spans(measured(SECONDS, of_files(source=None, audio=None)), "seconds") == [2, 10, 60]
    assert spans(measured(SECONDS, of_files(source=None, audio=None)), "frames") == [60, 300, 3600]
    assert spans(measured(SECONDS, of_files(source=None, audio=7.0)), "seconds") == [2, 7, 7]


def test_pixels_follow_the_source_and_its_scale() -> None:
    measure = Measure(images=1, pixels_of="source", pixels_most=16_000_000, scaled_by="scale")
    known = ModelInputs(
        values={"scale": 2},
        media={"source": MediaInput(facts=MediaFacts(width=1280, height=720))},
    )
    assert spans(measured(measure, known), "pixels") == [3_686_400] * 3
    unknown = ModelInputs(values={"scale": 2}, media={"source": MediaInput()})
    assert spans(measured(measure, unknown), "pixels")[-1] == 64_000_000


def test_pixels_follow_the_first_fitting_entry() -> None:
    measure = Measure(
        images=1,
        pixels=(Pixels(most=9, least=4, usual=5, when={"resolution": "720p"}), Pixels(most=100)),
    )
    assert spans(measured(measure, at("720p")), "pixels") == [4, 5, 9]
    assert spans(measured(measure, at("480p")), "pixels") == [100, 100, 100]


def test_characters_of_the_named_text_are_counted() -> None:
    inputs = ModelInputs(values={"text": "Grüße 🎈"})
    assert spans(measured(Measure(characters="text"), inputs), "characters") == [7, 7, 7]
