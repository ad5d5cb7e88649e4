"""Files that providers produce: the accepted content types, their detection, and their errors.

A file's type is read from its first bytes. Headers and names are not trusted, because browsers act
on the type that this service sends. The `filetype` package (1.2.0) is not used: it detects
QuickTime files that also list `isom` as MP4, and does not detect plain `iso5`, `iso6` and `dash`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import ClassVar, Final

SNIFF_BYTES = 256
"""Number of first bytes that are read. A WebM header contains its type within the first hundred."""


class MediaKind(StrEnum):
    """The kinds of files: of outputs, assets and media inputs.

    TRANSCRIPT: a transcript.json. TEXT: captions as SubRip, WebVTT or ASS.
    """

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    TRANSCRIPT = "transcript"
    TEXT = "text"


CONTENT_TYPES: dict[MediaKind, frozenset[str]] = {
    MediaKind.IMAGE: frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"}),
    MediaKind.VIDEO: frozenset({"video/mp4", "video/webm", "video/quicktime"}),
    MediaKind.AUDIO: frozenset({"audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/mp4"}),
    MediaKind.TRANSCRIPT: frozenset({"application/json"}),
    MediaKind.TEXT: frozenset({"application/x-subrip", "text/vtt", "text/x-ass"}),
}
"""No type that can contain a script (SVG, HTML), because files are served on our domain."""

MADE_ONLY = frozenset({"image/gif"})
"""Types of previews, which neither models nor media steps read."""

EXTENSIONS: dict[str, str] = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/quicktime": "mov",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "application/json": "json",
    "application/x-subrip": "srt",
    "text/vtt": "vtt",
    "text/x-ass": "ass",
}
"""File name extension of each stored content type."""


class MediaError(Exception):
    """A file that could not be fetched or stored.

    MediaError
    ├── WrongContentError         final      an operator inspects what the provider produced
    │   ├── UnknownContentError   minutes    the worker fetches it again
    │   └── AnimatedError         final      the user sends a still picture
    ├── TooLargeError             final      the operator raises the limit; the user requests less
    │   └── TooManyPixelsError    final      the user sends a smaller picture
    ├── SourceGoneError           final      the user retries, which buys the file again
    │   └── SourceMissingError    minutes    the worker fetches it again
    ├── SourceRefusedError        final      the operator allows the address; the file is not lost
    ├── TruncatedError            retryable  the worker fetches it again
    ├── IncompleteError           minutes    the worker fetches it again
    ├── SourceUnavailableError    retryable  the worker fetches it again
    ├── StorageUnavailableError   retryable  the worker stores it again
    ├── StorageRefusedError       final      the operator corrects bucket, keys or permissions
    └── UnwantedError             final      no action: the user deleted the execution

    Messages are shown to users and contain no signed addresses.

    retryable_for_minutes: final only if it lasts for minutes: a file server may serve a file later
    than the provider reports it.
    """

    retryable: ClassVar[bool] = False
    retryable_for_minutes: ClassVar[bool] = False


class WrongContentError(MediaError):
    """The file is of a known type and of another kind; another fetch returns the same file."""


class UnknownContentError(WrongContentError):
    """The body is empty or of no known media type, for example a file server's HTML page."""

    retryable_for_minutes = True


class AnimatedError(WrongContentError):
    """The picture has several frames, of which models would use any one."""


class TooLargeError(MediaError):
    """The file exceeds the size limit."""


class TooManyPixelsError(TooLargeError):
    """The picture has too many pixels, or needs too much memory or time to decode."""


class SourceGoneError(MediaError):
    """The provider has deleted the file (410, or its own report), so it must be bought again."""


class SourceMissingError(SourceGoneError):
    """The provider does not serve the file now (403, 404 …)."""

    retryable_for_minutes = True


class SourceRefusedError(MediaError):
    """The file's address may not be called, for example because it is in a private network."""


class TruncatedError(MediaError):
    """The provider's response ended before the end of the file."""

    retryable = True


class IncompleteError(MediaError):
    """The provider's response is whole, but the file in it is cut off or damaged."""

    retryable_for_minutes = True


class SourceUnavailableError(MediaError):
    """The provider's file server failed, stalled or was too slow."""

    retryable = True


class StorageUnavailableError(MediaError):
    """The object storage failed or could not be reached."""

    retryable = True


class StorageRefusedError(MediaError):
    """The object storage refused the request: wrong bucket, keys or permissions."""


class UnwantedError(MediaError):
    """The user deleted the execution while its file was stored; the file is deleted as well."""


def content_type_of(head: bytes) -> str | None:
    """Return the content type that the first SNIFF_BYTES of a file show.

    None: the file has none of CONTENT_TYPES.
    """
    for magic, content_type in _MAGIC:
        if head.startswith(magic):
            return content_type
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12])
    if head[:4] == b"\x1aE\xdf\xa3":  # EBML: WebM, or Matroska, which browsers do not play
        return "video/webm" if b"\x42\x82\x84webm" in head else None
    if head[4:8] == b"ftyp" and len(head) >= 16:
        return _iso_media_type(head[8:12])
    return "audio/mpeg" if _is_mp3_frame(head) else None


def kind_of(content_type: str) -> MediaKind | None:
    """Return the kind of a stored content type."""
    return next((kind for kind, types in CONTENT_TYPES.items() if content_type in types), None)


def disposition_of(content_type: str) -> str:
    """Return the Content-Disposition of a stored file.

    Browsers guess the type of text that they do not know, so captions are only downloaded.
    """
    return "attachment" if content_type in CONTENT_TYPES[MediaKind.TEXT] else "inline"


def require_kind(head: bytes, expected: MediaKind) -> str:
    """Return the content type of a file of this kind.

    Raise WrongContentError for media of another kind, UnknownContentError for anything else.
    """
    content_type = content_type_of(head)
    if content_type is None:
        # Never guessed from the bytes alone: error messages of file servers are text, too.
        content_type = _text_type(head, expected)
    if content_type is None:
        seen = f"has the unknown bytes {head[:12].hex(' ')}" if head else "is empty"
        raise UnknownContentError(f"expected {expected}, the file {seen}")
    if content_type not in CONTENT_TYPES[expected]:
        raise WrongContentError(f"expected {expected}, the file is {content_type}")
    return content_type


_SUBRIP: Final = re.compile(rb"\s*(1\s*\n\d\d:\d\d:\d\d,\d{3} --> |$)")
"""The first caption; or only white space, which is a file without captions."""


def _text_type(head: bytes, expected: MediaKind) -> str | None:
    if expected is MediaKind.TRANSCRIPT and head.lstrip()[:1] == b"{":
        return "application/json"
    if expected is not MediaKind.TEXT or not head:
        return None
    if head.startswith(b"WEBVTT"):
        return "text/vtt"
    if head.startswith(b"[Script Info]"):
        return "text/x-ass"
    return "application/x-subrip" if _SUBRIP.match(head) else None


_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)

_NOT_VIDEO_BRANDS = frozenset(
    {
        b"avif",
        b"avis",
        b"heic",
        b"heix",
        b"hevc",
        b"hevx",
        b"heim",
        b"heis",
        b"mif1",
        b"msf1",
        b"jp2 ",
        b"crx ",
    }
)


def _iso_media_type(brand: bytes) -> str | None:
    """Return the content type for a major brand; the compatible brands do not define the type."""
    if brand == b"qt  ":
        return "video/quicktime"
    if brand in {b"M4A ", b"M4B ", b"M4P ", b"F4A "}:
        return "audio/mp4"
    return None if brand in _NOT_VIDEO_BRANDS else "video/mp4"


def _is_mp3_frame(head: bytes) -> bool:
    """Return whether a file starts with an MPEG layer III frame header without reserved values.

    The check for reserved values rejects a UTF-16 byte order mark and a JPEG.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    version, bit_rate, sample_rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and bit_rate != 15 and sample_rate != 3
