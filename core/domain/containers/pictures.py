"""The structure of PNG and JPEG files. Bytes after the picture are accepted, as decoders do."""

from core.domain.containers.scan import Parser, Skip, SkipRest, SkipTo, read
from core.domain.media import IncompleteError

_END_OF_IMAGE = 0xD9
_WITHOUT_CONTENT = {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}
"""A stuffed byte, TEM, a fill byte, RST0 to RST7 and SOI."""


def parse_png() -> Parser:
    """Require every chunk up to IEND."""
    yield Skip(8)
    kind = b""
    while kind != b"IEND":
        head = yield from read(8)
        kind = head[4:8]
        yield Skip(int.from_bytes(head[:4], "big") + 4)
    yield SkipRest()


def parse_jpeg() -> Parser:
    """Require every segment up to the marker EOI, which a thumbnail within a segment is not."""
    yield Skip(2)
    while True:
        yield SkipTo(0xFF)
        marker = (yield from read(1))[0]
        while marker == 0xFF:
            marker = (yield from read(1))[0]
        if marker == _END_OF_IMAGE:
            break
        if marker not in _WITHOUT_CONTENT:
            size = int.from_bytes((yield from read(2)), "big")
            if size < 2:
                raise IncompleteError(f"the segment {marker:#x} has the impossible size {size}")
            yield Skip(size - 2)
    yield SkipRest()
