"""Run a program under limits, follow its progress, and explain its end."""

import asyncio
import errno
import json
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from core.media.engine import launcher
from core.media.engine.errors import EngineError, ScratchFullError
from core.media.operations.port import OperationError

LOG_BYTES: Final = 256 * 1024
"""The end of a log that is kept."""
LINE_CHARS: Final = 160
MEBIBYTE: Final = 1024**2
STACK_BYTES: Final = 1024**2
"""Of each thread. Every input has several threads; usually each takes 8 MiB of the addresses."""
_LAST_BYTE: Final = 256
"""ffmpeg exits with the last byte of its error, which is a negative number."""
_NO_SPACE: Final = _LAST_BYTE - errno.ENOSPC
_NO_THREAD: Final = _LAST_BYTE - errno.EAGAIN
_FILE_TOO_LARGE: Final = _LAST_BYTE - errno.EFBIG
_NO_MEMORY: Final = _LAST_BYTE - errno.ENOMEM
_SIGNALLED: Final = 255
"""ffmpeg catches the signals that ask it to end, and SIGXCPU. Its log names the signal."""
_WALL_PER_CPU: Final = 3
_WALL_START_SECONDS: Final = 60
_PROCESSES_OF_NAMESPACE: Final = 1024
"""Threads included: some inputs have a decoder each."""
_PROCESSES_OF_USER: Final = 8192
"""Without a namespace, all other processes of the worker's user count as well."""
_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGBUS, signal.SIGTRAP}
)
HANGING_LOOK_SECONDS: Final = 10.0
HANGING_LOOKS: Final = 13
"""One that used less than HANGING_USES_SECONDS in two minutes hangs; its reports use some."""
HANGING_USES_SECONDS: Final = 0.1
_PREFIX: Final = re.compile(r"^(\[[^\]]*\] ?)+")
_FAREWELL: Final = "Conversion failed!"
_CAUGHT: Final = re.compile(r"received signal (\d+)")
_MEMORY: Final = re.compile(r"Cannot allocate memory|malloc of size \d+ failed")
_PATH: Final = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+")
_SEVERE: Final = re.compile(r"\[(error|fatal|panic)\]")


class Isolation(StrEnum):
    """What keeps a child from the network, the strongest first.

    USER, NETWORK: an empty network, as an ordinary user or as root. CALLS: the kernel refuses
    sockets. NONE: only ffmpeg's own whitelist of protocols; the deployment must limit the worker's
    network.
    """

    USER = "user"
    NETWORK = "network"
    CALLS = "calls"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one child may use. file_bytes: the largest file that it may write."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int

    @property
    def wall_seconds(self) -> float:
        """Return the time limit: many children may share the processors."""
        return _WALL_START_SECONDS + _WALL_PER_CPU * self.cpu_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The exit code of a child and the end of its log."""

    exit_code: int
    log: str


async def run_child(
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    limits: Limits,
    isolation: Isolation,
    on_seconds: Callable[[float], None],
) -> Ended:
    """Run a program in a process group of its own, which does not outlive this call.

    on_seconds: called with the seconds of output that ffmpeg reports on standard output. Raises
    EngineError if the run takes too long, or hangs: it uses no processor time.
    """
    process = await asyncio.create_subprocess_exec(
        *launch(arguments, limits=limits, isolation=isolation),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - for the types
    assert process.stderr is not None  # noqa: S101 - for the types
    watching = asyncio.create_task(_kill_if_hanging(process.pid))
    try:
        async with asyncio.timeout(limits.wall_seconds), asyncio.TaskGroup() as readers:
            readers.create_task(_follow(process.stdout, on_seconds))
            log = readers.create_task(_end_of(process.stderr))
            exit_code = await process.wait()
    except TimeoutError:
        raise EngineError(
            f"The media step did not end within {limits.wall_seconds:.0f} s."
        ) from None
    finally:
        watching.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if watching.done() and not watching.cancelled():
        raise EngineError("The media program hung, and was ended.")
    return Ended(exit_code=exit_code, log=log.result())


def launch(arguments: Sequence[str], *, limits: Limits, isolation: Isolation) -> tuple[str, ...]:
    """Return the command that starts a program through the launcher."""
    order = {
        "isolation": isolation,
        "parent": os.getpid(),
        "limits": {
            "RLIMIT_AS": limits.memory_bytes,
            "RLIMIT_CPU": limits.cpu_seconds,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_CORE": 0,
            "RLIMIT_STACK": STACK_BYTES,
            "RLIMIT_NPROC": (
                _PROCESSES_OF_NAMESPACE if isolation is Isolation.USER else _PROCESSES_OF_USER
            ),
        },
    }
    return (sys.executable, "-I", "-S", launcher.__file__, json.dumps(order), *arguments)


async def _kill_if_hanging(process: int) -> None:
    """Kill a process group that uses no processor time for a while; return after that.

    A worker that was stopped and continues finds one look without work, not all of them.
    """
    used: deque[float] = deque(maxlen=HANGING_LOOKS)
    while len(used) < HANGING_LOOKS or used[-1] - used[0] >= HANGING_USES_SECONDS:
        await asyncio.sleep(HANGING_LOOK_SECONDS)
        seconds = _processor_seconds(process)
        if seconds is None:
            await asyncio.Event().wait()  # it has ended, or this system does not report it
        else:
            used.append(seconds)
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def _processor_seconds(process: int) -> float | None:
    """Return the processor time of a process and its threads; None: not known."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


async def _follow(progress: asyncio.StreamReader, on_seconds: Callable[[float], None]) -> None:
    """Report the time of the last written frame with each block of ffmpeg's progress."""
    seconds = 0.0
    async for line in progress:
        name, _, value = line.strip().partition(b"=")
        if name == b"out_time_us" and value.lstrip(b"-").isdigit():
            seconds = max(seconds, int(value) / 1e6)
        elif name == b"progress":
            on_seconds(seconds)


async def _end_of(log: asyncio.StreamReader) -> str:
    kept = bytearray()
    while chunk := await log.read(64 * 1024):
        kept += chunk
        del kept[:-LOG_BYTES]
    return kept.decode(errors="replace")


def raise_for_end(ended: Ended, *, limits: Limits, folder: Path, disk_is_full: bool) -> None:
    """Raise OperationError for a verdict on the media, EngineError where another try may succeed.

    Reaching the limits of processor time, file size or memory is a verdict: the same input reaches
    them again. A child that the machine killed, also for want of memory, proves nothing.
    """
    code = _signal_or_code(ended)
    if code == 0:
        return
    reason = reasons(ended.log, folder)
    if code in (launcher.FAILED, _NO_THREAD):
        raise EngineError(f"The media program could not run: {reason}")
    if code == _NO_SPACE or disk_is_full:
        raise ScratchFullError("The disk of the media steps is full.")
    if code == -signal.SIGXCPU:
        raise OperationError(
            f"The step needs more than {limits.cpu_seconds} s of processor time. "
            "Use shorter or smaller files."
        )
    if code in (-signal.SIGXFSZ, _FILE_TOO_LARGE):
        raise OperationError(
            f"The output has more than {limits.file_bytes // MEBIBYTE} MiB. "
            "Use shorter or smaller files."
        )
    if code == _NO_MEMORY or _MEMORY.search(ended.log):
        raise OperationError(
            f"The step needs more than {limits.memory_bytes // MEBIBYTE} MiB of memory. "
            "Use fewer or smaller files."
        )
    if code < 0 and -code in _CRASHES:
        raise OperationError("An input file makes the decoder fail. It may be damaged.")
    if code < 0:
        raise EngineError(f"The media program was ended by signal {-code}.")
    raise OperationError(f"The media program reports: {reason}")


def _signal_or_code(ended: Ended) -> int:
    """Return the exit code, or the negative signal that ended the child."""
    if ended.exit_code == _SIGNALLED and (caught := _CAUGHT.findall(ended.log)):
        return -int(caught[-1])
    return ended.exit_code


def reasons(log: str, folder: Path) -> str:
    """Return the first and the last error in a log, without paths and addresses in memory."""
    lines = [line for line in log.splitlines() if line.strip() and _FAREWELL not in line]
    errors = [line for line in lines if _SEVERE.search(line)] or lines[-1:] or ["no reason"]
    return "; ".join(_cleaned(line, folder) for line in dict.fromkeys((errors[0], errors[-1])))


def _cleaned(line: str, folder: Path) -> str:
    text = _PREFIX.sub("", line).replace(f"{folder}/", "").replace("file:", "")
    return _PATH.sub("", text).strip()[:LINE_CHARS]
