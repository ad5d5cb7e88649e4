"""The media engine: checks files, and gives every run of an operation a workspace."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final, Self

from core.domain.media.content import MediaKind
from core.media.engine.child import Isolation, Limits, launch
from core.media.engine.probes import probe_file
from core.media.engine.program import Program, find_program
from core.media.engine.scratch import Scratch
from core.media.engine.workspace import EngineWorkspace, Progress, needed_bytes
from core.media.fonts.packaged import Fonts, packaged_fonts
from core.media.operations.port import Probe
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import MEDIA_ISOLATION
from core.platform.settings.media import MediaSettings

log = get_logger(__name__)

_KEY_CHARS: Final = 16


def ignore_progress(_share: float) -> None:
    """Report progress to no one."""


class Engine:
    """The program, its isolation and the scratch folder of one process.

    key: changes when the same parameters may give other bytes; part of content keys. slots: how
    many runs the processors carry at once; the caller keeps to it. isolation: what keeps ffmpeg
    from the network.
    """

    def __init__(
        self,
        settings: MediaSettings,
        program: Program,
        isolation: Isolation,
        scratch: Scratch,
        fonts: Fonts,
    ) -> None:
        self._settings = settings
        self._program = program
        self.isolation: Isolation = isolation
        self._scratch = scratch
        self._fonts = fonts
        self.key: str = (
            f"ffmpeg-{program.sha256[:_KEY_CHARS]}.fonts-{fonts.key[:_KEY_CHARS]}"
            f".threads-{settings.media_threads}.av-{version('av')}"
        )
        self.slots: int = settings.media_slots or max(1, _processors() // settings.media_threads)

    @classmethod
    async def start(cls, settings: MediaSettings) -> Self:
        """Find and check the program, and open the scratch folder. Raises SettingError."""
        program = await find_program(settings.ffmpeg_path)
        isolation = await _strongest_isolation(program)
        scratch = await asyncio.to_thread(
            Scratch.open, settings.media_scratch_folder, settings.media_scratch_bytes
        )
        fonts = await asyncio.to_thread(packaged_fonts, scratch.fonts_folder)
        engine = cls(settings, program, isolation, scratch, fonts)
        MEDIA_ISOLATION.labels(layer=isolation).set(1)
        log.info(
            "media.engine_started",
            version=program.version,
            key=engine.key,
            isolation=isolation,
            slots=engine.slots,
        )
        return engine

    async def check(self, path: Path, kind: MediaKind | None) -> Probe:
        """Return what an input contains. Raises OperationError if it cannot be used.

        kind: what the file must be; None: any.
        """
        return await probe_file(path, self._settings, kind=kind, is_own=False)

    @asynccontextmanager
    async def workspace(
        self,
        *,
        inputs_bytes: int,
        seconds: float,
        is_final: bool,
        on_progress: Callable[[float], None] = ignore_progress,
    ) -> AsyncGenerator[EngineWorkspace]:
        """Reserve disk space and yield a workspace; delete its folder afterwards.

        inputs_bytes: of all inputs, which the caller writes into the folder. seconds: of the
        expected output. on_progress: called with the share that is done, 0 to 1, at least twice a
        second while ffmpeg runs. Raises OperationError, ScratchFullError.
        """
        space = needed_bytes(inputs_bytes, seconds)
        async with self._scratch.reserve(space) as folder:
            yield EngineWorkspace(
                folder=folder,
                is_final=is_final,
                settings=self._settings,
                program=self._program,
                isolation=self.isolation,
                environment=self._environment(folder),
                space=space,
                progress=Progress(seconds=seconds, report=on_progress),
            )

    def close(self) -> None:
        """Delete the scratch folder, after all runs have ended. Safe to repeat."""
        self._scratch.close()

    def _environment(self, folder: Path) -> Mapping[str, str]:
        """Return all that a child learns of this machine: no key and no setting."""
        return {
            "FONTCONFIG_FILE": str(self._fonts.config),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LC_ALL": "C.UTF-8",
            "MALLOC_ARENA_MAX": "2",  # each further one takes 64 MiB of the addresses
        }


def _processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


async def _strongest_isolation(program: Program) -> Isolation:
    """Return the first layer with which the program starts on this machine."""
    limits = Limits(memory_bytes=2 * 1024**3, cpu_seconds=20, file_bytes=1024**2)
    for isolation in Isolation:
        process = await asyncio.create_subprocess_exec(
            *launch((str(program.path), "-version"), limits=limits, isolation=isolation),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
        )
        if await process.wait() == 0:
            return isolation
        log.warning("media.isolation_refused", layer=isolation)
    return Isolation.NONE
