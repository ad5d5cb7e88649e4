"""Files that providers make: which kinds and content types we keep, and what can be wrong with one.

What a file is, is read from its first bytes and never from a header or a name: those are claims of
somebody else, and a browser would act on them. The table is our own because the `filetype` package
calls QuickTime files that also name `isom` MP4, and does not know plain `iso5`, `iso6` or `dash`
files (1.2.0).
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

SNIFF_BYTES = 256
"""How many first bytes decide. A WebM header names its type within the first hundred."""


class MediaKind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


CONTENT_TYPES: dict[MediaKind, frozenset[str]] = {
    MediaKind.IMAGE: frozenset({"image/jpeg", "image/png", "image/webp"}),
    MediaKind.VIDEO: frozenset({"video/mp4", "video/webm", "video/quicktime"}),
    MediaKind.AUDIO: frozenset({"audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/mp4"}),
}
"""Nothing here can carry a script (no SVG, no HTML): the files are shown inline under our address.
"""


EXTENSIONS: dict[str, str] = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/quicktime": "mov",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
}
"""What a stored file's name ends in, for each content type we keep."""


class MediaError(Exception):
    """A file that could not be fetched or stored.

    MediaError
    ├── WrongContentError         final      an operator inspects what the provider produced
    ├── TooLargeError             final      the operator raises the limit; the user requests less
    ├── SourceGoneError           final      the user retries, which buys the file again
    ├── SourceRefusedError        final      the operator allows the address; the file is not lost
    ├── TruncatedError            retryable  the worker fetches it again
    ├── SourceUnavailableError    retryable  the worker fetches it again
    ├── StorageUnavailableError   retryable  the worker stores it again
    └── StorageRefusedError       final      the operator corrects bucket, keys or permissions

    Messages are shown to users and contain no signed addresses.
    """

    retryable: ClassVar[bool] = False


class WrongContentError(MediaError):
    """The first bytes are not of an allowed type. Fetching again gives the same: the operator asks
    the provider.
    """


class TooLargeError(MediaError):
    """The file passes the size limit. The user asks for less, or the operator raises the limit."""


class SourceGoneError(MediaError):
    """The provider gives the file out no more (403, 404, 410 …). Only buying it again helps: its
    user decides.
    """


class SourceRefusedError(MediaError):
    """The file lies where we do not call: inside a private network. The operator allows it, or asks
    the provider.
    """


class TruncatedError(MediaError):
    """The provider's answer ended before the file did. We fetch it again."""

    retryable = True


class SourceUnavailableError(MediaError):
    """The provider's file server failed, stalled or was too slow. We fetch the file again."""

    retryable = True


class StorageUnavailableError(MediaError):
    """Our object storage failed or could not be reached. We store again; if it lasts, the operator
    looks.
    """

    retryable = True


class StorageRefusedError(MediaError):
    """Our object storage refuses: wrong bucket, keys or rights. The operator mends what the text
    names.
    """


def content_type_of(head: bytes) -> str | None:
    """The content type that a file's first SNIFF_BYTES show; None if it is none
    of CONTENT_TYPES.
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


def require_kind(head: bytes, expected: MediaKind) -> str:
    """The content type of a file that must be of this kind, else WrongContentError."""
    content_type = content_type_of(head)
    if content_type not in CONTENT_TYPES[expected]:
        seen = content_type or f"unknown bytes {head[:12].hex(' ')}"
        raise WrongContentError(f"expected {expected}, the file is {seen}")
    return content_type


_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
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
    """By the major brand alone: it says how the file is meant to be read, the others how else it
    can be.
    """
    if brand == b"qt  ":
        return "video/quicktime"
    if brand in {b"M4A ", b"M4B ", b"M4P ", b"F4A "}:
        return "audio/mp4"
    return None if brand in _NOT_VIDEO_BRANDS else "video/mp4"


def _is_mp3_frame(head: bytes) -> bool:
    """An MPEG layer III frame header with no reserved value (a UTF-16 mark or a JPEG does not
    pass).
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    version, bit_rate, sample_rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    return version != 1 and bit_rate != 15 and sample_rate != 3
