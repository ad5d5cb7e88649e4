"""The formats that the engine reads. Each has exactly one reader, which no file chooses itself.

ffmpeg would read a playlist that is named `x.mp4` and open the files in it. A file gets the reader
of the content type that its first bytes show, and ffmpeg refuses every other reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.domain.media.content import (
    MADE_ONLY,
    SNIFF_BYTES,
    MediaKind,
    content_type_of,
    kind_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A content type and its reader's name in ffmpeg. kind: None if both sound and film have it."""

    content_type: str
    demuxer: str
    kind: MediaKind | None


_DEMUXERS: Final[Mapping[str, str]] = {
    "image/jpeg": "jpeg_pipe",
    "image/png": "png_pipe",
    "image/webp": "webp_pipe",
    "image/gif": "gif",
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "mov",
}
_INTERNAL: Final = ((b"\x1aE\xdf\xa3", "video/x-matroska"),)
"""What operations may write besides the content types of assets."""
HEAD_BYTES: Final = SNIFF_BYTES


def format_of(head: bytes, *, is_own: bool) -> Format | None:
    """Return the format that the first HEAD_BYTES of a file show, None if it is not accepted.

    is_own: an operation has written the file.
    """
    content_type = content_type_of(head)
    if content_type is None and is_own:
        content_type = next((name for magic, name in _INTERNAL if head.startswith(magic)), None)
    if content_type is None or content_type not in _DEMUXERS:
        return None
    if content_type in MADE_ONLY and not is_own:
        return None
    return Format(
        content_type=content_type, demuxer=_DEMUXERS[content_type], kind=kind_of(content_type)
    )


def is_still(demuxer: str) -> bool:
    """Return whether a reader yields one picture without a time."""
    return demuxer.endswith("_pipe")
