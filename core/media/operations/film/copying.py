"""Which films need no encoding, and which parts of them can be copied exactly."""

from fractions import Fraction
from typing import Final

from core.domain.media.content import MediaKind
from core.media.operations.film.canvas import Canvas, Size, film_rate
from core.media.operations.port import InputFile, PicturePart, Probe

_PLAIN_TRANSFERS: Final = frozenset({"", "unknown", "unspecified", "bt709"})
_PLAIN_RANGES: Final = frozenset({"", "unknown", "unspecified", "tv"})
_ON_FRAME: Final = 0.01
"""How far, in frames, a time may be from the frame that it names."""


def is_plain(probe: Probe) -> bool:
    """Return whether the picture needs no encoding to be what every output is."""
    return (
        probe.video_codec == "h264"
        and probe.pixel_format == "yuv420p"
        and probe.rotation == 0
        and probe.sample_aspect_ratio == 1
        and probe.width % 2 == probe.height % 2 == 0
        and probe.color_transfer in _PLAIN_TRANSFERS
        and probe.color_range in _PLAIN_RANGES
    )


def part_of(file: InputFile, canvas: Canvas, *, start: float, frames: int) -> PicturePart | None:
    """Return a part of a film that may be copied onto a canvas; None if it must be encoded.

    The engine decides in the end: it reads where the key frames are, and whether the frame rate is
    constant.
    """
    probe = file.probe
    if probe is None or probe.kind is not MediaKind.VIDEO or not is_plain(probe):
        return None
    first = round(start * canvas.frame_rate)
    fits = (
        Size(probe.width, probe.height) == canvas.size
        and film_rate(probe.frame_rate) == canvas.frame_rate
        and abs(start * canvas.frame_rate - first) < _ON_FRAME
        and not _starts_late(probe, canvas.frame_rate)
        and first + frames <= probe.frames
    )
    return PicturePart(file=file, first=first, frames=frames) if fits else None


def _starts_late(probe: Probe, frame_rate: Fraction) -> bool:
    """Return whether the sound begins before the picture, which then holds its first frame."""
    return probe.audio_stream is not None and probe.sound_start_seconds < -0.5 / frame_rate
