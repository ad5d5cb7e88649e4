"""Programs that Python packages install next to the interpreter."""

import sys
from pathlib import Path

from deploy.local.servers.process import PartFailedError


def program(name: str) -> Path:
    """Return a program of this Python environment, never one from elsewhere on the PATH."""
    path = Path(sys.prefix) / "bin" / name
    if not path.exists():
        raise PartFailedError(f"{name} is not in {path.parent}: run 'make clean', then try again")
    return path
