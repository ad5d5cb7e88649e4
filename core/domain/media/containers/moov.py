"""The facts in the `moov` box, the index of an MP4 or QuickTime file (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from core.domain.media.containers.facts import MediaFacts, codec_name, quotient

MAX_BYTES = 8 * 1024 * 1024
"""A larger index is not kept in memory. Ten minutes of film have one of about 300 KB."""

_CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "h265",
    b"hev1": "h265",
    b"av01": "av1",
    b"vp08": "vp8",
    b"vp09": "vp9",
    b"mp4a": "aac",
}
_VIDEO = b"vide"
_SOUND = b"soun"


@dataclass(frozen=True, slots=True)
class _Track:
    handler: bytes
    width: int
    height: int
    frame_rate: float | None
    codec: str | None


def facts_of(moov: bytes, *, faststart: bool) -> MediaFacts:
    """Return the facts in the content of a `moov` box, none of them if it is damaged.

    A file in fragments states neither its duration nor its frame rate here.
    """
    try:
        tracks = [_track(content) for kind, content in _boxes(moov) if kind == b"trak"]
        timescale, duration = _times(_find(moov, b"mvhd"))
    except (struct.error, ValueError):
        return MediaFacts(faststart=faststart)
    video = next((track for track in tracks if track.handler == _VIDEO), None)
    sound = next((track for track in tracks if track.handler == _SOUND), None)
    shown = video or sound
    return MediaFacts(
        width=video.width if video else None,
        height=video.height if video else None,
        duration_seconds=quotient(duration, timescale),
        frame_rate=video.frame_rate if video else None,
        codec=shown.codec if shown else None,
        has_audio=sound is not None,
        faststart=faststart,
    )


def _track(trak: bytes) -> _Track:
    width, height = struct.unpack(">II", _find(trak, b"tkhd")[-8:])
    timescale, _ = _times(_find(trak, b"mdia", b"mdhd"))
    samples = _find(trak, b"mdia", b"minf", b"stbl")
    entry = _find(samples, b"stsd")[12:16]
    runs = list(struct.iter_unpack(">II", _find(samples, b"stts")[8:]))
    frames = sum(count for count, _ in runs)
    duration = sum(count * length for count, length in runs)
    return _Track(
        handler=_find(trak, b"mdia", b"hdlr")[8:12],
        width=width >> 16,  # fixed point, 16 bits after the point
        height=height >> 16,
        frame_rate=quotient(frames * timescale, duration),
        codec=codec_name(entry, _CODECS),
    )


def _times(header: bytes) -> tuple[int, int]:
    """Return timescale (units a second) and duration of an `mvhd` or `mdhd` box."""
    timescale, duration = struct.unpack_from(
        *((">IQ", header, 20) if header[:1] == b"\1" else (">II", header, 12))
    )
    return timescale, duration


def _find(content: bytes, *path: bytes) -> bytes:
    """Return the content of the first box at this path. Raises ValueError if it is missing."""
    for name in path:
        for kind, inner in _boxes(content):
            if kind == name:
                content = inner
                break
        else:
            raise ValueError(f"no box {name!r}")
    return content


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        if size < 8:  # QuickTime ends a list with four zeros
            return
        yield kind, content[position + 8 : position + size]
        position += size
