"""Price book arithmetic. The same functions quote, hold and settle.

Rounding happens only in core.domain.money.round_nano_usd, once per amount.
"""

from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Final, assert_never

from core.domain.money import NanoUsd, round_nano_usd
from core.domain.prices import Price, Quote, Unit
from core.domain.states import CostBasis
from core.providers.port import Cost, Model, ModelInputs

NO_COST: Final = Cost(nano_usd=NanoUsd(0), basis=CostBasis.COMPUTED)
"""The cost of an end state that the provider does not charge for."""

_UNITS_MAX: Final = Decimal(10) ** 12
_PIXELS_PER_MEGAPIXEL: Final = 1_000_000
_PIXELS_PER_TOKEN: Final = 1024


class UnpricedError(ValueError):
    """The price book has no price for these inputs, so they are not sold."""


def entry(unit: Unit, unit_nano_usd: int | str, source: str, read_on: str, **when: str) -> Price:
    """Return an entry of a price book.

    unit_nano_usd: decimal text where the price is finer than a nano-dollar.
    when: the parameters that the price applies to.
    """
    return Price(
        unit=unit, unit_nano_usd=Decimal(unit_nano_usd), source=source, read_on=read_on, when=when
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The quantities that a job's units are counted from; None for a quantity that does not apply.

    pixels: of one image or frame. frames, seconds: of the video or audio.
    characters: of the input text. tokens: where they are not derived from frames.
    gpu_seconds: run time.
    """

    images: int | None = None
    pixels: int | None = None
    frames: int | None = None
    seconds: int | None = None
    characters: int | None = None
    tokens: int | None = None
    gpu_seconds: Decimal | None = None


def count(unit: Unit, volume: Volume) -> Decimal:
    """Return how many units the vendors bill for this volume, with their rounding.

    Raises UnpricedError if the volume lacks the quantity; a missing number is never free.
    """
    match unit:
        case Unit.IMAGE:
            units = volume.images
        case Unit.MEGAPIXEL:  # rounded up per image
            units = _times(volume.images, _ceil(volume.pixels, _PIXELS_PER_MEGAPIXEL))
        case Unit.SECOND:
            units = volume.seconds
        case Unit.TOKEN:  # of a video: height x width x frames / 1024, rounded up
            units = volume.tokens
            if units is None:
                units = _ceil(_times(volume.pixels, volume.frames), _PIXELS_PER_TOKEN)
        case Unit.CHARACTER:
            units = volume.characters
        case Unit.GPU_SECOND:  # fractions are billed
            units = volume.gpu_seconds
        case _:
            assert_never(unit)
    if units is None:
        raise UnpricedError(f"the number of units ({unit}) is not known")
    return Decimal(units)


def _times(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left * right


def _ceil(quantity: int | None, unit: int) -> int | None:
    return None if quantity is None else -(-quantity // unit)


def find_price(model: Model, inputs: ModelInputs) -> Price:
    """Return the price book entry for these inputs. Raises UnpricedError."""
    parameters = {"resolution": inputs.resolution or model.default_resolution}
    for price in model.prices:
        if all(parameters.get(name) == value for name, value in price.when.items()):
            return price
    raise UnpricedError(f"{model.id} has no price for {parameters}")


def sellable(model: Model) -> Model | None:
    """Return the model restricted to resolutions with a price, or None without any price."""
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
    """Return the model with one fixed price, that of a job's quote."""
    return replace(model, prices=(price,))


def quote_of(
    price: Price, worst: Volume, low: Volume | None = None, expected: Volume | None = None
) -> Quote:
    """Return the quote for a price.

    low, expected: set where a completed job may be smaller than the worst case.
    """
    return Quote(
        price=price,
        low_nano_usd=cost_of(price, low or worst),
        expected_nano_usd=cost_of(price, expected or worst),
        worst_nano_usd=cost_of(price, worst),
    )


def cost_of(price: Price, volume: Volume) -> NanoUsd:
    """Return what a job of this volume costs; quotes, holds and settlements all use it."""
    return amount(count(price.unit, volume), price)


def amount(units: Decimal, price: Price) -> NanoUsd:
    return round_nano_usd(units * price.unit_nano_usd)


def reported_cost(billed_units: str | None, price: Price) -> Cost | None:
    """Return the cost of the provider's reported quantity, or None without a usable number."""
    units = billed_quantity(billed_units)
    return None if units is None else Cost(nano_usd=amount(units, price), basis=CostBasis.REPORTED)


def billed_quantity(text: str | None) -> Decimal | None:
    """Return a quantity >= 0 from plain decimal text, else None."""
    try:
        units = Decimal((text or "").strip())
    except InvalidOperation:
        return None
    return units if units.is_finite() and 0 <= units <= _UNITS_MAX else None
