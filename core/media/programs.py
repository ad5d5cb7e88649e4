"""Run a program that decodes what users send: in a process without environment or keys."""

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

VERDICT_BYTES: Final = 64 * 1024
_FROM_OUTSIDE: Final = frozenset({-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramEnd:
    """The end of a program. verdict: None if its limits, a crash or the machine ended it.

    was_killed: it was ended from outside, which proves nothing about the file.
    """

    verdict: dict[str, object] | None = None
    was_killed: bool = False


async def run_program(
    program: Path, *arguments: str, source: IO[bytes], target: IO[bytes]
) -> ProgramEnd:
    """Run a program to its end. A cancelled run is killed.

    source, target: files that the operating system has open.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        str(program),
        *arguments,
        stdin=source,
        stdout=target,
        stderr=asyncio.subprocess.PIPE,
        env={},
        limit=VERDICT_BYTES,
    )
    try:
        _, verdict = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        return ProgramEnd(was_killed=process.returncode in _FROM_OUTSIDE)
    return ProgramEnd(verdict=json.loads(verdict))
