"""Take one picture out of a film."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film import pictures
from core.media.operations.film.canvas import Size, even, picture_seconds
from core.media.operations.film.encoding import PICTURE
from core.media.operations.port import (
    Command,
    CommandInput,
    Expected,
    Fault,
    InputFile,
    OperationParameters,
    Output,
    OutputFile,
    Probe,
    Workspace,
)
from core.media.operations.references import Reference
from core.media.operations.single.source import (
    SOURCE,
    picture_label,
    sought,
    source_of,
)
from core.media.operations.single.stills import (
    STILL_SECONDS,
    StillFormat,
    still_chain,
    still_options,
)

MAX_WIDTH: Final = 1920
COMPARED_FRAMES: Final = 100
COMPARED_SECONDS: Final = 60.0
"""Of the film: decoding costs processor time."""
COMPARED_WIDTH: Final = 160
BLACK_PERCENT: Final = 95
"""A frame with more black pixels is not compared."""
_SAME_TIME: Final = 0.0005
"""In seconds: less than the times of frames are rounded to."""
_BEST_AT: Final = re.compile(r"\bpts_time:(\S+)")


class PosterParameters(OperationParameters):
    """The parameters of poster.

    at: in seconds; after the end, the last frame; "best" for the most typical frame of the first
    minute that is not black. width: None for the film's, at most 1920.
    """

    source: Reference
    at: Annotated[float, Field(ge=0, le=3600)] | Literal["best"] = "best"
    width: Annotated[int, Field(ge=16, le=MAX_WIDTH)] | None = None
    format: StillFormat = StillFormat.JPG


class Poster:
    """Take the frame that is shown at a time."""

    kind: ClassVar[OperationKind] = OperationKind.POSTER
    schema_number: ClassVar[int] = 1
    parameters = PosterParameters

    def accepts(self, parameters: PosterParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO})

    def outputs(
        self, parameters: PosterParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        return (Output(name="image", kind=MediaKind.IMAGE),)

    def expect(self, parameters: PosterParameters, inputs: Mapping[str, Expected]) -> Expected:
        source = inputs[SOURCE]
        size = None
        if source.width is not None and source.height is not None:
            size = _size(parameters, Size(source.width, source.height))
        return Expected(
            kind=MediaKind.IMAGE,
            width=size.width if size else parameters.width,
            height=size.height if size else None,
        )

    def faults(
        self, parameters: PosterParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        return ()

    async def render(
        self, parameters: PosterParameters, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        file, probe = source_of(inputs)
        at = parameters.at
        if at == "best":
            at = await _best(file, probe, workspace)
        source, inner = sought(file, at)
        size = _size(parameters, pictures.shown_size(probe))
        path = workspace.folder / f"poster.{parameters.format}"
        await workspace.run(
            Command(
                inputs=[source],
                filters=(
                    f"{picture_label(probe)}{_shown_at(inner)},{pictures.scaled(probe, size)},"
                    f"{still_chain(parameters.format)}{PICTURE}"
                ),
                options=still_options(parameters.format),
                output=path,
                seconds=STILL_SECONDS,
            )
        )
        return (OutputFile(name="image", path=path),)


def _size(parameters: PosterParameters, source: Size) -> Size:
    width = parameters.width or min(source.width, MAX_WIDTH)
    return Size(even(width), even(source.height * width / source.width))


def _shown_at(seconds: float) -> str:
    """Return a chain that gives the last frame that starts at or before a time.

    The first slot of a frame rate of one frame in that time is its last frame; of a shorter film it
    is the last one, of a film that starts later the first.
    """
    slot = round((seconds + _SAME_TIME) * 1_000_000)
    return f"fps=fps=1000000/{slot}:round=down:start_time=0:eof_action=pass"


async def _best(file: InputFile, probe: Probe, workspace: Workspace) -> float:
    """Return when the frame is shown that is most like the others; 0 if all are black."""
    seconds = min(picture_seconds(probe), COMPARED_SECONDS)
    rate = min(probe.frame_rate or 1.0, COMPARED_FRAMES / max(seconds, 0.001))
    height = even(COMPARED_WIDTH * probe.height / probe.width)
    log = await workspace.run(
        Command(
            inputs=[CommandInput(file=file, options=("-t", pictures.number(seconds)))],
            filters=(
                f"{picture_label(probe)}fps=fps={pictures.number(rate)}:round=down,"
                f"scale=w={COMPARED_WIDTH}:h={height},blackframe=amount=0,"
                "metadata=mode=select:key=lavfi.blackframe.pblack"
                f":value={BLACK_PERCENT}:function=less,"
                f"thumbnail=n={COMPARED_FRAMES},metadata=mode=print{PICTURE}"
            ),
            options=("-map", PICTURE, "-frames:v", "1"),
            output=None,
            seconds=seconds,
        )
    )
    times = _BEST_AT.findall(log)
    return float(times[0]) if times else 0.0
