"""The folder of one run of an operation, and the runs of ffmpeg in it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from core.media.engine.child import Isolation, Limits, raise_for_end, run_child
from core.media.engine.commands import command_line
from core.media.engine.errors import EngineError
from core.media.engine.probes import probe_file
from core.media.engine.program import Program
from core.media.engine.scratch import folder_bytes, is_full
from core.media.joins import join_parts
from core.media.operations.port import (
    Command,
    CommandInput,
    InputFile,
    OperationError,
    PicturePart,
    Probe,
)
from core.platform.settings.media import MediaSettings

OUTPUT_BYTES_PER_SECOND: Final = 2 * 1024**2
"""More than H.264 at 1080p has at the qualities in use; noise may have three times as much."""
OUTPUT_BYTES: Final = 16 * 1024**2
"""Of any output: a picture, a preview."""
SPACE_FACTOR: Final = 3
SCALING: Final = "sws_flags=bicubic+accurate_rnd+bitexact;"
"""Before each filter graph: scaling gives the same pixels on every processor."""
CPU_SECONDS: Final = 20
CPU_PER_SECOND: Final = 16
"""For each second of output at 1080p: twice what the slowest encoder in use takes with filters."""
_FULL_HD_PIXELS: Final = 1920 * 1080
_WRITING_SHARE: Final = 0.9
_MEASURING_SHARE: Final = 0.3
"""Of the progress that is left, for a run as long as the output: how many follow is not known."""

_USED: Final = re.compile(r"bench: utime=([0-9.]+)s stime=([0-9.]+)s")
"""What ffmpeg reports at its end, for `-benchmark`."""


def needed_bytes(inputs_bytes: int, seconds: float) -> int:
    """Return the disk space to reserve: inputs, intermediate files and outputs."""
    expected = OUTPUT_BYTES + int(seconds * OUTPUT_BYTES_PER_SECOND)
    return SPACE_FACTOR * (inputs_bytes + expected)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EngineError(f"The media step cannot write its files: {error.strerror}.") from error


@dataclass(slots=True)
class Progress:
    """The share that is done, which only grows. seconds: of the expected output."""

    seconds: float
    report: Callable[[float], None]
    done: float = 0.0

    def of_run(self, command: Command) -> Callable[[float], None]:
        """Return a callback for the seconds that this run has written."""
        length = max(command.seconds, 0.001)
        share = _MEASURING_SHARE if command.output is None else _WRITING_SHARE
        share *= min(1.0, length / max(self.seconds, length))
        start, span = self.done, (1.0 - self.done) * share

        def on_seconds(seconds: float) -> None:
            self.done = max(self.done, start + span * min(1.0, seconds / length))
            self.report(self.done)

        return on_seconds


@dataclass(slots=True, kw_only=True)
class EngineWorkspace:
    """A workspace of the engine.

    space: the reserved bytes. warnings: sentences for users. processor_seconds: what the runs of
    ffmpeg that ended by themselves have used.
    """

    folder: Path
    is_final: bool
    settings: MediaSettings
    program: Program
    isolation: Isolation
    environment: Mapping[str, str]
    space: int
    progress: Progress
    warnings: list[str] = field(default_factory=list[str])
    processor_seconds: float = 0.0
    _runs: int = 0

    async def run(self, command: Command) -> str:
        """Run ffmpeg and return the end of its log.

        Raises OperationError, or EngineError where another try may succeed.
        """
        self._check(command)
        probes = [await self._probe_of(source) for source in command.inputs]
        self._runs += 1
        graph = self.folder / f"graph-{self._runs}.txt"
        if command.filters:
            _write(graph, SCALING + command.filters)
        limits = self._limits(command, probes)
        ended = await run_child(
            command_line(
                command,
                program=self.program,
                folder=self.folder,
                graph=graph,
                probes=probes,
                threads=self.settings.media_threads,
                max_pixels=max(
                    self.settings.media_max_pixels, self.settings.media_max_image_pixels
                ),
            ),
            folder=self.folder,
            environment=self.environment,
            limits=limits,
            isolation=self.isolation,
            on_seconds=self.progress.of_run(command),
        )
        used = _USED.findall(ended.log)
        self.processor_seconds += sum(map(float, used[-1])) if used else 0.0
        raise_for_end(ended, limits=limits, folder=self.folder, disk_is_full=is_full(self.folder))
        return ended.log

    async def probe(self, path: Path) -> Probe:
        """Probe a file that an earlier command wrote. Raises OperationError."""
        return await probe_file(path, self.settings, kind=None, is_own=True)

    async def join(self, parts: Sequence[PicturePart], frame_rate: Fraction) -> InputFile | None:
        """Return a file of these parts without sound, or None; see `Workspace`."""
        most_bytes = max(OUTPUT_BYTES, self.space - folder_bytes(self.folder))
        return await join_parts(parts, frame_rate, self.folder / "joined.mov", most_bytes)

    def warn(self, warning: str) -> None:
        """Add a sentence to the warnings, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _check(self, command: Command) -> None:
        if command.seconds > self.settings.media_max_output_seconds:
            raise OperationError(
                f"The output would have {command.seconds:.1f} s; the limit is "
                f"{self.settings.media_max_output_seconds} s."
            )
        if command.output is not None and not command.output.is_relative_to(self.folder):
            raise ValueError("an output belongs into the folder of its run")

    async def _probe_of(self, source: CommandInput) -> Probe:
        if not isinstance(source.file, InputFile):
            return await self.probe(source.file)
        if source.file.probe is None:
            raise ValueError("a file of text is not given to a decoder")
        return source.file.probe

    def _limits(self, command: Command, probes: list[Probe]) -> Limits:
        pixels = max((probe.width * probe.height for probe in probes), default=0)
        per_second = CPU_PER_SECOND * max(1.0, pixels / _FULL_HD_PIXELS)
        left = self.space - folder_bytes(self.folder)
        return Limits(
            memory_bytes=self.settings.media_memory_bytes,
            cpu_seconds=CPU_SECONDS + round(per_second * command.seconds),
            file_bytes=max(OUTPUT_BYTES, left),
        )
