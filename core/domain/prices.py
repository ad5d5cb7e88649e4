"""Prices per unit, quotes of jobs, and the form in which a price is stored with its charge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import cast

from core.domain.money import NANO_PER_USD, NanoUsd


class Unit(StrEnum):
    """The units that providers bill; core.providers.pricing.count counts a job in each of them."""

    IMAGE = "image"
    VIDEO = "video"
    MEGAPIXEL = "megapixel"
    SECOND = "second"
    TOKEN = "token"  # noqa: S105 - a unit, no secret
    MINUTE = "minute"
    FRAME_BLOCK = "frame_block"
    CHARACTER = "character"
    THOUSAND_CHARACTERS = "thousand_characters"
    CREDIT = "credit"
    GPU_SECOND = "gpu_second"
    RUN = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The cost of one unit of a model: an entry of the price book.

    unit_nano_usd: exact, may have a fraction.
    when: the parameters for which the price applies ({"resolution": "720p"}); empty: all.
    source, read_on: where the price was read, and the day (ISO 8601).
    """

    unit: Unit
    unit_nano_usd: Decimal
    source: str
    read_on: str
    when: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if not self.unit_nano_usd.is_finite() or self.unit_nano_usd < 0:
            raise ValueError(f"{self.unit_nano_usd} is not a price")

    @property
    def unit_usd_text(self) -> str:
        """The price in USD as exact decimal text without trailing zeros ("0.0000025")."""
        usd = self.unit_nano_usd.scaleb(1 - len(str(NANO_PER_USD)))
        return format(usd.normalize(), "f") if usd else "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The possible cost of a job.

    price: the entry of the price book, stored with the hold; the job is settled at it.
    low, expected: estimates for a job that completes.
    worst: the highest cost by the price book; this amount is held.
    """

    price: Price
    low_nano_usd: NanoUsd
    expected_nano_usd: NanoUsd
    worst_nano_usd: NanoUsd

    def __post_init__(self) -> None:
        if not 0 <= self.low_nano_usd <= self.expected_nano_usd <= self.worst_nano_usd:
            raise ValueError("a quote must satisfy 0 <= low <= expected <= worst")


def price_to_json(price: Price) -> dict[str, object]:
    """Return the price for the row of a charge."""
    return {
        "unit": price.unit.value,
        "unit_nano_usd": str(price.unit_nano_usd),
        "source": price.source,
        "read_on": price.read_on,
        "when": dict(price.when),
    }


def price_from_json(plain: Mapping[str, object]) -> Price:
    """Read the output of price_to_json. Raise TypeError or ValueError for anything else."""
    match plain:
        case {
            "unit": str(unit),
            "unit_nano_usd": str(unit_nano_usd),
            "source": str(source),
            "read_on": str(read_on),
            "when": dict(),
        }:
            when = cast("Mapping[object, object]", plain["when"])
            return Price(
                unit=Unit(unit),
                unit_nano_usd=_decimal(unit_nano_usd),
                source=source,
                read_on=read_on,
                when={str(name): str(value) for name, value in when.items()},
            )
        case _:
            raise TypeError("not a price")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError(f"{text!r} is not a number") from None
