"""Arithmetic on the price books. The same functions quote, hold and settle.

One place rounds: core.domain.money.round_nano_usd, once for each amount.
"""

from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Final, assert_never

from core.domain.money import NanoUsd, round_nano_usd
from core.domain.prices import Price, Quote, Unit
from core.domain.states import CostBasis
from core.providers.port import Cost, Model, ModelInputs

NOTHING: Final = Cost(nano_usd=NanoUsd(0), basis=CostBasis.COMPUTED)
"""An end that costs nothing by the provider's rules."""

_UNITS_MAX: Final = Decimal(10) ** 12
_PIXELS_OF_A_MEGAPIXEL: Final = 1_000_000
_PIXELS_OF_A_TOKEN: Final = 1024


class UnpricedError(ValueError):
    """The price book has no price for this: it is not sold."""


def entry(unit: Unit, unit_nano_usd: int | str, source: str, read_on: str, **when: str) -> Price:
    """An entry of a price book; unit_nano_usd: a text where it is finer than a nano-dollar."""
    return Price(
        unit=unit, unit_nano_usd=Decimal(unit_nano_usd), source=source, read_on=read_on, when=when
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """How much a job makes, or takes; what its units are counted from. None: its vendor's file does
    not say.

    pixels: of one picture or frame. frames, seconds: of the video or sound. characters: of the text
    that is read. tokens: where they are not counted from frames. gpu_seconds: how long it runs.
    """

    images: int | None = None
    pixels: int | None = None
    frames: int | None = None
    seconds: int | None = None
    characters: int | None = None
    tokens: int | None = None
    gpu_seconds: Decimal | None = None


def count(unit: Unit, volume: Volume) -> Decimal:
    """How many units a job of this volume is billed, in the vendors' own way of rounding.

    Raises UnpricedError: the volume does not say; nothing is free for want of a number.
    """
    match unit:
        case Unit.IMAGE:
            units = volume.images
        case Unit.MEGAPIXEL:  # each picture is rounded up
            units = _times(volume.images, _ceil(volume.pixels, _PIXELS_OF_A_MEGAPIXEL))
        case Unit.SECOND:
            units = volume.seconds
        case Unit.TOKEN:  # of a video: height x width x frames / 1024, rounded up
            units = volume.tokens
            if units is None:
                units = _ceil(_times(volume.pixels, volume.frames), _PIXELS_OF_A_TOKEN)
        case Unit.CHARACTER:
            units = volume.characters
        case Unit.GPU_SECOND:  # to the part of a second
            units = volume.gpu_seconds
        case _:
            assert_never(unit)
    if units is None:
        raise UnpricedError(f"it is not known how many units ({unit}) it is")
    return Decimal(units)


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other


def _ceil(quantity: int | None, unit: int) -> int | None:
    return None if quantity is None else -(-quantity // unit)


def find_price(model: Model, inputs: ModelInputs) -> Price:
    """The entry of the price book for these inputs. Raises UnpricedError."""
    parameters = {"resolution": inputs.resolution or model.default_resolution}
    for price in model.prices:
        if all(parameters.get(name) == value for name, value in price.when.items()):
            return price
    raise UnpricedError(f"{model.id} has no price for {parameters}")


def for_sale(model: Model) -> Model | None:
    """The model as far as its price book goes: without a price it is not sold, nor at a resolution
    without one.
    """
    named = [price.when.get("resolution") for price in model.prices]
    if not named or None in named:
        return model if named else None
    sold = tuple(resolution for resolution in model.limits.resolutions if resolution in named)
    if not sold:
        return None
    default = model.default_resolution if model.default_resolution in sold else sold[0]
    return replace(
        model, limits=replace(model.limits, resolutions=sold), default_resolution=default
    )


def at_price(model: Model, price: Price) -> Model:
    """The model with the price book of another day: what a job of it was quoted by."""
    return replace(model, prices=(price,))


def quote_of(
    price: Price, worst: Volume, low: Volume | None = None, expected: Volume | None = None
) -> Quote:
    """low, expected: where a job that completes may be less than the worst one."""
    return Quote(
        price=price,
        low_nano_usd=priced(price, low or worst),
        expected_nano_usd=priced(price, expected or worst),
        worst_nano_usd=priced(price, worst),
    )


def priced(price: Price, volume: Volume) -> NanoUsd:
    """What a job of this volume costs: quoted, held and settled by this line."""
    return amount(count(price.unit, volume), price)


def amount(units: Decimal, price: Price) -> NanoUsd:
    return round_nano_usd(units * price.unit_nano_usd)


def reported(billed_units: str | None, price: Price) -> Cost | None:
    """The cost of the quantity that the provider says it billed; None if it does not say, or not in
    a number.
    """
    units = billed_quantity(billed_units)
    return None if units is None else Cost(nano_usd=amount(units, price), basis=CostBasis.REPORTED)


def billed_quantity(text: str | None) -> Decimal | None:
    """A quantity >= 0 in plain decimal text, else None."""
    try:
        units = Decimal((text or "").strip())
    except InvalidOperation:
        return None
    return units if units.is_finite() and 0 <= units <= _UNITS_MAX else None
