"""Cut a part out of a film or a sound."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film import pictures, sounds
from core.media.operations.film.canvas import film_seconds
from core.media.operations.film.copying import is_plain, part_of
from core.media.operations.film.encoding import (
    PICTURE,
    REPRODUCIBLE,
    copied_film_options,
    film_options,
    mp4_options,
    sound_file_options,
)
from core.media.operations.port import (
    Command,
    CommandInput,
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
from core.media.operations.single.source import (
    SOURCE,
    expected_film,
    own_canvas,
    part,
    picture_label,
    same_kind,
    sought,
    sound_graph,
    source_of,
)

SHORTEST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 900
COPIED_SOUND: Final = frozenset({"aac", "mp3", "mp3float"})


class TrimParameters(OperationParameters):
    """The parameters of trim, in seconds of the source.

    end, duration: at most one of them; without, the part ends with the source. copy_streams: keep
    the encoded pictures and sound, which is fast, and begin at the key frame before the start.
    """

    source: Reference
    start: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)] = 0.0
    end: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] | None = None
    duration: Annotated[float, Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)] | None = None
    copy_streams: Annotated[bool, Field(alias="copy")] = False

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.end is not None and self.duration is not None:
            raise ValueError("give end or duration, not both")
        if self.end is not None and self.end - self.start < SHORTEST_SECONDS:
            raise ValueError(f"end must be at least {SHORTEST_SECONDS} s after start")
        return self

    def seconds_of(self, source: float) -> float:
        """Return how long the part is of a source of this length; not positive: nothing."""
        end = source
        if self.end is not None:
            end = min(end, self.end)
        if self.duration is not None:
            end = min(end, self.start + self.duration)
        return end - self.start


class Trim:
    """Cut a part out. The cut is exact unless the parameters ask to copy.

    The picture is encoded again unless the part begins and ends at key frames.
    """

    kind: ClassVar[OperationKind] = OperationKind.TRIM
    schema_number: ClassVar[int] = 2
    parameters = TrimParameters

    def accepts(self, parameters: TrimParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO, MediaKind.AUDIO})

    def outputs(
        self, parameters: TrimParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        return same_kind(inputs)

    def expect(self, parameters: TrimParameters, inputs: Mapping[str, Expected]) -> Expected:
        source = expected_film(inputs[SOURCE])
        if source.seconds is None:
            return source
        low, expected, worst = (
            max(SHORTEST_SECONDS, parameters.seconds_of(seconds))
            for seconds in (source.seconds.low, source.seconds.expected, source.seconds.worst)
        )
        if parameters.copy_streams:  # it may begin at the first key frame
            worst += parameters.start
        return replace(source, seconds=Seconds(low=low, expected=expected, worst=worst))

    def faults(self, parameters: TrimParameters, inputs: Mapping[str, Expected]) -> Sequence[Fault]:
        seconds = inputs[SOURCE].seconds
        if seconds is None or parameters.seconds_of(seconds.worst) > 0:
            return ()
        return (Fault(pointer="start", message=_past_end(parameters.start, seconds.worst)),)

    async def render(
        self, parameters: TrimParameters, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        file, probe = source_of(inputs)
        length = film_seconds(probe)
        seconds = parameters.seconds_of(length)
        if seconds <= 0:
            raise OperationError(_past_end(parameters.start, length), pointer="start")
        if parameters.end is not None and parameters.end > length:
            workspace.warn(
                f"The source ends at {length:.2f} s, before the end of the cut at "
                f"{parameters.end:.2f} s."
            )
        if parameters.copy_streams and _can_copy(probe):
            path = await _copy(file, probe, parameters.start, seconds, workspace)
        else:
            if parameters.copy_streams:
                workspace.warn(
                    "The source was encoded again: only H.264 films of upright square pixels, "
                    "and AAC or MP3 sound, can be copied."
                )
            path = await _exact(file, probe, parameters.start, seconds, workspace)
        return (OutputFile(name=probe.kind.value, path=path),)


def _past_end(start: float, seconds: float) -> str:
    return f"The cut starts at {start:.2f} s, but the source ends at {seconds:.2f} s."


def _can_copy(probe: Probe) -> bool:
    if probe.kind is MediaKind.VIDEO:
        return is_plain(probe) and probe.audio_codec in ("", *COPIED_SOUND)
    return probe.audio_codec in COPIED_SOUND


async def _exact(
    file: InputFile, probe: Probe, start: float, seconds: float, workspace: Workspace
) -> Path:
    """Cut exactly, of a film at key frames without encoding its picture."""
    source, inner_start = sought(file, start)
    sought_to = start - inner_start
    if probe.kind is MediaKind.AUDIO:
        path = workspace.folder / "trimmed.m4a"
        graph = sound_graph(probe, sounds.samples(seconds), start=inner_start, sought_to=sought_to)
        await workspace.run(
            Command(
                inputs=[source],
                filters=graph,
                options=sound_file_options(),
                output=path,
                seconds=seconds,
            )
        )
        return path
    canvas = own_canvas(probe)
    frames = canvas.frames(seconds)
    path = workspace.folder / "trimmed.mp4"
    has_sound = probe.audio_stream is not None
    graphs: list[str] = []
    if has_sound:
        length = canvas.samples(frames)
        graphs.append(sound_graph(probe, length, start=inner_start, sought_to=sought_to))
    part_to_copy = part_of(file, canvas, start=start, frames=frames)
    copied = (
        None if part_to_copy is None else await workspace.join([part_to_copy], canvas.frame_rate)
    )
    if copied is not None:
        inputs = [source, CommandInput(file=copied)]
        options = copied_film_options(picture_input=1, has_sound=has_sound)
    else:
        first = round(inner_start * canvas.frame_rate)
        graphs.append(
            f"{picture_label(probe)}{pictures.at_rate(canvas)},{part(first, frames)},"
            f"{pictures.scaled(probe, canvas.size)}{PICTURE}"
        )
        inputs = [source]
        options = film_options(
            is_final=workspace.is_final, frame_rate=canvas.frame_rate, has_sound=has_sound
        )
    await workspace.run(
        Command(
            inputs=inputs, filters=";".join(graphs), options=options, output=path, seconds=seconds
        )
    )
    return path


async def _copy(
    file: InputFile, probe: Probe, start: float, seconds: float, workspace: Workspace
) -> Path:
    streams = [stream for stream in (probe.video_stream, probe.audio_stream) if stream is not None]
    maps = [option for stream in streams for option in ("-map", f"0:{stream}")]
    if probe.kind is MediaKind.VIDEO:
        suffix, container = "mp4", mp4_options()
    elif probe.audio_codec == "aac":
        suffix, container = "m4a", mp4_options(sound_only=True)
    else:
        suffix, container = "mp3", ("-f", "mp3")
    path = workspace.folder / f"trimmed.{suffix}"
    await workspace.run(
        Command(
            inputs=[CommandInput(file=file, options=("-ss", pictures.number(start)))],
            options=[
                *maps,
                "-c",
                "copy",
                "-t",
                pictures.number(seconds),
                "-avoid_negative_ts",
                "make_zero",
                *REPRODUCIBLE,
                *container,
            ],
            output=path,
            seconds=seconds,
        )
    )
    copied = await workspace.probe(path)
    workspace.warn(
        f"The streams were copied, so the cut begins at a key frame: {copied.seconds:.2f} s "
        f"instead of {seconds:.2f} s. Leave out copy for an exact cut."
    )
    return path
