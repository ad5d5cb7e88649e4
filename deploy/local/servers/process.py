"""Servers as child processes: start, wait until ready, stop."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

READY_POLL_SECONDS = 0.1
ENDED_POLL_SECONDS = 0.2
# A process that is not ready by then is broken, not slow: measured starts take 1 to 5 s on two busy
# cores.
READY_TIMEOUT_SECONDS = 60.0
LOG_KEPT_BYTES = 1_000_000


class LocalError(Exception):
    """The stack cannot start or the demo cannot continue.

    The message is one line for the user.
    """


class PartFailedError(LocalError):
    """A process cannot start or is not ready in time."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One server process: its command, its readiness check and its stop signal.

    ready: raises while the server is not ready.
    prepare: called before each start; safe to repeat.
    clean: called after each end; safe to repeat.
    user: system user to run as; only root may set it.
    log_kept_bytes: a longer log is cut to its newer half before a start.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], Awaitable[object]]
    address: str
    environment: Mapping[str, str] | None = None
    prepare: Callable[[], None] = _nothing
    clean: Callable[[], None] = _nothing
    user: str | None = None
    folder: Path = field(default_factory=Path.cwd)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    log_kept_bytes: int = LOG_KEPT_BYTES


class Running:
    """A started process.

    The caller that started it must call `stop`.
    """

    def __init__(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        self.part = part
        self.process = process
        self.started_monotonic = time.monotonic()

    @property
    def pid(self) -> int:
        return self.process.pid

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    async def wait_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> float:
        """Wait until the process is ready and return the seconds since its start.

        Raise PartFailedError if the process ends or the time is over.
        """
        deadline = self.started_monotonic + timeout_seconds
        while True:
            reason = await self._not_ready_because(timeout_seconds)
            if self.has_ended():
                raise PartFailedError(
                    f"{self.part.name} ended with code {self.process.returncode}: {last_line(self.part.log)}"
                )
            if reason is None:
                return time.monotonic() - self.started_monotonic
            if time.monotonic() > deadline:
                raise PartFailedError(
                    f"{self.part.name} is not ready after {timeout_seconds:.0f} s: {reason}"
                )
            await asyncio.sleep(READY_POLL_SECONDS)

    async def _not_ready_because(self, timeout_seconds: float) -> str | None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.part.ready()
        except Exception as error:  # noqa: BLE001 - any error of a client means "not ready yet"; the last one is shown
            return f"{type(error).__name__}: {error}".partition("\n")[0]
        return None

    async def stop(self) -> None:
        """Ask the process to stop, and kill it if it does not within its time.

        Repeating is safe.
        """
        if not self.has_ended():
            self.process.send_signal(self.part.stop_signal)
            if not await self._ended_within(self.part.stop_seconds):
                self.process.kill()
        await self._ended_within(5.0)
        self.part.clean()

    async def wait_ended(self) -> int:
        """Wait until the process has ended by itself.

        Return its exit code, which is negative for a signal.
        """
        while (code := self.process.poll()) is None:  # noqa: ASYNC110 - the end of a process sets no event
            await asyncio.sleep(ENDED_POLL_SECONDS)
        return code

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.process.kill()
        await self._ended_within(5.0)

    async def _ended_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True


async def start(part: Part) -> Running:
    """Start a process in its own process group, so that Ctrl-C does not reach it directly."""
    await asyncio.to_thread(part.prepare)
    part.log.parent.mkdir(parents=True, exist_ok=True)
    trim_log(part.log, part.log_kept_bytes)
    with part.log.open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once, and is the same under every event loop
            part.command,
            cwd=part.folder,
            env=None if part.environment is None else dict(part.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=part.user,
            group=part.user,
            extra_groups=None if part.user is None else [],
        )
    return Running(part, process)


async def start_ready(part: Part) -> Running:
    """Start a process and wait until it is ready.

    If it fails, it is stopped and cleaned up.
    """
    running = await start(part)
    try:
        await running.wait_ready()
    except BaseException:
        await running.stop()
        raise
    return running


def trim_log(log: Path, kept_bytes: int = LOG_KEPT_BYTES) -> None:
    """Truncate a long log to its end."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > kept_bytes:
            kept = log.read_bytes()[-kept_bytes // 2 :]
            log.write_bytes(kept[kept.find(b"\n") + 1 :])


def last_line(log: Path) -> str:
    """Return the last line of a log, for an error message."""
    with contextlib.suppress(OSError):
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            lines = [
                line.strip()
                for line in file.read().decode(errors="replace").splitlines()
                if line.strip()
            ]
        if lines:
            return f"{lines[-1][:300]} (log: {log})"
    return f"see {log}"
