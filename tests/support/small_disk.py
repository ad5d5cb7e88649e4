"""A program on a disk of its own that is small: a tmpfs in a mount namespace that ends with it.

It sees the machine as it is, but for one folder. Needs root, or the right to make user namespaces.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.config import ROOT

_MOUNT = 'mount -t tmpfs -o "size=$1,mode=755" small_disk "$2" && shift 2 && exec "$@"'


def _command(folder: Path, size: str, *program: str) -> tuple[str, ...]:
    inside = ("sh", "-c", _MOUNT, "sh", size, str(folder))
    if os.geteuid() == 0:
        return ("unshare", "--mount", *inside, *program)
    # Whoever mounts must be root there, and PostgreSQL must not: the way back to ourselves is a
    # namespace in it.
    back = ("unshare", "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}")
    return ("unshare", "--user", "--map-root-user", "--mount", *inside, *back, *program)


def _refusal(folder: Path) -> str | None:
    """Why this machine allows no such disk."""
    try:
        tried = subprocess.run(
            _command(folder, "1m", "true"), capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        return str(error)
    return None if tried.returncode == 0 else tried.stderr.strip()


def run_on_small_disk(module: str, folder: Path, *, size: str, seconds: float) -> str:
    """What `python -m module folder` prints, with `folder` on a small disk; it must end with code
    0.

    Skips the test where that is not allowed, but on a CI server, where nothing is left out.
    """
    refusal = _refusal(folder)
    if refusal is not None:
        if os.environ.get("CI"):
            pytest.fail(f"no disk can be mounted here: {refusal}")
        pytest.skip(f"no disk can be mounted here, even in a namespace: {refusal}")
    done = subprocess.run(
        _command(folder, size, sys.executable, "-m", module, str(folder)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-8000:]}"
    return done.stdout


@contextmanager
def disk_folder() -> Generator[Path]:
    """Where a disk can be mounted, and PostgreSQL's own system user can enter too, when the tests
    run as root.
    """
    outer = Path(tempfile.mkdtemp(prefix="takeone-disk-"))
    outer.chmod(0o711)
    inner = outer / "disk"
    inner.mkdir()
    try:
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


class Filler:
    """What takes all the room on a disk, until it is given back."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "filler"

    def fill(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def give_back(self) -> None:
        self._path.unlink()
