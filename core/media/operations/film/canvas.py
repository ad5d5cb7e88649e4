"""The frame of a film: its size and frame rate, and sizes that fit into it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from core.domain.media.content import MediaKind
from core.media.operations.film.encoding import SAMPLE_RATE
from core.media.operations.port import Probe

MIN_SIDE = 16
MAX_SIDE = 4096
MAX_PICTURE_SIDE = 1920
"""The longer side of a film whose size follows a still picture, which is often far larger."""
DEFAULT_FRAME_RATE = Fraction(30)
MIN_FRAME_RATE, MAX_FRAME_RATE = 24, 60
USUAL_FRAME_RATES = (
    *(Fraction(rate * 1000, 1001) for rate in (24, 30, 60)),
    *(Fraction(rate) for rate in (24, 25, 30, 48, 50, 60)),
)
PADDING_SECONDS = 0.1
"""How much longer than its picture the sound of a film may be because of its codec."""
_SAME_RATE = 0.0002
"""How far, in proportion, a measured frame rate may be from the usual one that it stands for."""


@dataclass(frozen=True, slots=True)
class Size:
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The size and frame rate of a film. Both sides are even."""

    size: Size
    frame_rate: Fraction

    @property
    def rate(self) -> str:
        """Return the frame rate as filters write it."""
        return f"{self.frame_rate.numerator}/{self.frame_rate.denominator}"

    def frames(self, seconds: float) -> int:
        """Return the number of frames of a duration, at least one."""
        return max(1, round(seconds * self.frame_rate))

    def seconds(self, frames: int) -> float:
        return float(frames / self.frame_rate)

    def samples(self, frames: int) -> int:
        """Return the number of sound samples that last as long as these frames."""
        return round(frames * SAMPLE_RATE / self.frame_rate)


def even(length: float) -> int:
    """Return the nearest even number of pixels, at least two: H.264 stores half-size colours."""
    return max(2, 2 * round(length / 2))


def contained(source: Size, box: Size) -> Size:
    """Return the largest even size of the source's shape that fits into a box."""
    factor = min(box.width / source.width, box.height / source.height)
    return Size(
        min(even(source.width * factor), box.width), min(even(source.height * factor), box.height)
    )


def covering(source: Size, box: Size) -> Size:
    """Return the smallest even size of the source's shape that covers a box."""
    factor = max(box.width / source.width, box.height / source.height)
    return Size(
        max(even(source.width * factor), box.width), max(even(source.height * factor), box.height)
    )


def film_size(
    source: Size, kind: MediaKind, *, width: int | None = None, height: int | None = None
) -> Size:
    """Return the size of a film.

    source: the first visible file as shown. One given side: the other follows its shape.
    """
    if width is not None and height is not None:
        return Size(even(width), even(height))
    shape = source.width / source.height
    if width is not None:
        return _within(Size(even(width), even(width / shape)), MAX_SIDE)
    if height is not None:
        return _within(Size(even(height * shape), even(height)), MAX_SIDE)
    limit = MAX_PICTURE_SIDE if kind is MediaKind.IMAGE else MAX_SIDE
    return _within(source, limit)


def _within(size: Size, limit: int) -> Size:
    factor = min(1.0, limit / max(size.width, size.height))
    return Size(max(MIN_SIDE, even(size.width * factor)), max(MIN_SIDE, even(size.height * factor)))


def film_rate(measured: float | None) -> Fraction:
    """Return the frame rate of a film, which follows its first video. None: only pictures."""
    if not measured:
        return DEFAULT_FRAME_RATE
    for usual in USUAL_FRAME_RATES:
        if abs(measured / float(usual) - 1) < _SAME_RATE:
            return usual
    return Fraction(min(MAX_FRAME_RATE, max(MIN_FRAME_RATE, round(measured))))


def picture_seconds(probe: Probe) -> float:
    """Return how long a file's picture lasts, which may be shorter than its sound."""
    return probe.picture_seconds or probe.seconds


def film_seconds(probe: Probe) -> float:
    """Return how long a film lasts: as long as its picture, or as sound that is clearly longer."""
    picture = picture_seconds(probe)
    return probe.seconds if probe.seconds > picture + PADDING_SECONDS else picture


def choose_canvas(
    visible: Sequence[Probe],
    *,
    width: int | None = None,
    height: int | None = None,
    frame_rate: float | None = None,
) -> Canvas:
    """Return the canvas of a film of these files, at least one, in their order.

    The size follows the first file, the frame rate the first video.
    """
    first = visible[0]
    size = film_size(Size(first.width, first.height), first.kind, width=width, height=height)
    videos = (probe.frame_rate for probe in visible if probe.kind is MediaKind.VIDEO)
    if frame_rate:
        return Canvas(size=size, frame_rate=Fraction(frame_rate).limit_denominator(1001))
    return Canvas(size=size, frame_rate=film_rate(next(videos, None)))
