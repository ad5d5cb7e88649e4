"""Price book arithmetic. The same functions quote, hold and settle.

Rounding happens only in core.domain.money.round_nano_usd, once per amount.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Final

from core.domain.messages.jobs import JobReport
from core.domain.money import NanoUsd, round_nano_usd
from core.domain.prices import Price, Quote, Unit
from core.domain.states import CostBasis
from core.providers.inputs import check_inputs
from core.providers.models import Constant, Input, Model, ModelInputs
from core.providers.port import Cost
from core.providers.volumes import Volume, Volumes, volumes

NO_COST: Final = Cost(nano_usd=NanoUsd(0), basis=CostBasis.COMPUTED)
"""The cost of an end state that the provider does not charge for."""

_UNITS_MAX: Final = Decimal(10) ** 12
_PIXELS_PER_MEGAPIXEL: Final = 1_000_000
_PIXELS_PER_TOKEN: Final = 1024
_SECONDS_PER_MINUTE: Final = 60
_FRAMES_PER_BLOCK: Final = 30


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


_UNITS: Final[Mapping[Unit, Callable[[Volume], int | Decimal | None]]] = {
    Unit.IMAGE: lambda volume: volume.images,
    Unit.VIDEO: lambda volume: volume.videos,
    # rounded up per image
    Unit.MEGAPIXEL: lambda volume: _times(
        volume.images, _ceil(volume.pixels, _PIXELS_PER_MEGAPIXEL)
    ),
    Unit.SECOND: lambda volume: volume.seconds,
    # a started minute, a started block
    Unit.MINUTE: lambda volume: _ceil(volume.seconds, _SECONDS_PER_MINUTE),
    Unit.FRAME_BLOCK: lambda volume: _ceil(volume.frames, _FRAMES_PER_BLOCK),
    # of a video: height x width x frames / 1024, rounded up
    Unit.TOKEN: lambda volume: (
        volume.tokens
        if volume.tokens is not None
        else _ceil(_times(volume.pixels, volume.frames), _PIXELS_PER_TOKEN)
    ),
    Unit.CHARACTER: lambda volume: volume.characters,
    # fractions are billed
    Unit.THOUSAND_CHARACTERS: lambda volume: (
        None if volume.characters is None else Decimal(volume.characters).scaleb(-3)
    ),
    Unit.CREDIT: lambda volume: volume.credits,
    Unit.GPU_SECOND: lambda volume: volume.gpu_seconds,
    Unit.RUN: lambda volume: volume.runs,
}
"""How many units the vendors bill for a volume, with their rounding."""


def count(unit: Unit, volume: Volume) -> Decimal:
    """Return how many units the vendors bill for this volume.

    Raises UnpricedError if the volume lacks the quantity; a missing number is never free.
    """
    units = _UNITS[unit](volume)
    if units is None:
        raise UnpricedError(f"the number of units ({unit}) is not known")
    return Decimal(units)


def _times(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left * right


def _ceil(quantity: int | None, unit: int) -> int | None:
    return None if quantity is None else -(-quantity // unit)


def find_price(model: Model, inputs: ModelInputs) -> Price:
    """Return the price book entry for these inputs. Raises UnpricedError."""
    for price in model.prices:
        if inputs.fit(price.when):
            return price
    raise UnpricedError(f"{model.id} has no price for these inputs")


def sellable(model: Model) -> Model | None:
    """Return the model restricted to choices with a price, or None without any price."""
    if not model.prices:
        return None
    body: list[Input | Constant] = []
    for item in model.body:
        sold = _sold(item, model.prices) if isinstance(item, Input) else item
        if sold is None:
            return None
        body.append(sold)
    return model if tuple(body) == model.body else replace(model, body=tuple(body))


def _sold(item: Input, prices: Sequence[Price]) -> Input | None:
    """Return an input with the choices that have a price, None without any."""
    named = {price.when.get(item.name) for price in prices}
    if None in named or not item.choices:
        return item
    choices = tuple(choice for choice in item.choices if str(choice) in named)
    if not choices:
        return None
    default = item.default if item.default in choices else choices[0]
    return replace(item, choices=choices, default=default)


def at_price(model: Model, price: Price) -> Model:
    """Return the model with one fixed price, that of a job's quote."""
    return replace(model, prices=(price,))


def quote(model: Model, inputs: ModelInputs) -> Quote:
    """Return the quote of a job. Raises InputsError, or UnpricedError without a price."""
    check_inputs(model, inputs)
    return quote_of(find_price(model, inputs), volumes(model, inputs))


def quote_of(price: Price, possible: Volumes) -> Quote:
    """Return the quote for a price and the volumes that a completed job may have."""
    return Quote(
        price=price,
        low_nano_usd=cost_of(price, possible.least),
        expected_nano_usd=cost_of(price, possible.usual),
        worst_nano_usd=cost_of(price, possible.most),
    )


def cost(model: Model, inputs: ModelInputs, report: JobReport, *, charged: bool) -> Cost:
    """Return the cost of an ended job: as reported, else of the volume that was held for.

    charged: whether the provider certainly charged the whole job. Without that, and where the
    volume is a worst case, the cost is an assumption.
    """
    if report.charged is False:
        return NO_COST
    price = find_price(model, inputs)
    if (reported := reported_cost(report.billed_units, price)) is not None:
        return reported
    possible = volumes(model, inputs)
    exact = charged and possible.least == possible.most
    return Cost(
        nano_usd=cost_of(price, possible.most),
        basis=CostBasis.COMPUTED if exact else CostBasis.ASSUMED,
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
