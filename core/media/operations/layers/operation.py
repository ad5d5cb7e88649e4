"""`layers`: videos and pictures over each other, with places, keys, transparency and times."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.film.canvas import choose_canvas
from core.media.operations.film.encoding import film_options
from core.media.operations.layers import planning
from core.media.operations.layers.graph import LayersGraph
from core.media.operations.layers.parameters import LayersParameters
from core.media.operations.layers.timing import timing_of
from core.media.operations.port import (
    Command,
    Expected,
    Fault,
    InputFile,
    OperationError,
    Output,
    OutputFile,
    Workspace,
)

_OUTPUT = Output(name="video", kind=MediaKind.VIDEO)


class Layers:
    """Draws layers from the lowest to the highest on one canvas."""

    kind: ClassVar[OperationKind] = OperationKind.LAYERS
    schema_number: ClassVar[int] = 1
    parameters: type[LayersParameters] = LayersParameters

    def accepts(self, parameters: LayersParameters, pointer: str) -> frozenset[MediaKind]:
        """Return images and videos."""
        return frozenset({MediaKind.IMAGE, MediaKind.VIDEO})

    def outputs(
        self, parameters: LayersParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        """Return the one film."""
        return (_OUTPUT,)

    def expect(self, parameters: LayersParameters, inputs: Mapping[str, Expected]) -> Expected:
        """Return the length of the leading layer and the size of the first one."""
        return planning.expectation(parameters, inputs)

    def faults(
        self, parameters: LayersParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        """Return what does not fit the kinds and the longest possible lengths of the files."""
        return planning.faults_of(parameters, inputs)

    async def render(
        self,
        parameters: LayersParameters,
        inputs: Mapping[str, InputFile],
        workspace: Workspace,
    ) -> Sequence[OutputFile]:
        """Render in one run of ffmpeg."""
        probes = {name: file.probe for name, file in inputs.items() if file.probe is not None}
        measured = planning.measured(probes)
        order = planning.in_order(parameters, measured)
        if not order:
            raise OperationError(
                "no layer is left: the steps of all layers failed", pointer="items"
            )
        for fault in planning.faults_of(parameters, measured):
            raise OperationError(f"{fault.pointer} {fault.message}", pointer=fault.pointer)
        canvas = choose_canvas(
            [probes[pointer] for pointer in order],
            width=parameters.width,
            height=parameters.height,
            frame_rate=parameters.fps,
        )
        timing = timing_of(parameters, planning.sources_of(measured, planning.usual), canvas)
        graph = LayersGraph(parameters, inputs, canvas, timing)
        graph.build()
        path = workspace.folder / "layers.mp4"
        await workspace.run(
            Command(
                inputs=graph.inputs,
                filters=graph.text,
                options=film_options(
                    is_final=workspace.is_final,
                    frame_rate=canvas.frame_rate,
                    has_sound=graph.has_sound,
                ),
                output=path,
                seconds=canvas.seconds(timing.frames),
            )
        )
        return (OutputFile(name=_OUTPUT.name, path=path),)
