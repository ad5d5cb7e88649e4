"""Lengths and frame sizes: what OpenAI's `seconds` and `size` mean at a model, and its defaults.

A model names its frames by a resolution, the shorter side, and an aspect ratio. `720x1280` is 720p
in 9:16. The longer side is rounded up to an even number: 480p in 16:9 is `854x480`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.domain.plans import Scalar

DEFAULT_SECONDS: Final = 4
DEFAULT_SIDE: Final = 720
DEFAULT_RATIO: Final = "9:16"
"""OpenAI's documented defaults: 4 seconds in 720x1280."""
SIZE: Final = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})", re.ASCII)
_RATIO: Final = re.compile(r"([1-9][0-9]{0,2}):([1-9][0-9]{0,2})", re.ASCII)
_SIDE: Final = re.compile(r"([1-9][0-9]{2,3})[pP]", re.ASCII)
_NAMED_SIDES: Final = {"2k": 1440, "4k": 2160}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame size that a model has. size: as OpenAI writes it."""

    resolution: str
    aspect_ratio: str
    size: str


def frame(resolution: Scalar | None, aspect_ratio: Scalar | None) -> Frame | None:
    """Return the frame of a resolution and a shape. None: its pixels do not follow from these."""
    side, shape = _side(resolution), _shape(aspect_ratio)
    if side is None or shape is None:
        return None
    width, height = shape
    longer = math.ceil(side * max(shape) / min(shape))
    longer += longer % 2
    size = f"{longer}x{side}" if width >= height else f"{side}x{longer}"
    return Frame(resolution=str(resolution), aspect_ratio=str(aspect_ratio), size=size)


def frames(resolutions: Sequence[Scalar], aspect_ratios: Sequence[Scalar]) -> list[Frame]:
    """Return the table of frame sizes of a model."""
    pairs = [frame(resolution, ratio) for ratio in aspect_ratios for resolution in resolutions]
    return [pair for pair in pairs if pair is not None]


def resolution_of(size: str, resolutions: Sequence[Scalar]) -> str | None:
    """Return the resolution whose side is the shorter one of a size, for videos of any shape."""
    match = SIZE.fullmatch(size)
    if match is None:
        return None
    side = min(int(match[1]), int(match[2]))
    return next((str(each) for each in resolutions if _side(each) == side), None)


def default_seconds(choices: Sequence[Scalar]) -> int | None:
    """Return OpenAI's default, or the length that is nearest to it. None: there is no choice."""
    lengths = [each for each in choices if isinstance(each, int)]
    return min(lengths, key=lambda each: (abs(each - DEFAULT_SECONDS), each), default=None)


def default_resolution(resolutions: Sequence[Scalar]) -> str | None:
    """Return 720p, or the resolution that is nearest to it. None: there is no choice."""
    sides = {str(each): side for each in resolutions if (side := _side(each)) is not None}
    return min(sides, key=lambda each: (abs(sides[each] - DEFAULT_SIDE), sides[each]), default=None)


def default_ratio(aspect_ratios: Sequence[Scalar]) -> str | None:
    """Return 9:16, or the shape that is nearest to it. None: there is no choice."""
    shapes = {str(each): shape for each in aspect_ratios if (shape := _shape(each)) is not None}

    def distance(ratio: str) -> float:
        width, height = shapes[ratio]
        return abs(math.log(width / height) - math.log(9 / 16))

    return min(shapes, key=distance, default=None)


def _side(resolution: Scalar | None) -> int | None:
    if not isinstance(resolution, str):
        return None
    match = _SIDE.fullmatch(resolution)
    return int(match[1]) if match is not None else _NAMED_SIDES.get(resolution.lower())


def _shape(aspect_ratio: Scalar | None) -> tuple[int, int] | None:
    match = _RATIO.fullmatch(aspect_ratio) if isinstance(aspect_ratio, str) else None
    return (int(match[1]), int(match[2])) if match is not None else None
