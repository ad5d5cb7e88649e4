"""Give a film or a picture another shape: cropped, with bars, or in front of its blurred copy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film import pictures
from core.media.operations.film.canvas import MAX_SIDE, Canvas, Size, contained, covering, even
from core.media.operations.film.colors import Color, filter_color
from core.media.operations.film.encoding import PICTURE, film_options
from core.media.operations.film.pictures import Resize
from core.media.operations.port import (
    Command,
    Expected,
    Fault,
    InputFile,
    OperationParameters,
    Output,
    OutputFile,
    Probe,
    Workspace,
)
from core.media.operations.references import OperationModel, Reference
from core.media.operations.single.source import (
    SOURCE,
    expected_film,
    own_canvas,
    picture_label,
    same_kind,
    sound_graph,
    source_of,
)
from core.media.operations.single.stills import (
    STILL_SECONDS,
    StillFormat,
    still_chain,
    still_options,
)

SHORT_SIDE: Final = 720
MIN_SIDE: Final = 64
LARGE_LOSS: Final = 0.5
"""Of the picture: a crop that loses more is reported."""
MAX_FOCUS_POINTS: Final = 50


class AspectRatio(StrEnum):
    """The shape of the output, width to height."""

    WIDE = "16:9"
    TALL = "9:16"
    SCREEN = "4:3"
    PORTRAIT = "3:4"
    FEED = "4:5"
    SQUARE = "1:1"
    CINEMA = "21:9"
    STRIP = "9:21"

    @property
    def terms(self) -> tuple[int, int]:
        """Return width and height."""
        width, height = self.value.split(":")
        return int(width), int(height)


class Mode(StrEnum):
    """How the source gets the new shape.

    CROP: it fills the frame, and what is outside is lost. PAD: bars of one colour. BLUR: bars from
    an enlarged, blurred copy.
    """

    CROP = "crop"
    PAD = "pad"
    BLUR = "blur"


class FocusPoint(OperationModel):
    """The point that a crop keeps as close to the centre as possible, from a time on.

    x, y: in shares of the width and height, from the top left corner. at: in seconds.
    """

    x: Annotated[float, Field(ge=0, le=1)] = 0.5
    y: Annotated[float, Field(ge=0, le=1)] = 0.5
    at: Annotated[float, Field(ge=0, le=900)] = 0.0


NO_FOCUS: Final = (FocusPoint(),)


class ReframeParameters(OperationParameters):
    """The parameters of reframe.

    mode: None for `blur` of a film and `crop` of a picture. focus: one point, or a list of points
    with growing `at`; the first one applies from the start. width: None for a short side of 720
    pixels; "source" for the source's own scale. color: of the bars.
    """

    source: Reference
    aspect_ratio: AspectRatio
    mode: Mode | None = None
    focus: Annotated[tuple[FocusPoint, ...], Field(min_length=1, max_length=MAX_FOCUS_POINTS)] = (
        NO_FOCUS
    )
    width: Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)] | Literal["source"] | None = None
    color: Color = "#000000"

    @field_validator("focus", mode="before")
    @classmethod
    def _one_point(cls, value: object) -> object:
        return [cast("object", value)] if isinstance(value, dict | FocusPoint) else value

    @field_validator("focus")
    @classmethod
    def _in_order(cls, value: tuple[FocusPoint, ...]) -> tuple[FocusPoint, ...]:
        if any(later.at <= point.at for point, later in pairwise(value)):
            raise ValueError("every `at` must be greater than the one before it")
        return value

    @model_validator(mode="after")
    def _within_limits(self) -> Self:
        if isinstance(self.width, int):
            height = frame_size(self.aspect_ratio, self.width).height
            if height > MAX_SIDE:
                raise ValueError(
                    f"a width of {self.width} at {self.aspect_ratio} makes a height of {height}; "
                    f"the limit is {MAX_SIDE}"
                )
        return self


class Reframe:
    """Change the shape of a film or a picture. A crop keeps the focus, a film its sound."""

    kind: ClassVar[OperationKind] = OperationKind.REFRAME
    schema_number: ClassVar[int] = 1
    parameters = ReframeParameters

    def accepts(self, parameters: ReframeParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO, MediaKind.IMAGE})

    def outputs(
        self, parameters: ReframeParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        return same_kind(inputs)

    def expect(self, parameters: ReframeParameters, inputs: Mapping[str, Expected]) -> Expected:
        source = inputs[SOURCE]
        size = None
        if parameters.width != "source":
            size = frame_size(parameters.aspect_ratio, parameters.width)
        elif source.width is not None and source.height is not None:
            shown = Size(source.width, source.height)
            size = own_size(parameters.aspect_ratio, shown, mode_of(parameters, source.kind))
        return replace(
            expected_film(source),
            width=size.width if size else None,
            height=size.height if size else None,
        )

    def faults(
        self, parameters: ReframeParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        kind = inputs[SOURCE].kind
        faults: list[Fault] = []
        if parameters.focus != NO_FOCUS and mode_of(parameters, kind) is not Mode.CROP:
            faults.append(
                Fault(
                    pointer="focus",
                    message='focus needs mode "crop"; the other modes keep the whole picture',
                    allowed=(Mode.CROP.value,),
                )
            )
        if len(parameters.focus) > 1 and kind is MediaKind.IMAGE:
            faults.append(Fault(pointer="focus", message="a picture has one focus"))
        return faults

    async def render(
        self, parameters: ReframeParameters, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        file, probe = source_of(inputs)
        shown = pictures.shown_size(probe)
        mode = mode_of(parameters, probe.kind)
        size = (
            own_size(parameters.aspect_ratio, shown, mode)
            if parameters.width == "source"
            else frame_size(parameters.aspect_ratio, parameters.width)
        )
        _warn_of_loss(shown, size, mode, workspace)
        shape = Shape(size, mode, parameters.focus, parameters.color)
        if probe.kind is MediaKind.IMAGE:
            path = await _render_picture(file, probe, shape, workspace)
        else:
            path = await _render_film(file, probe, shape, workspace)
        return (OutputFile(name=probe.kind.value, path=path),)


def mode_of(parameters: ReframeParameters, kind: MediaKind) -> Mode:
    if parameters.mode is not None:
        return parameters.mode
    return Mode.CROP if kind is MediaKind.IMAGE else Mode.BLUR


@dataclass(frozen=True, slots=True)
class Shape:
    """The frame of the output, and how the source fills it."""

    size: Size
    mode: Mode
    focus: tuple[FocusPoint, ...]
    color: str

    def filters(self, source: str, target: str, probe: Probe, *, keep_alpha: bool = False) -> str:
        """Return a graph from one label to another."""
        shown = pictures.shown_size(probe)
        if self.mode is Mode.BLUR:
            return pictures.resized(source, target, probe, self.size, Resize.BLUR)
        inner = (covering if self.mode is Mode.CROP else contained)(shown, self.size)
        scaled = f"{source}{pictures.scaled(probe, inner, keep_alpha=keep_alpha)}"
        if self.mode is Mode.CROP:
            x = _steps(self.focus, "x", inner.width, self.size.width)
            y = _steps(self.focus, "y", inner.height, self.size.height)
            return f"{scaled},crop=w={self.size.width}:h={self.size.height}:x={x}:y={y}{target}"
        x, y = pictures.centered(inner, self.size)
        return (
            f"{scaled},pad=w={self.size.width}:h={self.size.height}:x={x}:y={y}"
            f":color={filter_color(self.color)}{target}"
        )


def frame_size(ratio: AspectRatio, width: int | None) -> Size:
    """Return the size of the output. width: None for a short side of 720 pixels."""
    across, down = ratio.terms
    if width is None:
        scale = SHORT_SIDE / min(across, down)
        return Size(even(across * scale), even(down * scale))
    return Size(even(width), even(width * down / across))


def own_size(ratio: AspectRatio, source: Size, mode: Mode) -> Size:
    """Return the size at the source's own scale, reduced if a side is over the limit."""
    across, down = ratio.terms
    scales = (source.width / across, source.height / down)
    scale = min(scales) if mode is Mode.CROP else max(scales)
    scale = min(scale, MAX_SIDE / max(across, down))
    return Size(even(across * scale), even(down * scale))


def crop_offset(covered: int, length: int, focus: float) -> int:
    """Return where a crop of this length begins, so that the focus is close to its centre."""
    offset = round(focus * covered - length / 2)
    return min(max(offset, 0), covered - length) // 2 * 2


def _steps(focus: tuple[FocusPoint, ...], axis: str, covered: int, length: int) -> str:
    """Return the offset of a crop over time as filters write it.

    A sum of jumps, because nested conditions are limited in depth. Quoted for its commas.
    """
    offsets = [crop_offset(covered, length, cast("float", getattr(point, axis))) for point in focus]
    text = str(offsets[0])
    for number, point in enumerate(focus[1:], start=1):
        jump = offsets[number] - offsets[number - 1]
        if jump:
            text += f"{jump:+d}*gte(t,{pictures.number(point.at)})"
    return f"'{text}'"


def _warn_of_loss(shown: Size, size: Size, mode: Mode, workspace: Workspace) -> None:
    """Warn of a crop that loses most of the picture."""
    cover = covering(shown, size)
    kept = size.width * size.height / (cover.width * cover.height)
    if mode is Mode.CROP and 1 - kept > LARGE_LOSS:
        side = "width" if cover.width > size.width else "height"
        workspace.warn(
            f"The crop loses {100 * (1 - kept):.0f} % of the {side}. Use mode blur or pad to keep "
            "the whole picture."
        )


async def _render_film(file: InputFile, probe: Probe, shape: Shape, workspace: Workspace) -> Path:
    canvas = Canvas(size=shape.size, frame_rate=own_canvas(probe).frame_rate)
    frames = canvas.frames(probe.seconds)
    timed = f"{picture_label(probe)}{pictures.at_rate(canvas)},{pictures.lasting(frames)}[timed]"
    graphs = [timed, shape.filters("[timed]", PICTURE, probe)]
    has_sound = probe.audio_stream is not None
    if has_sound:
        graphs.append(sound_graph(probe, canvas.samples(frames)))
    path = workspace.folder / "reframed.mp4"
    await workspace.run(
        Command(
            inputs=[pictures.decoded(file)],
            filters=";".join(graphs),
            options=film_options(
                is_final=workspace.is_final, frame_rate=canvas.frame_rate, has_sound=has_sound
            ),
            output=path,
            seconds=canvas.seconds(frames),
        )
    )
    return path


async def _render_picture(
    file: InputFile, probe: Probe, shape: Shape, workspace: Workspace
) -> Path:
    keeps_alpha = probe.has_alpha and shape.mode is not Mode.BLUR
    form = StillFormat.PNG if keeps_alpha else StillFormat.JPG
    graph = shape.filters(picture_label(probe), "[shaped]", probe, keep_alpha=keeps_alpha)
    path = workspace.folder / f"reframed.{form}"
    await workspace.run(
        Command(
            inputs=[pictures.decoded(file)],
            filters=f"{graph};[shaped]{still_chain(form, keep_alpha=keeps_alpha)}{PICTURE}",
            options=still_options(form),
            output=path,
            seconds=STILL_SECONDS,
        )
    )
    return path
