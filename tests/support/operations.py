"""Operations for tests of planning: they render nothing."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Final

from pydantic import Field

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.port import (
    Expected,
    Fault,
    InputFile,
    Operation,
    OperationParameters,
    Output,
    OutputFile,
    Seconds,
    Workspace,
)
from core.media.operations.references import OperationModel, Reference


class JoinItem(OperationModel):
    media: Reference
    volume: Annotated[float, Field(ge=0, le=2)] = 1


class JoinParameters(OperationParameters):
    items: Annotated[tuple[JoinItem, ...], Field(min_length=1, max_length=50)]


class Join:
    """Videos and sounds, one after the other."""

    kind: ClassVar[OperationKind] = OperationKind.MERGE
    schema_number: ClassVar[int] = 1
    parameters = JoinParameters

    def accepts(self, parameters: JoinParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO, MediaKind.AUDIO})

    def outputs(
        self, parameters: JoinParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        return (
            Output(name="video", kind=MediaKind.VIDEO),
            Output(name="srt", kind=MediaKind.TEXT),
        )

    def expect(self, parameters: JoinParameters, inputs: Mapping[str, Expected]) -> Expected:
        lengths = [each.seconds for each in inputs.values() if each.seconds is not None]
        return Expected(
            kind=MediaKind.VIDEO,
            seconds=Seconds(
                low=sum(each.low for each in lengths),
                expected=sum(each.expected for each in lengths),
                worst=sum(each.worst for each in lengths),
            ),
        )

    def faults(self, parameters: JoinParameters, inputs: Mapping[str, Expected]) -> Sequence[Fault]:
        return [
            Fault(pointer=f"{pointer.removesuffix('/media')}/volume", message="there is no sound")
            for pointer, each in inputs.items()
            if each.has_sound is False
        ]

    async def render(
        self, parameters: JoinParameters, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        raise NotImplementedError


class StillParameters(OperationParameters):
    source: Reference
    at: Annotated[float, Field(ge=0)] = 0


class Still:
    """A picture of a video."""

    kind: ClassVar[OperationKind] = OperationKind.POSTER
    schema_number: ClassVar[int] = 1
    parameters = StillParameters

    def accepts(self, parameters: StillParameters, pointer: str) -> frozenset[MediaKind]:
        return frozenset({MediaKind.VIDEO})

    def outputs(
        self, parameters: StillParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Output]:
        return (Output(name="image", kind=MediaKind.IMAGE),)

    def expect(self, parameters: StillParameters, inputs: Mapping[str, Expected]) -> Expected:
        return Expected(kind=MediaKind.IMAGE)

    def faults(
        self, parameters: StillParameters, inputs: Mapping[str, Expected]
    ) -> Sequence[Fault]:
        return ()

    async def render(
        self, parameters: StillParameters, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        raise NotImplementedError


JOIN: Final[Operation[JoinParameters]] = Join()
STILL: Final[Operation[StillParameters]] = Still()
