"""The structure of PNG and JPEG files. Bytes after the picture are accepted, as decoders do."""

import struct

from core.domain.media.containers.facts import MediaFacts
from core.domain.media.containers.scan import Parser, Skip, SkipRest, SkipTo, Structure, read
from core.domain.media.content import IncompleteError

_END_OF_IMAGE = 0xD9
_WITHOUT_CONTENT = {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}
"""A stuffed byte, TEM, a fill byte, RST0 to RST7 and SOI."""
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15 without DHT, JPG and DAC."""


def parse_png() -> Parser:
    """Require every chunk up to IEND."""
    yield Skip(8)
    facts: MediaFacts | None = None
    kind = b""
    while kind != b"IEND":
        head = yield from read(8)
        kind = head[4:8]
        left = int.from_bytes(head[:4], "big") + 4
        if kind == b"IHDR" and left >= 8:
            width, height = struct.unpack(">II", (yield from read(8)))
            facts = MediaFacts(width=width, height=height, codec="png")
            left -= 8
        yield Skip(left)
    yield SkipRest()
    return Structure(facts=facts)


def parse_jpeg() -> Parser:
    """Require every segment up to the marker EOI, which a thumbnail within a segment is not."""
    facts: MediaFacts | None = None
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
            left = size - 2
            if marker in _FRAME_HEADERS and left >= 5:
                height, width = struct.unpack(">xHH", (yield from read(5)))
                facts = MediaFacts(width=width, height=height, codec="jpeg")
                left -= 5
            yield Skip(left)
    yield SkipRest()
    return Structure(facts=facts)
