"""What operations on one file share: its labels, its sound as long as its picture, its checks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from core.domain.media.content import MediaKind
from core.media.operations.film import pictures, sounds
from core.media.operations.film.canvas import (
    Canvas,
    Size,
    choose_canvas,
    film_rate,
    film_size,
    picture_seconds,
)
from core.media.operations.film.encoding import PICTURE, SOUND
from core.media.operations.port import (
    CommandInput,
    Expected,
    InputFile,
    OperationError,
    Output,
    Probe,
)

SOURCE: Final = "source"
"""The pointer of the file that such an operation reads."""
SEEK_MARGIN_SECONDS: Final = 5.0
"""How long before a cut the decoder starts, so that a frame that is shown for long is found."""


def source_of(inputs: Mapping[str, InputFile]) -> tuple[InputFile, Probe]:
    """Return the source with what it contains. Raises OperationError for a text."""
    file = inputs[SOURCE]
    if file.probe is None:
        raise OperationError(
            "The source is a text; give a video, picture or sound.", pointer=SOURCE
        )
    return file, file.probe


def same_kind(inputs: Mapping[str, Expected]) -> tuple[Output, ...]:
    """Return the one output of an operation that makes a file of its source's kind."""
    kind = inputs[SOURCE].kind
    return (Output(name=kind.value, kind=kind),)


def own_canvas(probe: Probe) -> Canvas:
    """Return the size and frame rate of a film that is made of this video alone."""
    return choose_canvas([probe])


def expected_film(source: Expected) -> Expected:
    """Return what a film of this source alone is: its size is even, its frame rate a usual one."""
    if source.kind is not MediaKind.VIDEO or source.width is None or source.height is None:
        return source
    size = film_size(Size(source.width, source.height), source.kind)
    rate = float(film_rate(source.frame_rate)) if source.frame_rate else None
    return replace(source, width=size.width, height=size.height, frame_rate=rate)


def picture_label(probe: Probe) -> str:
    return f"[0:{probe.video_stream}]"


def sought(file: InputFile, start: float) -> tuple[CommandInput, float]:
    """Return an input that is decoded from shortly before a time, and the time within it."""
    if file.probe is not None and file.probe.video_stream is not None:
        start_at = min(start, picture_seconds(file.probe))
    else:
        start_at = start
    seek = max(0.0, start_at - SEEK_MARGIN_SECONDS)
    options = ("-ss", pictures.number(seek)) if seek else ()
    return pictures.decoded(file, options=options), start - seek


def film_graph(probe: Probe, canvas: Canvas) -> str:
    """Return a graph from the picture to PICTURE: all of it, as every output is."""
    frames = canvas.frames(probe.seconds)
    return (
        f"{picture_label(probe)}{pictures.at_rate(canvas)},{pictures.lasting(frames)},"
        f"{pictures.scaled(probe, canvas.size)}{PICTURE}"
    )


def part(first: int, frames: int) -> str:
    """Return a chain that keeps these frames; the last one is repeated if the picture ends."""
    end = first + frames
    return (
        f"tpad=stop_mode=clone:stop=-1,trim=start_frame={first}:end_frame={end},setpts=PTS-STARTPTS"
    )


def sound_graph(
    probe: Probe, length: int, *, start: float = 0.0, sought_to: float = 0.0, then: str = "anull"
) -> str:
    """Return a graph from the sound to SOUND, of exactly this many samples.

    start: where the part begins in the input, which was sought to a time of the file. then: the
    last chain. A part after the end of the sound is silent, because a filter that receives no
    sample makes none.
    """
    if max(0.0, probe.sound_start_seconds) + probe.sound_seconds <= sought_to:
        return f"{sounds.silence(length, '[none]')};[none]{then}{SOUND}"
    cut = f"{sounds.cut(start)}," if start else ""
    return (
        f"[0:{probe.audio_stream}]{sounds.stereo(probe)},{cut}{sounds.lasting(length)},"
        f"{then}{SOUND}"
    )
