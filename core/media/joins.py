"""Join parts of films by copying their encoded pictures, where the copy shows exactly the parts."""

import asyncio
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import IO, Final

from core.media.operations.port import InputFile, PicturePart, Probe
from core.media.programs import run_program

PROGRAM: Final = Path(__file__).with_name("join_program.py")
JOIN_SECONDS: Final = 300.0
"""Of time; the program has a limit of processor time of its own."""


async def join_parts(
    parts: Sequence[PicturePart], frame_rate: Fraction, target: Path, most_bytes: int
) -> InputFile | None:
    """Write the parts one after the other, without sound, and return the file.

    None if the program refuses a part: a copy would show other frames, or at another rate. It reads
    what users send, so it runs as a process without environment or keys.
    """
    order = {
        "parts": [_plain(part) for part in parts],
        "rate": frame_rate.as_integer_ratio(),
        "most_bytes": most_bytes,
    }
    frames = sum(part.frames for part in parts)
    with _nothing_and(target) as (nothing, joined):
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                ended = await run_program(PROGRAM, json.dumps(order), source=nothing, target=joined)
        except TimeoutError:
            return None
    if ended.verdict != {"frames": frames}:
        return None
    seconds = float(frames / frame_rate)
    probe = replace(
        _probe_of(parts[0]),
        format_name="mov",
        seconds=seconds,
        picture_seconds=seconds,
        frames=frames,
        video_stream=0,
        audio_stream=None,
    )
    return InputFile(path=target, sha256="", probe=probe)


@contextmanager
def _nothing_and(target: Path) -> Generator[tuple[IO[bytes], IO[bytes]]]:
    with Path(os.devnull).open("rb") as nothing, target.open("wb") as file:
        yield nothing, file


def _plain(part: PicturePart) -> dict[str, object]:
    probe = _probe_of(part)
    return {
        "path": str(part.file.path.absolute()),
        "form": probe.format_name,
        "stream": probe.video_stream,
        "first": part.first,
        "frames": part.frames,
    }


def _probe_of(part: PicturePart) -> Probe:
    if part.file.probe is None:
        raise ValueError("a file of text has no picture")
    return part.file.probe
