# PyAV's streams are typed only in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""Measures of fetched files: sizes, lengths and frames. All functions block: run in a thread."""

import io
from typing import Any

import av
from av.error import FFmpegError

from sandbox.files.encoding import UnreadableError
from sandbox.files.renderer import picture_size
from sandbox.models.fields import Role
from sandbox.models.orders import Facts


def measure(role: Role, content: bytes) -> Facts:
    """Return the facts of a file in the role of an input. Raise UnreadableError."""
    match role:
        case "image" | "end_image":
            width, height = picture_size(content)
            return Facts(medium="image", width=width, height=height)
        case "video":
            return _video(content)
        case "audio":
            return _audio(content)
        case _:
            raise AssertionError(f"the field's role, {role}, names no file")


def _video(content: bytes) -> Facts:
    try:
        with av.open(io.BytesIO(content), "r") as container:
            if not container.streams.video or container.format.name.endswith("_pipe"):
                raise UnreadableError("the file is no video")  # FFmpeg also opens pictures
            stream = container.streams.video[0]
            width, height = stream.width, stream.height
            seconds = _seconds(container, stream)
            frames = sum(1 for packet in container.demux(stream) if packet.size)
    except (FFmpegError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    if not frames:
        raise UnreadableError("the file has no frames")
    return Facts(medium="video", width=width, height=height, seconds=seconds, frames=frames)


def _audio(content: bytes) -> Facts:
    try:
        with av.open(io.BytesIO(content), "r") as container:
            if not container.streams.audio:
                raise UnreadableError("the file has no sound")
            seconds = _seconds(container, container.streams.audio[0])
    except (FFmpegError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    return Facts(medium="audio", seconds=seconds)


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return round(float(stream.duration * stream.time_base), 3)
    return round((container.duration or 0) / 1_000_000, 3)
