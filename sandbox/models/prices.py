"""Rates of models, and the quantity and price that a vendor bills."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, assert_never

from sandbox.models.orders import Order

FRAMES_PER_SECOND = 24
BLOCK_FRAMES = 30
Unit = Literal[
    "images", "generations", "videos", "megapixels", "seconds", "minutes", "tokens", "1000 characters", "30 frames"
]  # fmt: skip
"""As the vendor's price list names it. Minutes and blocks of frames are billed when started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The price of a unit, in nano-USD, for orders that match.

    when: attributes of the order and their values. up_to_pixels, up_to_lines: the largest output,
    by its area and by its short side.
    """

    unit: Unit
    nano_usd: int
    when: Mapping[str, Any] = field(default_factory=dict[str, Any])
    up_to_pixels: int | None = None
    up_to_lines: int | None = None
    first_units: int = 0  # covered by `first_nano_usd`, a minimum charge
    first_nano_usd: int = 0

    def applies(self, order: Order) -> bool:
        return (
            all(getattr(order, name) == value for name, value in self.when.items())
            and (self.up_to_pixels is None or order.width * order.height <= self.up_to_pixels)
            and (self.up_to_lines is None or min(order.width, order.height) <= self.up_to_lines)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A price: `units` is the billed quantity in the rate's own unit."""

    units: Decimal
    nano_usd: int


def price_at(rate: Rate, order: Order) -> Price:
    units = _units(rate.unit, order)
    nano_usd = rate.first_nano_usd + max(Decimal(0), units - rate.first_units) * rate.nano_usd
    return Price(units=units, nano_usd=math.ceil(nano_usd))


def _units(unit: Unit, order: Order) -> Decimal:
    """Return the billed quantity: pictures, pixels, frames or characters, rounded as vendors do."""
    match unit:
        case "images" | "generations" | "videos":
            return Decimal(order.count)
        case "megapixels":
            return Decimal(order.count * math.ceil(order.width * order.height / 1_000_000))
        case "seconds":
            return Decimal(math.ceil(order.seconds))
        case "minutes":
            return Decimal(math.ceil(order.seconds / 60))
        case "tokens":  # height x width x 24 x seconds / 1024
            pixels = order.height * order.width
            return Decimal(math.ceil(pixels * FRAMES_PER_SECOND * order.seconds / 1024))
        case "1000 characters":
            return Decimal(len(order.prompt)) / 1000
        case "30 frames":
            return Decimal(math.ceil(order.frames / BLOCK_FRAMES))
        case _:
            assert_never(unit)
