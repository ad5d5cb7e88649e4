"""`merge`: clips and pictures one after the other, with sounds on their time line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film import sounds
from core.media.operations.film.canvas import DEFAULT_FRAME_RATE, Canvas, Size, choose_canvas
from core.media.operations.film.copying import part_of
from core.media.operations.film.encoding import (
    PICTURE,
    SOUND,
    copied_film_options,
    film_options,
    repeatable_options,
    sound_file_options,
)
from core.media.operations.film.pictures import Fit
from core.media.operations.merge import graph, planning
from core.media.operations.merge.graph import Graph
from core.media.operations.merge.parameters import MergeParameters
from core.media.operations.merge.timeline import Clip, Timeline, timeline_of
from core.media.operations.port import (
    Command,
    CommandInput,
    Expected,
    Fault,
    InputFile,
    OperationError,
    Output,
    OutputFile,
    PicturePart,
    Workspace,
)

MAX_SECONDS = 900
_SOUND_CANVAS = Canvas(size=Size(16, 16), frame_rate=DEFAULT_FRAME_RATE)
"""Stands for the canvas where no picture is made."""


class Merge:
    """Joins clips and pictures, with transitions, and mixes sounds under them."""

    kind: ClassVar[OperationKind] = OperationKind.MERGE
    schema_number: ClassVar[int] = 2
    parameters: type[MergeParameters] = MergeParameters

    def accepts(self, parameters: MergeParameters, pointer: str) -> frozenset[MediaKind]:
        """Return every kind that the item's type allows."""
        return planning.ACCEPTED[parameters.items[int(pointer.split("/")[1])].type]

    def outputs(
        self, parameters: MergeParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        """Return a video, or audio if no item is visible."""
        kind = MediaKind.AUDIO
        if planning.visible_inputs(parameters, inputs):
            kind = MediaKind.VIDEO
        return (Output(name=kind.value, kind=kind),)

    def expect(self, parameters: MergeParameters, inputs: Mapping[str, Expected]) -> Expected:
        """Return the length from the items' lengths, transitions and sounds."""
        return planning.expectation(parameters, inputs)

    def faults(
        self, parameters: MergeParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        """Return what does not fit the kinds and the longest possible lengths of the items."""
        return planning.faults_of(parameters, inputs)

    async def render(
        self,
        parameters: MergeParameters,
        inputs: Mapping[str, InputFile],
        workspace: Workspace,
    ) -> Sequence[OutputFile]:
        """Render in one run of ffmpeg, or in two if the joined clips are repeated.

        The pictures of clips that differ in nothing are copied, not encoded again.
        """
        probes = {name: file.probe for name, file in inputs.items() if file.probe is not None}
        if not probes:
            raise OperationError("no item is left: the steps of all items failed", pointer="items")
        measured = planning.measured(parameters, probes)
        for fault in planning.faults_of(parameters, measured):
            raise OperationError(f"{fault.pointer} {fault.message}", pointer=fault.pointer)
        sources = planning.sources_of(parameters, measured, planning.worst)
        visible = [probes[source.pointer] for source in sources if source.is_visible]
        canvas = _SOUND_CANVAS
        if visible:
            canvas = choose_canvas(
                visible, width=parameters.width, height=parameters.height, frame_rate=parameters.fps
            )
        run = _Run(parameters, inputs, workspace, canvas, timeline_of(sources, parameters, canvas))
        return (await run.film() if visible else await run.sound(),)


@dataclass(frozen=True, slots=True)
class _Run:
    parameters: MergeParameters
    inputs: Mapping[str, InputFile]
    workspace: Workspace
    canvas: Canvas
    timeline: Timeline

    async def sound(self) -> OutputFile:
        seconds = max((sound.end for sound in self.timeline.sounds), default=0.0)
        _check_length(seconds)
        parts = Graph(self.inputs)
        graph.mix(parts, self.timeline.sounds, None, sounds.samples(seconds), self.parameters)
        path = self.workspace.folder / "merged.m4a"
        await self._command(parts, sound_file_options(), path, seconds)
        return OutputFile(name=MediaKind.AUDIO.value, path=path)

    async def film(self) -> OutputFile:
        seconds = self.canvas.seconds(self.timeline.frames)
        _check_length(seconds)
        self._warn()
        sounding = graph.has_sound(self.timeline, self.inputs)
        clips_sound = graph.clips_have_sound(self.timeline, self.inputs)
        path = self.workspace.folder / "merged.mp4"
        copied = await self._copied()
        if copied is not None:
            await self._film_around(copied, path, seconds, sounding=sounding)
            return OutputFile(name=MediaKind.VIDEO.value, path=path)
        parts = Graph(self.inputs)
        if self._is_repeated:
            joined = await self._joined(sounding=clips_sound)
            number = parts.open_written(joined, ("-stream_loop", "-1"))
            picture = f"[{number}:v:0]"
            sound = f"[{number}:a:0]" if clips_sound else None
        else:
            picture, sound = graph.joined_clips(
                parts, self.timeline, self.parameters, self.canvas, sounding=clips_sound
            )
        graph.film(parts, self.timeline, self.parameters, self.canvas, picture, sound)
        options = film_options(
            is_final=self.workspace.is_final,
            frame_rate=self.canvas.frame_rate,
            has_sound=sounding,
        )
        await self._command(parts, options, path, seconds)
        return OutputFile(name=MediaKind.VIDEO.value, path=path)

    async def _copied(self) -> InputFile | None:
        """Return the picture of the film if it is made of the clips' own encoded frames."""
        changes = (
            self.parameters.fade_in,
            self.parameters.fade_out,
            self.timeline.frames != self.timeline.joined_frames,
        )
        parts = [] if any(changes) else [self._part(clip) for clip in self.timeline.clips]
        whole = [part for part in parts if part is not None]
        if not whole or len(whole) < len(parts):
            return None
        return await self.workspace.join(whole, self.canvas.frame_rate)

    def _part(self, clip: Clip) -> PicturePart | None:
        item = clip.source.item
        if clip.overlap or item.fade_in or item.fade_out:
            return None
        file = self.inputs[clip.source.pointer]
        return part_of(file, self.canvas, start=item.start, frames=clip.frames)

    async def _film_around(
        self, picture: InputFile, path: Path, seconds: float, *, sounding: bool
    ) -> None:
        """Write the film of a picture, which is copied, and the sounds."""
        parts = Graph(self.inputs)
        parts.inputs.append(CommandInput(file=picture))
        sound = None
        if graph.clips_have_sound(self.timeline, self.inputs):
            sound = graph.joined_sounds(parts, self.timeline, self.canvas)
        if sounding:
            length = self.canvas.samples(self.timeline.frames)
            graph.mix(parts, self.timeline.sounds, sound, length, self.parameters)
        options = copied_film_options(picture_input=0, has_sound=sounding)
        await self._command(parts, options, path, seconds)

    @property
    def _is_repeated(self) -> bool:
        too_short = self.timeline.frames > self.timeline.joined_frames
        return too_short and self.parameters.fit is Fit.LOOP

    async def _joined(self, *, sounding: bool) -> Path:
        """Write the joined clips, which the film repeats, and return the file's path."""
        parts = Graph(self.inputs)
        picture, sound = graph.joined_clips(
            parts, self.timeline, self.parameters, self.canvas, sounding=sounding
        )
        parts.parts.append(f"{picture}null{PICTURE}")
        if sound:
            parts.parts.append(f"{sound}anull{SOUND}")
        path = self.workspace.folder / "joined.mov"
        options = repeatable_options(frame_rate=self.canvas.frame_rate, has_sound=sounding)
        await self._command(parts, options, path, self.canvas.seconds(self.timeline.joined_frames))
        return path

    def _warn(self) -> None:
        for pointer in self.timeline.shortened:
            self.workspace.warn(
                f"{pointer}: the transition to the next clip is shorter than requested, because it "
                "may last at most half of the shorter clip."
            )

    async def _command(
        self, parts: Graph, options: Sequence[str], path: Path, seconds: float
    ) -> None:
        await self.workspace.run(
            Command(
                inputs=parts.inputs,
                filters=parts.text,
                options=options,
                output=path,
                seconds=seconds,
            )
        )


def _check_length(seconds: float) -> None:
    if seconds > MAX_SECONDS:
        raise OperationError(
            f"the result would last {seconds:.0f} s; at most {MAX_SECONDS} s are allowed. "
            "Use fewer or shorter items.",
            pointer="items",
        )
