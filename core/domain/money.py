"""Money: an integer of nano-USD in the service, a decimal string in requests and responses.

The unit is the nano-dollar because fal bills in it and $0.00015 per character must be exact.
Amounts are rounded in one place, where the price book prices a quantity.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import NewType

NanoUsd = NewType("NanoUsd", int)

NANO_PER_USD = 1_000_000_000
_ONE = Decimal(1)


def nano_usd(usd: str) -> NanoUsd:
    """Convert decimal text in USD ("0.003"). Raise ValueError if it is finer than a nano-dollar."""
    nano = Decimal(usd) * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise ValueError(f"{usd} USD is finer than a nano-dollar")
    return NanoUsd(int(nano))


def round_nano_usd(exact_nano_usd: Decimal) -> NanoUsd:
    """Round half up to a whole nano-dollar."""
    return NanoUsd(int(exact_nano_usd.quantize(_ONE, rounding=ROUND_HALF_UP)))


def usd_text(amount_nano_usd: int) -> str:
    """Return nano-USD as exact decimal text without trailing zeros ("0.003", "12", "-0.5")."""
    sign = "-" if amount_nano_usd < 0 else ""
    whole, nano = divmod(abs(amount_nano_usd), NANO_PER_USD)
    fraction = f"{nano:09d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
