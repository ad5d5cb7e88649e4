"""What a media operation is: its parameters, what it makes of which files, and how.

An operation is data and pure functions around one method that renders. Planning uses all but that
method, before any file exists. Adding an operation: a module with its parameters and one class, and
a line in `core/media/operations/registry.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from core.domain.media.content import MediaKind
from core.domain.plans import OperationKind
from core.media.operations.references import OperationModel


class OperationParameters(OperationModel):
    """The parameters of one operation, with every default and range.

    `references_in` finds the files in it. Everything else in it, with the defaults, is part of the
    content key, so a change of a default changes the key.
    """


P = TypeVar("P", bound=OperationParameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """How long a file is before it exists."""

    low: float
    expected: float
    worst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is known of a file before it exists. None: not known; seconds of a still picture: None.

    width, height: as shown, after rotation and with square pixels.
    """

    kind: MediaKind
    seconds: Seconds | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    has_sound: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that an operation makes. name: for `{"step": …, "output": name}`."""

    name: str
    kind: MediaKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a file contains, as its decoder reports it.

    format_name: ffmpeg's demuxer, for its `-f`. seconds: of the longest stream; 0 for a still
    picture. width, height: as shown, after rotation and with square pixels. rotation: in degrees,
    clockwise. sample_aspect_ratio: the shape of a stored pixel. frame_rate: average. pixel_format,
    color_*: ffmpeg's words. video_stream, audio_stream: the index of the used stream, None without.
    picture_seconds: from the start of the file to the end of its last frame; 0: not measured.
    sound_start_seconds: when the sound begins relative to the picture.
    """

    kind: MediaKind
    format_name: str
    seconds: float
    width: int = 0
    height: int = 0
    rotation: int = 0
    sample_aspect_ratio: float = 1.0
    frame_rate: float = 0.0
    frames: int = 0
    picture_seconds: float = 0.0
    video_codec: str = ""
    pixel_format: str = ""
    color_transfer: str = ""
    color_range: str = ""
    has_alpha: bool = False
    video_stream: int | None = None
    audio_stream: int | None = None
    audio_codec: str = ""
    sample_rate: int = 0
    channels: int = 0
    sound_seconds: float = 0.0
    sound_start_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A checked file in the workspace. sha256: of its bytes, hexadecimal.

    probe: None for text (a transcript), which is not given to a decoder.
    """

    path: Path
    sha256: str
    probe: Probe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that an operation has made; its name is one of the operation's outputs."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandInput:
    """One `-i` of a command. options: what stands before it, such as `-ss` or `-loop`.

    file: an input of the step, or the path of a file that an earlier command wrote.
    """

    file: InputFile | Path
    options: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePart:
    """Frames of a film as they are stored. first: the number of the first one, from 0."""

    file: InputFile
    first: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One run of ffmpeg. The engine adds every guard: whitelists, limits, progress, threads.

    filters: a filter graph, which is passed in a file. options: maps, codecs and formats of the
    output. output: None to measure only. seconds: of the output, for limits and progress.
    """

    inputs: Sequence[CommandInput]
    filters: str = ""
    options: Sequence[str] = ()
    output: Path | None
    seconds: float


class Workspace(Protocol):
    """The folder of one run and the program that works in it."""

    @property
    def folder(self) -> Path:
        """Return the empty folder of this run, which is deleted afterwards."""
        ...

    @property
    def is_final(self) -> bool:
        """Return whether users receive the output; an intermediate file is encoded faster."""
        ...

    async def run(self, command: Command) -> str:
        """Run ffmpeg and return what it wrote to its log. Raises OperationError."""
        ...

    async def probe(self, path: Path) -> Probe:
        """Probe a file that an earlier command wrote. Raises OperationError."""
        ...

    async def join(self, parts: Sequence[PicturePart], frame_rate: Fraction) -> InputFile | None:
        """Return a file of these parts one after the other, without sound, not encoded again.

        None if a copy would not show exactly these frames at this rate.
        """
        ...

    def warn(self, warning: str) -> None:
        """Add a sentence to the warnings of the job, which users read."""
        ...


class OperationError(Exception):
    """An operation cannot make its output. Another try fails in the same way.

    The message is shown to users: it names the input by its pointer and what is wrong with it, and
    contains no path.
    """

    def __init__(self, message: str, *, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Parameters that do not fit the files or each other. pointer: of the field, without slash."""

    pointer: str
    message: str
    allowed: Sequence[object] = field(default=())


class Operation(Protocol[P]):
    """One kind of media step.

    schema_number: part of the content key; it grows when the same parameters give another file.
    """

    kind: ClassVar[OperationKind]
    schema_number: ClassVar[int]
    parameters: type[P]

    def accepts(self, parameters: P, pointer: str) -> frozenset[MediaKind]:
        """Return the kinds of files that the reference at this pointer may name."""
        ...

    def outputs(self, parameters: P, inputs: Mapping[str, Expected]) -> Sequence[Output]:
        """Return what is made, the first one by default. inputs: by pointer."""
        ...

    def expect(self, parameters: P, inputs: Mapping[str, Expected]) -> Expected:
        """Return what the first output will be. inputs: by pointer."""
        ...

    def faults(self, parameters: P, inputs: Mapping[str, Expected]) -> Sequence[Fault]:
        """Return every fault that only shows with the inputs."""
        ...

    async def render(
        self, parameters: P, inputs: Mapping[str, InputFile], workspace: Workspace
    ) -> Sequence[OutputFile]:
        """Make the outputs. inputs: by pointer, without the optional ones that are left out.

        The same inputs, parameters, engine, threads and fonts give identical bytes. Raises
        OperationError.
        """
        ...
