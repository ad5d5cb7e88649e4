"""Where the servers that tests start keep their data: in memory, if there is enough.

A database made from a template is some hundred files: on a disk that takes ten times as long. A
killed process loses nothing there; only a power cut would.
"""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
LEAST_FREE_BYTES = 6 * 1024**3
"""Above what all test processes use together."""


def new_data_folder(prefix: str, *, in_memory: bool = True) -> Path:
    """Return a new folder that PostgreSQL's system user can enter when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_memory() if in_memory else None))
    folder.chmod(0o711)
    return folder


@contextmanager
def data_folder(prefix: str) -> Generator[Path]:
    """Make such a folder, and remove it at the end."""
    folder = new_data_folder(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """Return the file system in memory, or None if it is absent or small, as in a container."""
    if not MEMORY.is_dir():
        return None
    free = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
    return MEMORY if free >= LEAST_FREE_BYTES else None
