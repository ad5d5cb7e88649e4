"""Colours in the parameters of media steps, and their form in a filter graph."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_FORM = re.compile(r"(?:#|0x)?([0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)
_NAMES = {
    "black": "000000",
    "white": "ffffff",
    "red": "ff0000",
    "green": "00ff00",
    "blue": "0000ff",
}


def _normal_form(text: str) -> str:
    form = _FORM.fullmatch(_NAMES.get(text.lower(), text))
    if form is None:
        raise ValueError(f"must be #RRGGBB, #RGB or one of {', '.join(_NAMES)}")
    digits = form[1].lower()
    return "#" + ("".join(digit * 2 for digit in digits) if len(digits) == 3 else digits)


Color = Annotated[str, Field(max_length=12), AfterValidator(_normal_form)]
"""`#RRGGBB`, `#RGB` or a name, kept as `#rrggbb`."""


def channels(color: str) -> tuple[int, int, int]:
    """Return red, green and blue, 0 to 255, of a colour in its normal form."""
    value = int(color[1:], 16)
    return value >> 16, value >> 8 & 255, value & 255


def filter_color(color: str) -> str:
    """Return a colour in its normal form as filters write it."""
    return f"0x{color[1:]}"


def bt709(color: str) -> tuple[int, int, int]:
    """Return Y, Cb and Cr of a colour as an 8-bit BT.709 film stores it."""
    red, green, blue = (channel / 255 for channel in channels(color))
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (
        round(16 + 219 * luma),
        round(128 + 224 * (blue - luma) / 1.8556),
        round(128 + 224 * (red - luma) / 1.5748),
    )
