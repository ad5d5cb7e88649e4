"""A model for Cog's own server: it draws a picture of one colour, on the processor.

A run is noted in the file `runs` of the working directory before it begins.
"""

import struct
import tempfile
import time
import zlib
from pathlib import Path as LocalPath

from cog import BaseRunner, Input, Path

WIDTH, HEIGHT = 320, 180
PAUSE_SECONDS = 0.02


class Painter(BaseRunner):
    def setup(self, weights: Path | str | None = None) -> None:
        """Load nothing, but wait while the file `setup-held` exists."""
        del weights
        while LocalPath("setup-held").exists():
            time.sleep(PAUSE_SECONDS)

    def run(
        self,
        prompt: str = Input(description="Decides the colour"),
        seed: int = Input(default=0),
        held_by: str = Input(default="", description="Run until this file is gone"),
        fail: bool = Input(default=False),
    ) -> Path:
        """Draw the picture."""
        with LocalPath("runs").open("a", encoding="utf-8") as runs:
            runs.write(f"{prompt}\n")
        while held_by and LocalPath(held_by).exists():
            time.sleep(PAUSE_SECONDS)  # in steps: a cancel ends the run between two of them
        if fail:
            raise ValueError("out of paint")
        folder = LocalPath(tempfile.mkdtemp())
        picture = folder / "picture.png"
        picture.write_bytes(png(zlib.crc32(f"{prompt}/{seed}".encode()).to_bytes(4, "big")[:3]))
        return Path(picture)


def png(colour: bytes) -> bytes:
    """Return a picture of one colour."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    rows = (b"\0" + colour * WIDTH) * HEIGHT
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(rows)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
