"""A check that a video plays: every frame is decoded."""

import io
from dataclasses import dataclass

import av
import httpx
from av.error import FFmpegError

from deploy.local.servers.process import LocalError

DOWNLOAD_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """Properties of a decoded video."""

    width: int
    height: int
    seconds: float
    frames: int
    size_bytes: int

    def __str__(self) -> str:
        size = f"{self.size_bytes / 1_000_000:.1f} MB"
        return f"{self.width} x {self.height}, {self.seconds:.1f} s, {self.frames} frames, {size}"


def check_video(url: str) -> VideoFacts:
    """Download a video and decode all of it.

    Raise LocalError if it does not play.
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


def decode(content: bytes) -> VideoFacts:
    """Decode every frame.

    Raise FFmpegError or ValueError if that fails.
    """
    with av.open(io.BytesIO(content), "r") as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        rate = stream.average_rate
        if frames == 0 or not rate:
            raise ValueError("it has no frames")
        return VideoFacts(
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            seconds=float(frames / rate),
            frames=frames,
            size_bytes=len(content),
        )
