"""The scratch folder: space is reserved before a run, and left-over folders are deleted."""

import asyncio
import sys
from pathlib import Path

import pytest

from core.media.engine.engine import Engine
from core.media.engine.errors import EngineError, ScratchFullError
from core.media.engine.scratch import Scratch
from core.media.engine.workspace import needed_bytes
from core.media.operations.port import OperationError
from core.platform.settings.base import SettingError
from core.platform.settings.media import MediaSettings
from tests.support.small_disk import disk_folder, run_on_small_disk

MIB = 1024**2


def worker_folders(root: Path) -> list[Path]:
    return list(root.glob("worker-*"))


async def test_space_is_reserved_until_the_run_ends(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path, 100 * MIB)
    async with scratch.reserve(60 * MIB):
        with pytest.raises(ScratchFullError, match="needed 60 MiB"):
            async with scratch.reserve(60 * MIB):
                pass
        async with scratch.reserve(40 * MIB):
            pass
    async with scratch.reserve(100 * MIB):
        pass
    scratch.close()


def test_full_scratch_is_worth_another_try() -> None:
    assert issubclass(ScratchFullError, EngineError)


async def test_step_that_never_fits_is_refused(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path, 100 * MIB)
    with pytest.raises(OperationError, match="the limit is 100 MiB"):
        async with scratch.reserve(101 * MIB):
            pass
    scratch.close()


async def test_free_disk_limits_the_reservation(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path, 1 << 60)
    with pytest.raises(ScratchFullError):
        async with scratch.reserve(1 << 59):
            pass
    scratch.close()


async def test_folder_is_deleted_after_a_failure(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path, 100 * MIB)
    folders: list[Path] = []

    async def fail() -> None:
        async with scratch.reserve(MIB) as folder:
            folders.append(folder)
            (folder / "file").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert not folders[0].exists()
    async with scratch.reserve(100 * MIB):
        pass
    scratch.close()


async def test_folder_of_a_killed_worker_is_deleted(tmp_path: Path) -> None:
    worker = (
        "import pathlib, sys, time\n"
        "from core.media.engine.scratch import Scratch\n"
        "scratch = Scratch.open(pathlib.Path(sys.argv[1]), 2**30)\n"
        "print('open', flush=True)\n"
        "time.sleep(300)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", worker, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    (left,) = worker_folders(tmp_path)
    Scratch.open(tmp_path, MIB).close()
    assert left.exists(), "its worker is alive"
    process.kill()
    await process.wait()
    Scratch.open(tmp_path, MIB).close()
    assert not left.exists()


async def test_workspace_reserves_three_times_inputs_and_output(engine: Engine) -> None:
    async with engine.workspace(inputs_bytes=MIB, seconds=10, is_final=False) as workspace:
        assert workspace.space == needed_bytes(MIB, 10) == 3 * (MIB + 16 * MIB + 10 * 2 * MIB)


async def test_disk_that_becomes_full_is_worth_another_try() -> None:
    with disk_folder() as folder:
        output = await asyncio.to_thread(
            run_on_small_disk, "tests.media.engine.disk_full", folder, size="128m", seconds=60
        )
    full, refused, free = output.splitlines()[-3:]
    assert full == "The disk of the media steps is full."
    assert refused.startswith("Running media steps leave less than the needed")
    assert free == "free again"


async def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"MEDIA_SCRATCH_FOLDER: .* cannot be written"):
        await Engine.start(MediaSettings(media_scratch_folder=tmp_path / "file" / "scratch"))
