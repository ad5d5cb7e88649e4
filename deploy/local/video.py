"""Does it play?"""

import io
from dataclasses import dataclass

import av
import httpx
from av.error import FFmpegError

from deploy.local.process import LocalError

DOWNLOAD_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What decoding every frame of a video has shown."""

    width: int
    height: int
    seconds: float
    frames: int
    size_bytes: int

    def __str__(self) -> str:
        size = f"{self.size_bytes / 1_000_000:.1f} MB"
        return f"{self.width} x {self.height}, {self.seconds:.1f} s, {self.frames} frames, {size}"


def watch(url: str) -> Film:
    """Get a video as a browser would, and decode all of it. Raises LocalError if it does
    not play.
    """
    try:
        answer = httpx.get(
            url, timeout=DOWNLOAD_TIMEOUT_SECONDS, trust_env=False, follow_redirects=True
        )
        answer.raise_for_status()
        return decode(answer.content)
    except (httpx.HTTPError, FFmpegError, ValueError) as error:
        raise LocalError(
            f"The video at {url} does not play: {type(error).__name__}: {error}"
        ) from None


def decode(content: bytes) -> Film:
    """Raises FFmpegError or ValueError if not every frame of a video can be decoded."""
    with av.open(io.BytesIO(content), "r") as container:
        if not container.streams.video:
            raise ValueError("there is no picture in it")
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        rate = stream.average_rate
        if frames == 0 or not rate:
            raise ValueError("there is no frame in it")
        return Film(
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            seconds=float(frames / rate),
            frames=frames,
            size_bytes=len(content),
        )
