"""The sound of videos: extracted in processes of their own, a few at a time."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

from core.domain.media.content import IncompleteError
from core.media.programs import run_program

PROGRAM: Final = Path(__file__).with_name("sound_program.py")
MAX_MINUTES: Final = 30
AT_ONCE: Final = 2
"""Of one process: each takes a whole processor for seconds, and the video's size on disk."""
SECONDS: Final = 20.0
"""The client waits for it, and a proxy in front of the API waits 25 s for the answer."""


class NoSoundError(Exception):
    """The video has no sound."""


class SoundTooLongError(Exception):
    """The sound lasts longer than MAX_MINUTES, or takes too much time to decode."""


class SoundExtractor:
    """Extracts sound outside of this process."""

    def __init__(self, *, at_once: int = AT_ONCE) -> None:
        self.slots = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def extract(self, video: IO[bytes], content_type: str) -> AsyncGenerator[IO[bytes]]:
        """Yield the sound of a video as MP3, from the start. The caller holds one of `slots`.

        video: a file that the operating system has open, at any position. content_type: its own.
        Raises NoSoundError, SoundTooLongError, IncompleteError (damaged).
        """
        with tempfile.TemporaryFile() as target:
            video.seek(0)
            ended = await run_program(
                PROGRAM, content_type, str(60 * MAX_MINUTES), source=video, target=target
            )
            verdict = ended.verdict
            refusal = "too_long" if verdict is None else verdict.get("refused")
            if refusal == "silent":
                raise NoSoundError
            if refusal == "damaged":
                raise IncompleteError("the sound cannot be decoded")
            if refusal is not None:
                raise SoundTooLongError
            target.seek(0)
            yield target
