"""The files in the folder `console/`, which the API and the operator's console serve."""

import gzip
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[2] / "console"
OPERATOR_FOLDER: Final = "operator/"
"""The screens of the operator's console, which the public API does not serve."""
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of the files that are served; others, such as licences, are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleFile:
    """zipped: the content in gzip."""

    content: bytes = field(repr=False)
    zipped: bytes = field(repr=False)
    media_type: str
    etag: str


def read_files(folder: Path = FOLDER) -> dict[str, ConsoleFile]:
    """Return the files by their paths below the folder, with slashes."""
    return {
        path.relative_to(folder).as_posix(): _file(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in TYPES
    }


def _file(path: Path) -> ConsoleFile:
    content = path.read_bytes()
    return ConsoleFile(
        content=content,
        zipped=gzip.compress(content, mtime=0),
        media_type=TYPES[path.suffix],
        etag=f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    )
