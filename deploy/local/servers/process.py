"""Start a server as a child process, know when it serves, and stop exactly that process again."""

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
# A part that cannot say by then that it serves is broken, not slow: measured starts are 1 to 5 s on
# two busy cores.
READY_TIMEOUT_SECONDS = 60.0
LOG_KEPT_BYTES = 1_000_000


class LocalError(Exception):
    """The stack cannot be started, or the demo cannot go on. The text is one line for a person."""


class PartFailedError(LocalError):
    """A part cannot start or does not serve."""


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One server process: what to run, how to see that it serves, how to ask it to stop.

    ready: raises as long as the server does not serve.
    prepare: what has to be done before each start; safe to repeat.
    clean: what has to be done after each end; safe to repeat.
    user: system user to run as; only root may set it.
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


class Running:
    """A started part. It belongs to whoever started it: call `stop`."""

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
        """Seconds from start to serving. Raises PartFailedError if the process ends or the time is
        over.
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
                    f"{self.part.name} does not serve after {timeout_seconds:.0f} s: {reason}"
                )
            await asyncio.sleep(READY_POLL_SECONDS)

    async def _not_ready_because(self, timeout_seconds: float) -> str | None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.part.ready()
        except Exception as error:  # noqa: BLE001 - whatever a client raises means: not yet; the last one is shown
            return f"{type(error).__name__}: {error}".partition("\n")[0]
        return None

    async def stop(self) -> None:
        """Ask the process to stop, and end it if it does not within its time. Repeating is safe."""
        if not self.has_ended():
            self.process.send_signal(self.part.stop_signal)
            if not await self._ended_within(self.part.stop_seconds):
                self.process.kill()
        await self._ended_within(5.0)
        self.part.clean()

    async def wait_ended(self) -> int:
        """Wait until the process has ended by itself; its return code, negative for a signal."""
        while (code := self.process.poll()) is None:  # noqa: ASYNC110 - a process sets no event of ours
            await asyncio.sleep(ENDED_POLL_SECONDS)
        return code

    async def kill(self) -> None:
        """End the process as `kill -9` does."""
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
    """Start a part in a process group of its own, so that Ctrl-C reaches only the one who stops
    them in order.
    """
    await asyncio.to_thread(part.prepare)
    part.log.parent.mkdir(parents=True, exist_ok=True)
    trim_log(part.log)
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
    """Start a part and wait until it serves; if it does not, nothing of it is left."""
    running = await start(part)
    try:
        await running.wait_ready()
    except BaseException:
        await running.stop()
        raise
    return running


def trim_log(log: Path) -> None:
    """Keep the end of a long log."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_KEPT_BYTES:
            kept = log.read_bytes()[-LOG_KEPT_BYTES // 2 :]
            log.write_bytes(kept[kept.find(b"\n") + 1 :])


def last_line(log: Path) -> str:
    """What a log ends with, for a message about its process."""
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
