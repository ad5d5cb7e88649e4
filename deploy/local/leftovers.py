"""A lock that allows one stack per data folder, and cleanup after a killed stack."""

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
    """Identity of a process.

    Pids are reused; a pid together with its start time and command is not.
    """

    name: str
    pid: int
    created: float
    command: list[str]
    stop_seconds: float

    @classmethod
    def of(cls, name: str, pid: int, stop_seconds: float) -> "Started | None":
        """Return the identity of a process, or None if it has ended.

        Waits up to a second for a new process to receive its command line.
        """
        try:
            process = psutil.Process(pid)
            command = process.cmdline()
            until = time.monotonic() + EXEC_SECONDS
            # Linux returns an empty command line for a zombie, and while exec still sets the new
            # program up.
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
        """Return the process if it still runs and has the same identity."""
        try:
            process = psutil.Process(self.pid)
            same = (
                abs(process.create_time() - self.created) < 1 and process.cmdline() == self.command
            )
        except psutil.Error:
            return None
        return process if same else None


@contextmanager
def exclusive(folder: Path) -> Generator[None]:
    """Hold the folder's lock, which the system also releases when this process is killed.

    Raise LocalError if another process holds it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalError(
                f"Takeone already runs in {folder}: stop it (Ctrl-C there), or set TAKEONE_DATA_DIR and other ports"
            ) from None
        yield


def note_started(folder: Path, started: Sequence[Started]) -> None:
    """Record the running processes for the next start."""
    path = folder / "processes.json"
    new = path.with_suffix(".new")
    new.write_text(
        json.dumps([asdict(process) for process in started], indent=2) + "\n", encoding="utf-8"
    )
    new.replace(path)


def stop_leftovers(folder: Path) -> list[Started]:
    """Stop the processes that a killed stack of this folder left running, newest first.

    Return those that were stopped.
    """
    try:
        noted = [
            Started(**entry)
            for entry in json.loads((folder / "processes.json").read_text(encoding="utf-8"))
        ]
    except (FileNotFoundError, ValueError, TypeError):
        return []
    running = [
        (started, process)
        for started in reversed(noted)
        if (process := started.process()) is not None
    ]
    began = time.monotonic()
    for _, process in running:
        with suppress(psutil.NoSuchProcess):
            # On SIGINT PostgreSQL ends its sessions and stops; for the others it is equal to
            # SIGTERM.
            process.send_signal(signal.SIGINT)
    for started, process in running:
        _end(process, max(0.0, began + started.stop_seconds - time.monotonic()))
    note_started(folder, [])
    return [started for started, _ in running]


def _end(process: psutil.Process, seconds: float) -> None:
    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(KILL_SECONDS)
