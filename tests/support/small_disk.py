"""A program with a small disk of its own: a tmpfs in a mount namespace.

Everything else of the machine is visible. Needs root, or the right to create user namespaces.
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
    # Mounting needs root in the namespace, but PostgreSQL must not run as root: an inner namespace
    # maps back to the original user.
    back = ("unshare", "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}")
    return ("unshare", "--user", "--map-root-user", "--mount", *inside, *back, *program)


def _refusal(folder: Path) -> str | None:
    """Return the reason why this machine does not allow such a disk."""
    try:
        tried = subprocess.run(
            _command(folder, "1m", "true"), capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        return str(error)
    return None if tried.returncode == 0 else tried.stderr.strip()


def run_on_small_disk(module: str, folder: Path, *, size: str, seconds: float) -> str:
    """Return the output of `python -m module folder` with `folder` on a small disk.

    The program must exit with code 0. Skips the test where this is not allowed, except on a CI
    server.
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
    """Return a mount point that PostgreSQL's system user can enter when tests run as root."""
    outer = Path(tempfile.mkdtemp(prefix="takeone-disk-"))
    outer.chmod(0o711)
    inner = outer / "disk"
    inner.mkdir()
    try:
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


class Filler:
    """A file that fills a disk until it is removed."""

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
