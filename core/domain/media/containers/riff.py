"""The structure of WebP and WAV files (RIFF): one chunk that declares the size of the file."""

from collections.abc import Generator
from dataclasses import dataclass

from core.domain.media.containers.facts import MediaFacts, quotient
from core.domain.media.containers.scan import Need, Parser, Read, Skip, SkipRest, Structure, read

_UNKNOWN_SIZES = {0, 0xFFFFFFFF}
"""What an encoder writes that cannot seek back to the file's start."""
_WAV_CODECS = {1: "pcm", 3: "pcm", 6: "alaw", 7: "mulaw", 0x55: "mp3"}
_EXTENSIBLE = 0xFFFE
_HEAD_BYTES = 26
"""Enough of the first chunk of a WebP, without its head, and of the format chunk of a WAV."""


def parse() -> Parser:
    """Require as many bytes as the file declares. More bytes are accepted, as decoders do."""
    head = yield from read(12)
    size = int.from_bytes(head[4:8], "little")
    body = _Body(None if size in _UNKNOWN_SIZES else max(size - 4, 0))
    if head[8:12] == b"WEBP":
        chunk = yield from body.read(8 + _HEAD_BYTES)
        facts = _picture(chunk[:4], chunk[8:])
    else:
        facts = yield from _sound(body)
    yield from body.skip(body.left or 0)
    yield SkipRest()
    return Structure(facts=facts)


@dataclass(slots=True)
class _Body:
    """The bytes that the file declares. left: of them; None if it declares no size."""

    left: int | None

    def read(self, size: int) -> Generator[Need, bytes, bytes]:
        """Receive this many bytes, fewer at the end of the body."""
        if self.left is None:
            return (yield Read(size, may_be_short=True))
        size = min(size, self.left)
        self.left -= size
        return (yield from read(size))

    def skip(self, size: int) -> Generator[Need, bytes, None]:
        """Skip this many bytes, fewer at the end of the body."""
        if self.left is None:
            yield Skip(size, may_end=True)
        else:
            size = min(size, self.left)
            self.left -= size
            yield Skip(size)


def _sound(body: _Body) -> Generator[Need, bytes, MediaFacts | None]:
    """Read the chunks up to the sound itself. Other chunks may lie between them."""
    form = b""
    while len(head := (yield from body.read(8))) == 8:
        kind, size = head[:4], int.from_bytes(head[4:8], "little")
        if kind == b"data":
            stated = size not in _UNKNOWN_SIZES and (body.left is None or size <= body.left)
            return _sound_facts(form, size if stated else 0)
        content = b""
        if kind == b"fmt ":
            form = content = yield from body.read(min(size, _HEAD_BYTES))
        yield from body.skip(size + size % 2 - len(content))  # a chunk begins at an even position
    return _sound_facts(form, 0)


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


def _sound_facts(form: bytes, data_bytes: int) -> MediaFacts | None:
    """Return what the format chunk states. data_bytes: 0 if the size of the sound is not known."""
    if len(form) < 16:
        return None
    code = int.from_bytes(form[:2], "little")
    if code == _EXTENSIBLE and len(form) >= _HEAD_BYTES:
        code = int.from_bytes(form[24:26], "little")
    bytes_a_second = int.from_bytes(form[8:12], "little")
    return MediaFacts(
        duration_seconds=quotient(data_bytes, bytes_a_second),
        codec=_WAV_CODECS.get(code),
        has_audio=True,
    )
