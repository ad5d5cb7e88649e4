"""Make a short, small, silent preview of a film."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import Field

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film import pictures
from core.media.operations.film.canvas import Canvas, Size, even
from core.media.operations.film.encoding import (
    PICTURE,
    REPRODUCIBLE,
    mp4_options,
    picture_options,
)
from core.media.operations.film.pictures import shown_size
from core.media.operations.port import (
    Command,
    Expected,
    Fault,
    InputFile,
    OperationError,
    OperationParameters,
    Output,
    OutputFile,
    Probe,
    Seconds,
    Workspace,
)
from core.media.operations.references import Reference
from core.media.operations.single.source import SOURCE, part, picture_label, sought, source_of
from core.media.operations.single.stills import StillFormat, still_chain

MAX_BYTES: Final = 2 * 1000 * 1000
MIN_FRAME_RATE: Final = 2
MIN_WIDTH: Final = 64
MOST_TRIES: Final = 6
_AIM: Final = 0.85
"""Of the limit, when a preview is made again: half of the frames have more than half the bytes."""


class PreviewFormat(StrEnum):
    """The format of a preview; its value is the file name extension."""

    WEBP = "webp"
    GIF = "gif"
    MP4 = "mp4"

    @property
    def kind(self) -> MediaKind:
        return MediaKind.VIDEO if self is PreviewFormat.MP4 else MediaKind.IMAGE


class PreviewParameters(OperationParameters):
    """The parameters of preview, in seconds and pixels.

    A file of more than 2 MB is made again with fewer frames, and then smaller.
    """

    source: Reference
    start: Annotated[float, Field(ge=0, le=3600)] = 0.0
    duration: Annotated[float, Field(ge=1, le=10)] = 3.0
    width: Annotated[int, Field(ge=MIN_WIDTH, le=640)] = 320
    fps: Annotated[int, Field(ge=MIN_FRAME_RATE, le=30)] = 10
    format: PreviewFormat = PreviewFormat.WEBP


@dataclass(frozen=True, slots=True)
class Preview:
    """Make a preview. A start too close to the end of the film is moved forward.

    max_bytes: a preview with more is made again.
    """

    max_bytes: int = MAX_BYTES

    kind: ClassVar[OperationKind] = OperationKind.PREVIEW
    schema_number: ClassVar[int] = 1
    parameters = PreviewParameters

    def accepts(self, parameters: PreviewParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO})

    def outputs(
        self, parameters: PreviewParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        kind = parameters.format.kind
        return (Output(name=kind.value, kind=kind),)

    def expect(self, parameters: PreviewParameters, inputs: Mapping[str, Expected]) -> Expected:
        """Return no size: a preview with too many bytes is made smaller."""
        seconds = inputs[SOURCE].seconds
        if parameters.format is not PreviewFormat.MP4:
            seconds = None
        if seconds is not None:
            low, expected, worst = (
                min(parameters.duration, length)
                for length in (seconds.low, seconds.expected, seconds.worst)
            )
            seconds = Seconds(low=low, expected=expected, worst=worst)
        return Expected(kind=parameters.format.kind, seconds=seconds, has_sound=False)

    def faults(
        self, parameters: PreviewParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        return ()

    async def render(
        self, parameters: PreviewParameters, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        file, probe = source_of(inputs)
        seconds = min(parameters.duration, probe.seconds)
        start = min(parameters.start, probe.seconds - seconds)
        if start < parameters.start:
            workspace.warn(f"The preview starts at {start:.2f} s, so that it ends with the video.")
        frame_rate, width = Fraction(parameters.fps), parameters.width
        path = workspace.folder / f"preview.{parameters.format}"
        for _ in range(MOST_TRIES):
            canvas = Canvas(size=_size(shown_size(probe), width), frame_rate=frame_rate)
            await workspace.run(
                _command(file, probe, parameters.format, canvas, start, seconds, path)
            )
            share = _AIM * self.max_bytes / path.stat().st_size
            if share >= _AIM:
                break
            fewer = max(MIN_FRAME_RATE, float(frame_rate) * share)
            left = share * float(frame_rate) / fewer
            if left < 1:
                width = max(MIN_WIDTH, even(width * left**0.5))
            frame_rate = Fraction(fewer).limit_denominator(100)
        else:
            raise OperationError(
                "The preview has more than 2 MB. Use a smaller width or a shorter duration.",
                pointer="width",
            )
        if (frame_rate, width) != (parameters.fps, parameters.width):
            workspace.warn(
                f"The preview has {float(frame_rate):.1f} frames a second and a width of {width} pixels, "
                "so that it has at most 2 MB."
            )
        return (OutputFile(name=parameters.format.kind.value, path=path),)


def _size(source: Size, width: int) -> Size:
    return Size(even(width), even(source.height * width / source.width))


def _command(
    file: InputFile,
    probe: Probe,
    form: PreviewFormat,
    canvas: Canvas,
    start: float,
    seconds: float,
    path: Path,
) -> Command:
    source, inner = sought(file, start)
    first = round(inner * canvas.frame_rate)
    frames = canvas.frames(seconds)
    return Command(
        inputs=[source],
        filters=(
            f"{picture_label(probe)}{pictures.at_rate(canvas)},{part(first, frames)},"
            f"{pictures.scaled(probe, canvas.size)}{_chain(form)}{PICTURE}"
        ),
        options=("-map", PICTURE, "-an", *REPRODUCIBLE, *_options(form, canvas)),
        output=path,
        seconds=canvas.seconds(frames),
    )


def _chain(form: PreviewFormat) -> str:
    """Return what follows the frames of a film; it starts with a comma or is empty."""
    match form:
        case PreviewFormat.MP4:
            return ""
        case PreviewFormat.WEBP:
            return f",{still_chain(StillFormat.WEBP)}"
        case PreviewFormat.GIF:
            return (
                f",{still_chain(StillFormat.PNG)},split=2[seen][drawn];"
                "[seen]palettegen[palette];"
                "[drawn][palette]paletteuse=dither=bayer:bayer_scale=4:diff_mode=rectangle"
            )


def _options(form: PreviewFormat, canvas: Canvas) -> tuple[str, ...]:
    match form:
        case PreviewFormat.MP4:
            encoded = picture_options(is_final=True, frame_rate=canvas.frame_rate)
            return (*encoded, *mp4_options())
        case PreviewFormat.WEBP:
            return ("-c:v", "libwebp_anim", "-quality", "70", "-loop", "0", "-f", "webp")
        case PreviewFormat.GIF:
            return ("-c:v", "gif", "-loop", "0", "-f", "gif")
