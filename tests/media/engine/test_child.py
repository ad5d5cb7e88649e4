"""Children of the engine: who ends with them, and what their end proves."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.media.engine import child
from core.media.engine.child import (
    Ended,
    Isolation,
    Limits,
    launch,
    raise_for_end,
    reasons,
    run_child,
)
from core.media.engine.engine import Engine
from core.media.engine.errors import EngineError, ScratchFullError
from core.media.operations.port import OperationError

LIMITS = Limits(memory_bytes=2 * 1024**3, cpu_seconds=20, file_bytes=1024**2)
FAMILY = "sleep 300 & echo $! > grandchild.tmp; mv grandchild.tmp grandchild; wait"


async def shell(script: str, folder: Path, limits: Limits = LIMITS) -> Ended:
    return await run_child(
        ("/bin/sh", "-c", script),
        folder=folder,
        environment={"ONE": "1"},
        limits=limits,
        isolation=Isolation.NONE,
        on_seconds=lambda _: None,
    )


async def process_id(file: Path) -> int:
    """Return the process id in a file as soon as it is there."""
    while (process := read_process_id(file)) is None:  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    return process


def read_process_id(file: Path) -> int | None:
    return int(file.read_text()) if file.exists() else None


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def wait_for_end(process: int) -> None:
    async with asyncio.timeout(15):
        while is_running(process):  # noqa: ASYNC110 - of no child of this process
            await asyncio.sleep(0.01)


async def test_cancel_kills_grandchildren(tmp_path: Path) -> None:
    running = asyncio.create_task(shell(FAMILY, tmp_path))
    grandchild = await process_id(tmp_path / "grandchild")
    assert is_running(grandchild)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await wait_for_end(grandchild)


async def test_time_out_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "wall_seconds", property(lambda _: 0.2))
    with pytest.raises(EngineError, match="did not end within 0 s"):
        await shell("sleep 300", tmp_path)


async def test_program_that_hangs_is_ended_long_before_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "HANGING_LOOK_SECONDS", 0.01)
    with pytest.raises(EngineError, match="hung"):
        await shell("sleep 300", tmp_path)


async def test_program_that_works_without_output_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "HANGING_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(child, "HANGING_USES_SECONDS", 0.0)
    ended = await shell("sleep 0.5; exit 3", tmp_path)
    assert ended.exit_code == 3


async def test_child_ends_with_its_killed_worker(tmp_path: Path) -> None:
    worker = (
        "import os, subprocess, sys\n"
        "from core.media.engine.child import Isolation, Limits, launch\n"
        "limits = Limits(memory_bytes=2**31, cpu_seconds=20, file_bytes=2**20)\n"
        "script = 'echo $$ > child.tmp; mv child.tmp child; exec sleep 300'\n"
        "command = launch(('/bin/sh', '-c', script), limits=limits, isolation=Isolation.NONE)\n"
        "subprocess.run(command, cwd=sys.argv[1], check=False, start_new_session=True)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", worker, str(tmp_path))
    child = await process_id(tmp_path / "child")
    assert is_running(child)
    process.kill()
    await process.wait()
    await wait_for_end(child)


async def test_child_sees_no_variable_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    ended = await shell("env >&2", tmp_path)
    names = {line.partition("=")[0] for line in ended.log.splitlines()}
    assert names <= {"ONE", "PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}


async def test_environment_of_ffmpeg_has_no_keys(engine: Engine) -> None:
    async with engine.workspace(inputs_bytes=0, seconds=1, is_final=False) as workspace:
        assert set(workspace.environment) == {
            "FONTCONFIG_FILE",
            "HOME",
            "TMPDIR",
            "LC_ALL",
            "MALLOC_ARENA_MAX",
        }


async def test_child_has_a_lower_priority_and_no_core_files(tmp_path: Path) -> None:
    ended = await shell("nice >&2; ulimit -c >&2; ulimit -v >&2", tmp_path)
    priority, core, memory = map(int, ended.log.split())
    assert priority == max(10, os.getpriority(os.PRIO_PROCESS, 0))
    assert (core, memory) == (0, LIMITS.memory_bytes // 1024)


@pytest.mark.parametrize(
    ("code", "log", "error"),
    [
        (-signal.SIGKILL, "", EngineError),
        (-signal.SIGTERM, "", EngineError),
        (255, "Exiting normally, received signal 15.", EngineError),
        (97, "launcher: unshare", EngineError),
        (256 - errno.ENOSPC, "No space left on device", ScratchFullError),
        (256 - errno.EAGAIN, "", EngineError),
        (-signal.SIGSEGV, "", OperationError),
        (-signal.SIGXCPU, "", OperationError),
        (-signal.SIGXFSZ, "", OperationError),
        (256 - errno.ENOMEM, "", OperationError),
        (183, "[error] Invalid data found when processing input", OperationError),
    ],
)
def test_end_is_a_verdict_or_worth_another_try(
    code: int, log: str, error: type[Exception], tmp_path: Path
) -> None:
    ended = Ended(exit_code=code, log=log)
    with pytest.raises(error) as caught:
        raise_for_end(ended, limits=LIMITS, folder=tmp_path, disk_is_full=False)
    assert type(caught.value) is error


def test_failure_on_a_full_disk_waits_for_space(tmp_path: Path) -> None:
    with pytest.raises(ScratchFullError, match="disk"):
        raise_for_end(Ended(exit_code=1, log=""), limits=LIMITS, folder=tmp_path, disk_is_full=True)


async def test_program_that_cannot_start_is_worth_another_try(tmp_path: Path) -> None:
    ended = await run_child(
        ("/nonexistent/ffmpeg",),
        folder=tmp_path,
        environment={},
        limits=LIMITS,
        isolation=Isolation.NONE,
        on_seconds=lambda _: None,
    )
    with pytest.raises(EngineError, match="could not run"):
        raise_for_end(ended, limits=LIMITS, folder=tmp_path, disk_is_full=False)


def test_reasons_are_the_first_and_last_error_without_paths() -> None:
    log = (
        "[info] Input #0, mov\n"
        "[mov @ 0x55] [error] moov atom not found in file:/scratch/run-1/in.mp4\n"
        "[error] in between\n"
        "[fatal] Error opening /usr/share/fonts/a.ttf\n"
        "Conversion failed!\n"
    )
    assert reasons(log, Path("/scratch/run-1")) == (
        "moov atom not found in in.mp4; Error opening a.ttf"
    )


def test_child_of_an_ended_worker_does_not_start(tmp_path: Path) -> None:
    command = launch(("/bin/true",), limits=replace(LIMITS), isolation=Isolation.NONE)
    orphan = [part.replace(f'"parent": {os.getpid()}', '"parent": 999999999') for part in command]
    done = subprocess.run(orphan, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 97
    assert "has ended" in done.stderr
