"""The grammar of placements, and where a layer is on the canvas."""

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from core.media.operations.film.canvas import MAX_SIDE, Size, contained, covering, even
from core.media.operations.references import OperationModel


class Filling(StrEnum):
    """How a layer of another shape fills its box.

    PAD: it is wholly visible and the rest of the box stays transparent. CROP: its edges are cut
    off. STRETCH: its shape changes.
    """

    PAD = "pad"
    CROP = "crop"
    STRETCH = "stretch"


@dataclass(frozen=True, slots=True)
class Part:
    """A length: pixels, or a share of the canvas or of the free space."""

    pixels: float = 0
    share: Fraction | None = None

    def of(self, whole: int) -> float:
        return self.pixels if self.share is None else float(self.share * whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A parsed placement. None: as the layer's own size and shape demand."""

    width: Part | None = None
    height: Part | None = None
    x: Part
    y: Part
    padding: int = 0
    aspect_ratio: Fraction | None = None
    filling: Filling = Filling.PAD

    @property
    def has_own_shape(self) -> bool:
        """Return whether the box takes the shape of the layer: only one side is given."""
        return self.aspect_ratio is None and (self.width is None or self.height is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a layer is drawn. scaled: its whole picture; shown: the part in its middle."""

    scaled: Size
    shown: Size
    x: int
    y: int


_NONE, _HALF, _WHOLE = (Part(share=Fraction(half, 2)) for half in range(3))
_POSITIONS: Final = {
    "top-left": (_NONE, _NONE),
    "top": (_HALF, _NONE),
    "top-right": (_WHOLE, _NONE),
    "left": (_NONE, _HALF),
    "center": (_HALF, _HALF),
    "right": (_WHOLE, _HALF),
    "bottom-left": (_NONE, _WHOLE),
    "bottom": (_HALF, _WHOLE),
    "bottom-right": (_WHOLE, _WHOLE),
}
_OTHER_NAMES: Final = {
    "top-center": "top",
    "bottom-center": "bottom",
    "center-left": "left",
    "center-right": "right",
}
_PIP: Final = Box(width=Part(share=Fraction(1, 4)), x=_WHOLE, y=_WHOLE, padding=20)
_PRESETS: Final = {
    "full": Box(width=_WHOLE, height=_WHOLE, x=_HALF, y=_HALF),
    "fill": Box(width=_WHOLE, height=_WHOLE, x=_HALF, y=_HALF, filling=Filling.CROP),
    "center": Box(x=_HALF, y=_HALF),
    "pip": _PIP,
    "picture-in-picture": _PIP,
}
_SHARE = re.compile(r"([wh])-(?:(\d{1,3})/(\d{1,3})|full)")
_ALLOWED: Final = (
    f"{', '.join(_PRESETS)}, or w-a/b and h-a/b (parts of the canvas, such as w-1/4) with one of "
    f"{', '.join(_POSITIONS)}"
)


def parse(text: str) -> Box:
    """Return the box of a placement in words. Raises ValueError with what is allowed."""
    if text in _PRESETS:
        return _PRESETS[text]
    sides: dict[str, Part] = {}
    positions: list[tuple[Part, Part]] = []
    for token in text.split():
        match = _SHARE.fullmatch(token)
        name = _OTHER_NAMES.get(token, token)
        if match is not None and match[1] not in sides:
            sides[match[1]] = _share(token, match[2], match[3])
        elif name in _POSITIONS and not positions:
            positions.append(_POSITIONS[name])
        else:
            raise ValueError(f"{token!r} is not allowed here; allowed: {_ALLOWED}")
    if not sides and not positions:
        raise ValueError(f"is empty; allowed: {_ALLOWED}")
    x, y = positions[0] if positions else _POSITIONS["center"]
    return Box(width=sides.get("w"), height=sides.get("h"), x=x, y=y)


def _share(token: str, part: str | None, whole: str | None) -> Part:
    if part is None or whole is None:
        return _WHOLE
    if not 0 < int(part) <= int(whole):
        raise ValueError(f"{token!r} must be more than 0 and at most the whole, such as w-1/4")
    return Part(share=Fraction(int(part), int(whole)))


def _words(text: str) -> str:
    """Return a placement in words in its normal form."""
    normal = " ".join(text.lower().split())
    parse(normal)
    return normal


_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)%")


def _length(value: float | str) -> float | str:
    if isinstance(value, str):
        match = _PERCENT.fullmatch(value)
        if match is None or float(match[1]) > 100:
            raise ValueError("must be a number of pixels or 0% to 100%")
    elif not -MAX_SIDE <= value <= MAX_SIDE:
        raise ValueError(f"must be -{MAX_SIDE} to {MAX_SIDE} pixels")
    return value


def _side(value: float | str) -> float | str:
    if part_of(value) == _NONE or (not isinstance(value, str) and value < 1):
        raise ValueError("must be at least 1 pixel or more than 0%")
    return value


Words = Annotated[str, Field(max_length=60), AfterValidator(_words)]
Length = Annotated[float | str, AfterValidator(_length)]
Side = Annotated[float | str, AfterValidator(_length), AfterValidator(_side)]


def _ratio(text: str) -> str:
    if "0" in text.split(":"):
        raise ValueError("must be two numbers above 0, such as 16:9")
    return text


class Position(OperationModel):
    """Pixels from the left and the top, or shares of the free space: 100% is the other edge."""

    x: Length = "50%"
    y: Length = "50%"


class PlacementBox(OperationModel):
    """A placement in numbers: pixels, or percent of the canvas.

    padding: distance of percent positions from the edges. aspect_ratio: of the box, if only one
    side is given; the layer then fills the box.
    """

    width: Side | None = None
    height: Side | None = None
    position: Position = Position()
    padding: Annotated[int, Field(ge=0, le=1000)] = 0
    aspect_ratio: (
        Annotated[str, Field(pattern=r"^[0-9]{1,2}:[0-9]{1,2}$"), AfterValidator(_ratio)] | None
    ) = None


Placement = Words | PlacementBox


def part_of(value: float | str) -> Part:
    if isinstance(value, str):
        return Part(share=Fraction(value.rstrip("%")) / 100)
    return Part(pixels=value)


def box_of(placement: Placement) -> Box:
    """Return the parsed form of a valid placement."""
    if isinstance(placement, str):
        return parse(placement)
    ratio = None
    if placement.aspect_ratio is not None:
        across, down = placement.aspect_ratio.split(":")
        ratio = Fraction(int(across), int(down))
    return Box(
        width=None if placement.width is None else part_of(placement.width),
        height=None if placement.height is None else part_of(placement.height),
        x=part_of(placement.position.x),
        y=part_of(placement.position.y),
        padding=placement.padding,
        aspect_ratio=ratio,
        filling=Filling.PAD if ratio is None else Filling.CROP,
    )


def place(box: Box, source: Size, canvas: Size, filling: Filling | None) -> Place:
    """Return where a picture of this size is drawn. All numbers are even.

    filling: in the place of the box's own.
    """
    limits = _limits(box, source, canvas)
    used = filling or box.filling
    if limits is None:
        shown = scaled = contained(source, _smaller(source, canvas))
    elif used is Filling.PAD:
        shown = scaled = limits if box.has_own_shape else contained(source, limits)
    else:
        shown = limits
        scaled = covering(source, limits) if used is Filling.CROP else limits
    return Place(
        scaled=scaled,
        shown=shown,
        x=_offset(box.x, canvas.width - shown.width, box.padding),
        y=_offset(box.y, canvas.height - shown.height, box.padding),
    )


def _limits(box: Box, source: Size, canvas: Size) -> Size | None:
    """Return the size of the box, None if the layer has its own.

    A side that is not given never makes the box larger than the canvas.
    """
    width = None if box.width is None else box.width.of(canvas.width)
    height = None if box.height is None else box.height.of(canvas.height)
    if width is not None and height is not None:
        return Size(even(width), even(height))
    shape = float(box.aspect_ratio or Fraction(source.width, source.height))
    if width is None and height is None:
        if box.aspect_ratio is None:
            return None
        width = min(source.width, source.height * shape)
    if width is None:
        width = (height or 0) * shape
    height = width / shape
    factor = min(1.0, canvas.width / width, canvas.height / height)
    return Size(even(width * factor), even(height * factor))


def _smaller(source: Size, canvas: Size) -> Size:
    if source.width <= canvas.width and source.height <= canvas.height:
        return Size(max(2, even(source.width)), max(2, even(source.height)))
    return canvas


def _offset(part: Part, free: int, padding: int) -> int:
    """Return the distance from the left or the top edge, in even pixels."""
    distance = part.pixels
    if part.share is not None:
        distance = padding + part.of(free - 2 * padding)
    return 2 * round(distance / 2)
