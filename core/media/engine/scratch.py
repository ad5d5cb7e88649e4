"""The folder of running media steps: reserved space, and removal of what ended workers left."""

import asyncio
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final, Self

from core.media.engine.errors import ScratchFullError
from core.media.operations.port import OperationError
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import MEDIA_SCRATCH_RESERVED
from core.platform.settings.base import SettingError

log = get_logger(__name__)

MEBIBYTE: Final = 1024**2
_LOCK: Final = "lock"
_WORKER: Final = "worker-"


class Scratch:
    """The scratch folder of one process, with the space that its runs have reserved."""

    def __init__(self, folder: Path, lock: IO[bytes], max_bytes: int) -> None:
        self._folder = folder
        self._lock = lock
        self._max_bytes = max_bytes
        self._reserved = 0

    @classmethod
    def open(cls, root: Path | None, max_bytes: int) -> Self:
        """Make a folder of this process below `root` and delete those of ended processes.

        Raises SettingError if that is not possible.
        """
        place = root or Path(tempfile.gettempdir(), "takeone-media")
        try:
            return cls._open(place, max_bytes, is_shared=root is None)
        except OSError as error:
            raise SettingError(
                f"MEDIA_SCRATCH_FOLDER: {place} cannot be written ({error.strerror})"
            ) from error

    @classmethod
    def _open(cls, root: Path, max_bytes: int, *, is_shared: bool) -> Self:
        """Open the folder. is_shared: other users of the machine may have made it before."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_shared and root.stat(follow_symlinks=False).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user")
        with (root / _LOCK).open("wb") as opening:  # no other process sees a folder without a lock
            fcntl.flock(opening, fcntl.LOCK_EX)
            for folder in sorted(root.glob(f"{_WORKER}*")):
                _remove_if_left(folder)
            folder = Path(tempfile.mkdtemp(prefix=_WORKER, dir=root.resolve()))
            lock = (folder / _LOCK).open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX)
        return cls(folder, lock, max_bytes)

    @asynccontextmanager
    async def reserve(self, need: int) -> AsyncGenerator[Path]:
        """Yield a fresh folder for `need` bytes; delete it afterwards.

        Raise ScratchFullError while others occupy the space, OperationError if there never is
        enough.
        """
        if need > self._max_bytes:
            raise OperationError(
                f"The step needs {need // MEBIBYTE} MiB of disk space for its files; the limit is "
                f"{self._max_bytes // MEBIBYTE} MiB. Use shorter or smaller files."
            )
        free = shutil.disk_usage(self._folder).free + self.used_bytes()
        if self._reserved + need > min(self._max_bytes, free):
            raise ScratchFullError(
                f"Running media steps leave less than the needed {need // MEBIBYTE} MiB of disk "
                "space free."
            )
        self._reserve(need)
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=self._folder))
            yield folder
        finally:
            self._reserve(-need)
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    @property
    def fonts_folder(self) -> Path:
        """Return the folder of the fonts' configuration and cache, which all runs share."""
        folder = self._folder / "fonts"
        folder.mkdir(exist_ok=True)
        return folder

    def used_bytes(self) -> int:
        """Return how many bytes the files of this process have."""
        return folder_bytes(self._folder)

    def close(self) -> None:
        """Delete the folder of this process. Safe to repeat."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    def _reserve(self, need: int) -> None:
        self._reserved += need
        MEDIA_SCRATCH_RESERVED.inc(need)


def folder_bytes(folder: Path) -> int:
    """Return how many bytes the files in a folder have, at any depth."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size
        except FileNotFoundError:  # deleted meanwhile
            continue
    return total


def is_full(folder: Path) -> bool:
    """Return whether the disk of a folder takes no further file."""
    return shutil.disk_usage(folder).free < MEBIBYTE


def _remove_if_left(folder: Path) -> None:
    """Delete the folder of a process unless that process is alive and holds its lock."""
    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return
    except FileNotFoundError:  # its process ended before it had made the lock
        shutil.rmtree(folder, ignore_errors=True)
    log.info("media.leftover_deleted")
