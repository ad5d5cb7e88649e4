"""Programs that Python packages put beside the interpreter."""

import sys
from pathlib import Path

from deploy.local.servers.process import PartFailedError


def program(name: str) -> Path:
    """A program of this Python environment, never one of the same name elsewhere on the PATH."""
    path = Path(sys.prefix) / "bin" / name
    if not path.exists():
        raise PartFailedError(f"{name} is not in {path.parent}: run 'make clean', then again")
    return path
