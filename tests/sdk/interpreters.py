"""Python interpreters of this machine, for tests of the client on each version that it supports."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


@cache
def interpreters() -> Mapping[str, Path]:
    """Return an interpreter for each supported version that is installed."""
    found: dict[str, Path] = {}
    for path in _candidates():
        version = _version(path)
        if version in SUPPORTED:
            found.setdefault(version, path)
    return found


def _candidates() -> Iterator[Path]:
    """Yield programs that may be interpreters: of pyenv, of uv, and in the search path."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob("versions/*/bin/python"))
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python")
    yield from sorted(Path(uv).glob("*/bin/python3"))
    for version in SUPPORTED:
        if (program := shutil.which(f"python{version}")) is not None:
            yield Path(program)


def _version(path: Path) -> str | None:
    try:
        done = subprocess.run(
            [path, "-I", "-c", VERSION], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None  # for example a shim without a version behind it
    return done.stdout.strip()
