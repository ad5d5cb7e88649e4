"""One stack per data folder, and what a killed one has left running."""

import fcntl
import json
import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deploy.local.servers.process import LocalError

KILL_SECONDS = 10.0
EXEC_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What identifies a process for sure: pids come round again, a pid with its start time and
    command does not.
    """

    name: str
    pid: int
    created: float
    command: list[str]
    stop_seconds: float

    @classmethod
    def of(cls, name: str, pid: int, stop_seconds: float) -> "Started | None":
        """None if it is gone already. Waits, at most a second, for a process that has just begun to
        be told apart.
        """
        try:
            process = psutil.Process(pid)
            command = process.cmdline()
            until = time.monotonic() + EXEC_SECONDS
            # Linux answers an empty command line while exec still sets the new program up, and for
            # a zombie.
            while (
                not command
                and time.monotonic() < until
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                time.sleep(0.005)
                command = process.cmdline()
            return cls(
                name=name,
                pid=pid,
                created=process.create_time(),
                command=command,
                stop_seconds=stop_seconds,
            )
        except psutil.Error:
            return None

    def process(self) -> psutil.Process | None:
        """The process if it still runs and is the same."""
        try:
            process = psutil.Process(self.pid)
            same = (
                abs(process.create_time() - self.created) < 1 and process.cmdline() == self.command
            )
        except psutil.Error:
            return None
        return process if same else None


@contextmanager
def only_one(folder: Path) -> Generator[None]:
    """Hold the folder's lock; the system releases it however we end. Raises LocalError if another
    holds it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalError(
                f"Takeone already runs on {folder}: stop it (Ctrl-C there), or set TAKEONE_DATA_DIR and other ports"
            ) from None
        yield


def note_started(folder: Path, started: Sequence[Started]) -> None:
    """Keep what runs, for the next start."""
    path = folder / "processes.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps([asdict(one) for one in started], indent=2) + "\n", encoding="utf-8")
    new.replace(path)


def stop_leftovers(folder: Path) -> list[Started]:
    """Stop what an earlier stack of this folder, killed itself, has left running; what was stopped.
    Newest first.
    """
    try:
        noted = [
            Started(**one)
            for one in json.loads((folder / "processes.json").read_text(encoding="utf-8"))
        ]
    except (FileNotFoundError, ValueError, TypeError):
        return []
    found = [(one, process) for one in reversed(noted) if (process := one.process()) is not None]
    began = time.monotonic()
    for _, process in found:
        with suppress(psutil.NoSuchProcess):
            # PostgreSQL reads SIGINT as "end sessions and stop"; the others take it like SIGTERM.
            process.send_signal(signal.SIGINT)
    for one, process in found:
        _end(process, max(0.0, began + one.stop_seconds - time.monotonic()))
    note_started(folder, [])
    return [one for one, _ in found]


def _end(process: psutil.Process, seconds: float) -> None:
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(KILL_SECONDS)
