"""The structure of WebP and WAV files (RIFF): one chunk that declares the size of the file."""

from collections.abc import Generator

from core.domain.containers.facts import MediaFacts
from core.domain.containers.scan import Need, Parser, Read, Skip, SkipRest, Structure, read

_UNKNOWN_SIZES = {0, 0xFFFFFFFF}
"""What an encoder writes that cannot seek back to the file's start."""
_WAV_CODECS = {1: "pcm", 3: "pcm", 6: "alaw", 7: "mulaw", 0x55: "mp3"}
_EXTENSIBLE = 0xFFFE
_HEAD_BYTES = 26
"""Enough of the first chunk of a WebP and of the format chunk of a WAV."""


def parse() -> Parser:
    """Require as many bytes as the file declares. More bytes are accepted, as decoders do."""
    head = yield from read(12)
    size = int.from_bytes(head[4:8], "little")
    known = size not in _UNKNOWN_SIZES
    left = size - 4 if known else 0
    facts: MediaFacts | None = None
    chunk = b""
    if not known:
        chunk = yield Read(8 + _HEAD_BYTES, may_be_short=True)
    elif left > 0:
        chunk = yield from read(min(left, 8 + _HEAD_BYTES))
        left -= len(chunk)
    if head[8:12] == b"WEBP":
        facts = _picture(chunk[:4], chunk[8:])
    elif chunk[:4] == b"fmt ":
        data_bytes, left = yield from _data_bytes(chunk, left)
        facts = _sound(chunk[8:], data_bytes)
    if left > 0:
        yield Skip(left)
    yield SkipRest()
    return Structure(facts=facts)


def _data_bytes(chunk: bytes, left: int) -> Generator[Need, bytes, tuple[int | None, int]]:
    """Return the size of the sound if the `data` chunk comes next, and how many bytes are left."""
    format_bytes = int.from_bytes(chunk[4:8], "little")
    rest = chunk[8 + format_bytes :]
    missing = format_bytes + 16 - len(chunk)
    if 0 < missing <= min(left, _HEAD_BYTES):  # a larger one would be kept in memory
        rest += (yield from read(missing))[-8:]
        left -= missing
    data = rest[-8:] if missing > 0 else rest[:8]
    size = int.from_bytes(data[4:8], "little")
    return (size if data[:4] == b"data" and size not in _UNKNOWN_SIZES else None), left


def _picture(kind: bytes, content: bytes) -> MediaFacts | None:
    """Return the size that the first chunk of a WebP states."""
    if kind == b"VP8X" and len(content) >= 10:
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L" and len(content) >= 5 and content[0] == 0x2F:
        bits = int.from_bytes(content[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and len(content) >= 10 and content[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        return None
    return MediaFacts(width=width, height=height, codec="webp")


def _sound(content: bytes, data_bytes: int | None) -> MediaFacts | None:
    if len(content) < 16:
        return None
    code = int.from_bytes(content[:2], "little")
    if code == _EXTENSIBLE and len(content) >= _HEAD_BYTES:
        code = int.from_bytes(content[24:26], "little")
    bytes_a_second = int.from_bytes(content[8:12], "little")
    duration = data_bytes / bytes_a_second if data_bytes and bytes_a_second else None
    return MediaFacts(
        duration_seconds=round(duration, 3) if duration else None,
        codec=_WAV_CODECS.get(code),
        has_audio=True,
    )
