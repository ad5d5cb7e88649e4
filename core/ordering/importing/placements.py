"""Import of placements, which Synthome computes from expressions."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from core.ordering.errors import FaultCode
from core.ordering.importing.reading import Fields, Node, NoteCode, Report

SEQUENCE: Final = "sequence"
"""Files one after the other on the whole canvas: a name of older plans."""
_QUARTER: Final = re.compile(r"((?:top|bottom)-(?:left|right))-quarter")
_PLAIN: Final = re.compile(r"-?\d{1,6}(?:\.\d{1,6})?")
_SHARE: Final = re.compile(r"i[wh](?:([*/])(\d{1,6}(?:\.\d{1,6})?)(?:/(\d{1,6}))?)?")
_EXPRESSIONS: Final = {
    "(W-w)/2": "50%",
    "(H-h)/2": "50%",
    "W-w": "100%",
    "H-h": "100%",
}


def placement(report: Report, node: Node) -> str | dict[str, object] | None:
    """Return a placement in our form; None if it has none, which is reported."""
    if isinstance(node.value, str):
        name = " ".join(node.value.lower().split())
        quarter = _QUARTER.fullmatch(name)
        if quarter is not None:
            return f"w-1/2 h-1/2 {quarter[1]}"
        if "bottom-center" in name.split():
            report.note(
                node.pointer,
                NoteCode.CHANGED,
                "is at the bottom here; Synthome put it into the middle",
            )
        return name
    if isinstance(node.value, Mapping):
        return _box(report, node)
    report.refuse(node.pointer, "must be a text or an object")
    return None


def _box(report: Report, node: Node) -> dict[str, object]:
    """Convert a placement in numbers, which the caller's step validates."""
    fields = Fields(node, report)
    box: dict[str, object] = {}
    for name in ("width", "height"):
        _put_length(report, box, name, fields.take(name))
    position = fields.take("position")
    if position is not None:
        inside = Fields(position, report)
        place: dict[str, object] = {}
        for name in ("x", "y"):
            _put_length(report, place, name, inside.take(name))
        inside.refuse_rest(("x", "y"))
        box["position"] = place
    for name in ("padding", "aspectRatio"):
        member = fields.take(name)
        if member is not None:
            box[name] = member.value
    fields.refuse_rest(("width", "height", "position", "padding", "aspectRatio"))
    return box


def _put_length(report: Report, box: dict[str, object], name: str, node: Node | None) -> None:
    if node is None:
        return
    length = _length(node.value)
    if length is None:
        report.refuse(
            node.pointer,
            "must be a number of pixels or 0% to 100%; expressions are not computed, except "
            f"parts such as iw/2 and the positions {', '.join(_EXPRESSIONS)}",
            FaultCode.NOT_SUPPORTED,
        )
    else:
        box[name] = length


def _length(value: object) -> object | None:
    """Return pixels or a percentage; None for other expressions."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.endswith("%"):
        return text
    if _PLAIN.fullmatch(text):
        pixels = float(text)
        return int(pixels) if pixels.is_integer() else pixels
    share = _SHARE.fullmatch(text)
    if share is not None:
        return _percent(share)
    return _EXPRESSIONS.get(text)


def _percent(match: re.Match[str]) -> str | None:
    """Return a part of the canvas, such as iw/4 or iw*2/3, in percent."""
    operator, number, divisor = match.groups()
    part = Fraction(1)
    if operator is not None:
        value = Fraction(number)
        if (operator == "/" and not value) or divisor == "0":
            return None
        part = value if operator == "*" else 1 / value
        part /= int(divisor or 1)
    return f"{float(part * 100):.3f}".rstrip("0").rstrip(".") + "%" if part <= 1 else None
