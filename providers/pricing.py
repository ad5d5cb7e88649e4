"""Arithmetic on the price books. One place rounds: contracts.money.round_nano_usd, once for each amount."""

from decimal import Decimal, InvalidOperation

from contracts.money import NanoUsd, round_nano_usd
from contracts.states import CostBasis
from providers.port import Cost, Model, Price

NOTHING = Cost(nano_usd=NanoUsd(0), basis=CostBasis.COMPUTED)
"""An end that costs nothing by the provider's rules."""

_UNITS_MAX = Decimal(10) ** 12


class UnpricedError(ValueError):
    """The price book has no price for this: it is not sold."""


def find_price(model: Model, **parameters: str) -> Price:
    """The price for these parameters ("resolution": "720p"). Raises UnpricedError."""
    for price in model.prices:
        if all(parameters.get(name) == value for name, value in price.when.items()):
            return price
    raise UnpricedError(f"{model.id} has no price for {parameters}")


def amount(units: Decimal | int, price: Price) -> NanoUsd:
    return round_nano_usd(units * price.unit_nano_usd)


def reported(billed_units: str | None, price: Price) -> Cost | None:
    """The cost of the quantity that the provider says it billed; None if it does not say, or not in a number."""
    units = billed_quantity(billed_units)
    return None if units is None else Cost(nano_usd=amount(units, price), basis=CostBasis.REPORTED)


def billed_quantity(text: str | None) -> Decimal | None:
    """A quantity >= 0 in plain decimal text, else None."""
    try:
        units = Decimal((text or "").strip())
    except InvalidOperation:
        return None
    return units if units.is_finite() and 0 <= units <= _UNITS_MAX else None
