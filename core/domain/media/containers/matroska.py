"""The facts in the elements `Info` and `Tracks` of a WebM file (Matroska, RFC 9559)."""

import struct
from collections.abc import Iterator

from core.domain.media.containers.facts import MediaFacts, codec_name, quotient

INFO = 0x1549A966
TRACKS = 0x1654AE6B
MAX_BYTES = 64 * 1024
"""A larger element is not kept in memory. Codecs' own headers in `Tracks` have a few KB."""

_TIMESTAMP_SCALE = 0x2AD7B1
_DURATION = 0x4489
_TRACK_ENTRY = 0xAE
_TRACK_TYPE = 0x83
_DEFAULT_DURATION = 0x23E383
_CODEC_ID = 0x86
_VIDEO = 0xE0
_PIXEL_WIDTH = 0xB0
_PIXEL_HEIGHT = 0xBA

_VIDEO_TYPE, _AUDIO_TYPE = 1, 2
_NANOSECONDS = 10**9
_MILLISECOND = (10**6).to_bytes(3, "big")
"""The default of `TimestampScale`, which counts nanoseconds."""
_CODECS = {
    b"V_VP8": "vp8",
    b"V_VP9": "vp9",
    b"V_AV1": "av1",
    b"V_MPEG4/ISO/AVC": "h264",
    b"V_MPEGH/ISO/HEVC": "h265",
    b"A_OPUS": "opus",
    b"A_VORBIS": "vorbis",
    b"A_AAC": "aac",
}


def facts_of(info: bytes, tracks: bytes) -> MediaFacts | None:
    """Return the facts in the content of both elements, None if `Tracks` is missing or damaged.

    A live recording states no duration, and a variable frame rate is not stated.
    """
    try:
        header = dict(_elements(info))
        entries = [
            dict(_elements(track)) for kind, track in _elements(tracks) if kind == _TRACK_ENTRY
        ]
        video = next((entry for entry in entries if _type_of(entry) == _VIDEO_TYPE), None)
        sound = next((entry for entry in entries if _type_of(entry) == _AUDIO_TYPE), None)
        picture = dict(_elements(video.get(_VIDEO, b""))) if video else {}
        units = _float(header.get(_DURATION, b""))
        scale = _integer(header.get(_TIMESTAMP_SCALE, _MILLISECOND))
        frame = _integer(video.get(_DEFAULT_DURATION, b"")) if video else 0
        width = _integer(picture.get(_PIXEL_WIDTH, b""))
        height = _integer(picture.get(_PIXEL_HEIGHT, b""))
    except (struct.error, ValueError):
        return None
    shown = video or sound
    if shown is None:
        return None
    return MediaFacts(
        width=width or None,
        height=height or None,
        duration_seconds=quotient(units * scale, _NANOSECONDS),
        frame_rate=quotient(_NANOSECONDS, frame),
        codec=codec_name(shown.get(_CODEC_ID, b"").rstrip(b"\0"), _CODECS),
        has_audio=sound is not None,
    )


def _type_of(entry: dict[int, bytes]) -> int:
    return _integer(entry.get(_TRACK_TYPE, b""))


def _integer(content: bytes) -> int:
    if len(content) > 8:
        raise ValueError(f"an integer has {len(content)} bytes")
    return int.from_bytes(content, "big")


def _float(content: bytes) -> float:
    if not content:
        return 0.0
    (number,) = struct.unpack(">f" if len(content) == 4 else ">d", content)
    return number


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the id and content of each element. Raises ValueError if one is cut off."""
    position = 0
    while position < len(content):
        identifier, position = _number(content, position, keep_marker=True)
        size, position = _number(content, position, keep_marker=False)
        if position + size > len(content):
            raise ValueError(f"the element {identifier:#x} is cut off")
        yield identifier, content[position : position + size]
        position += size


def _number(content: bytes, position: int, *, keep_marker: bool) -> tuple[int, int]:
    """Return a number of variable length and the position after it."""
    first = content[position] if position < len(content) else 0
    length = 9 - first.bit_length()
    end = position + length
    if length > 8 or end > len(content):
        raise ValueError("an id or a size is cut off")
    number = int.from_bytes(content[position:end], "big")
    return (number if keep_marker else number & ((1 << 7 * length) - 1)), end
