"""Pictures that users send: checked and converted in processes of their own, a few at a time."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import AnimatedError, IncompleteError, TooManyPixelsError
from core.media.programs import run_program

PROGRAM: Final = Path(__file__).with_name("picture_program.py")
MAX_PIXELS: Final = 50_000_000
"""A photo of 48 megapixels."""
AT_ONCE: Final = 2
"""Of one process: each may need a gigabyte of memory, and a whole processor for seconds."""
SECONDS: Final = 15.0
"""The client waits for it. A picture at the limits takes six seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture in plain 8-bit RGB or RGBA, upright. file: its content, from the start."""

    file: IO[bytes]
    content_type: str
    facts: MediaFacts


class PictureConverter:
    """Decodes pictures outside of this process."""

    def __init__(self, *, at_once: int = AT_ONCE, seconds: float = SECONDS) -> None:
        self._slots = asyncio.Semaphore(at_once)
        self._seconds = seconds

    @asynccontextmanager
    async def convert(self, source: IO[bytes]) -> AsyncGenerator[Picture]:
        """Decode a picture; yield it as it is if models read it as it is, else a converted one.

        source: a file that the operating system has open, at any position. Raises AnimatedError,
        IncompleteError (damaged), TooManyPixelsError.
        """
        with tempfile.TemporaryFile() as target:
            source.seek(0)
            async with self._slots:
                verdict = await self._run(source, target)
            refusal = verdict.get("refused")
            if refusal == "animated":
                raise AnimatedError("the picture is animated")
            if refusal == "damaged":
                raise IncompleteError("the picture cannot be decoded")
            if refusal is not None:
                raise TooManyPixelsError(
                    f"the picture has more than {MAX_PIXELS} pixels, or needs too much memory or "
                    "time to decode"
                )
            content_type = str(verdict["content_type"])
            file = target if verdict["converted"] is True else source
            file.seek(0)
            yield Picture(
                file=file,
                content_type=content_type,
                facts=MediaFacts(
                    width=int(str(verdict["width"])),
                    height=int(str(verdict["height"])),
                    codec=content_type.removeprefix("image/"),
                ),
            )

    async def _run(self, source: IO[bytes], target: IO[bytes]) -> dict[str, object]:
        """Return the program's verdict. One that its limits ended counts as too large."""
        try:
            async with asyncio.timeout(self._seconds):
                ended = await run_program(PROGRAM, str(MAX_PIXELS), source=source, target=target)
        except TimeoutError:
            return {"refused": "too_large"}
        return ended.verdict or {"refused": "too_large"}
