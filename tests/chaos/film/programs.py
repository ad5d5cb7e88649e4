"""The processes of ffmpeg that work for a worker, and the folders in which they work."""

import asyncio
import os
import signal
import time
from pathlib import Path

import psutil

POLL_SECONDS = 0.005
START_SECONDS = 20.0
LOOKS = 6
"""A program without output by then is stopped all the same."""


def programs_of(worker: int) -> list[psutil.Process]:
    """Return the processes of ffmpeg that read a file for a worker."""
    try:
        children = psutil.Process(worker).children()
    except psutil.Error:
        return []
    return [child for child in children if _is_program(child)]


def _is_program(process: psutil.Process) -> bool:
    try:
        program, *arguments = process.cmdline() or [""]
        return "ffmpeg" in program and "-i" in arguments and process.is_running()
    except psutil.Error:
        return False


def programs_in(folder: Path) -> list[int]:
    """Return the processes whose working folder is below this folder."""
    found: list[int] = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and _is_program(process):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


async def stop_at_work(worker: int, *, writes_early: bool) -> psutil.Process | None:
    """Stop a worker's ffmpeg in the middle of its work, with a part of its output.

    writes_early: False for a program that makes a picture in a moment, and writes it at its end: it
    is stopped at the first look. Return None if the worker has none within a time.
    """
    until = time.monotonic() + START_SECONDS
    looks = 0
    while time.monotonic() < until:
        for program in programs_of(worker):
            try:
                os.kill(program.pid, signal.SIGSTOP)
                if not program.is_running() or program.status() == psutil.STATUS_ZOMBIE:
                    continue
                looks += 1
                if not writes_early or _has_output(program) or looks >= LOOKS:
                    return program
                os.kill(program.pid, signal.SIGCONT)
            except (ProcessLookupError, psutil.Error):
                continue
        await asyncio.sleep(POLL_SECONDS)
    return None


def _has_output(program: psutil.Process) -> bool:
    try:
        files = [Path(file) for file in Path(program.cwd()).iterdir()]
        return any(
            file.name != "lock" and not file.name.startswith(("input-", "graph-"))
            and file.is_file() and file.stat().st_size > 0
            for file in files
        )  # fmt: skip
    except (OSError, psutil.Error):
        return False
