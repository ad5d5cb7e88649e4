"""What the headers of a file state about the picture and sound in it."""

from collections.abc import Mapping
from dataclasses import dataclass

_IMPLAUSIBLE = 10**9
"""Thirty years, or a frame a nanosecond. JSON has no infinity."""
_MAX_CODEC_CHARACTERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """None: the format has no such fact, or the headers do not state it.

    width, height: in pixels. codec: of the picture, or of sound without a picture. faststart: the
    index of an MP4 comes before its frames, so that a player can start before the whole file is
    there.
    """

    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    frame_rate: float | None = None
    codec: str | None = None
    has_audio: bool | None = None
    faststart: bool | None = None


def quotient(value: float, divisor: float) -> float | None:
    """Return a duration or a frame rate with three digits, None if it is zero or implausible."""
    result = value / divisor if divisor else 0.0
    return (round(result, 3) or None) if 0 < result < _IMPLAUSIBLE else None


def codec_name(code: bytes, names: Mapping[bytes, str]) -> str | None:
    """Return the usual name of a codec, its code if it has none here.

    None: the code is not plain text, which PostgreSQL requires in JSON.
    """
    if code in names:
        return names[code]
    plain = code.isascii() and code.decode().isprintable() and len(code) <= _MAX_CODEC_CHARACTERS
    return (code.decode() or None) if plain else None
