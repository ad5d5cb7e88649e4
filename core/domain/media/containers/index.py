"""The tables in the `moov` box that state where in the file each chunk of frames begins.

A player needs the whole `moov` box, the index, before its first frame. The index can be moved from
the end of a file to its start without touching a frame, if every offset in these tables is raised
by the size of the index.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_PATH = (b"trak", b"mdia", b"minf", b"stbl")
_OFFSETS = {b"stco": "I", b"co64": "Q"}
_OTHER_OFFSETS = (b"cmov", b"iloc", b"saio", b"mvex")
"""A compressed index, items, encryption data, and an index that fragments continue."""


class UnmovableIndexError(Exception):
    """The index has a form that is not moved; the file stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateIndex:
    """An index after the frames. All values are positions in the file.

    target: where the index belongs, after the file type. start, content, end: of the index.
    media_start, media_end: of the frames.
    """

    target: int
    start: int
    content: int
    end: int
    media_start: int
    media_end: int


def last_chunk(moov: bytes) -> int | None:
    """Return the largest chunk offset in the content of a `moov` box; None if it has none.

    Raise ValueError or struct.error if the box is damaged.
    """
    tables = (struct.unpack_from(form, moov, position) for position, form in _tables(moov))
    return max((max(offsets) for offsets in tables if offsets), default=None)


def moved(moov: bytes, index: LateIndex) -> bytes:
    """Return the index as it must be at its target. moov: the content of the `moov` box."""
    if kinds := [kind.decode() for kind in _OTHER_OFFSETS if kind in moov]:
        raise UnmovableIndexError(f"the index contains {', '.join(kinds)}")
    box = bytearray(struct.pack(">I4s", 8 + len(moov), b"moov") + moov)
    chunks = 0
    try:
        for position, form in _tables(moov):
            offsets = struct.unpack_from(form, moov, position)
            if offsets and not index.media_start <= min(offsets) <= max(offsets) < index.media_end:
                raise UnmovableIndexError("a chunk is outside of the frames")
            chunks += len(offsets)
            struct.pack_into(form, box, 8 + position, *(offset + len(box) for offset in offsets))
    except (struct.error, ValueError) as error:  # also an offset that needs more than 32 bits now
        raise UnmovableIndexError("the index is damaged, or its offsets are too large") from error
    if not chunks:
        raise UnmovableIndexError("the index has no chunks")
    return bytes(box)


def _tables(moov: bytes) -> Iterator[tuple[int, str]]:
    """Yield the position of each table and the `struct` format of its numbers."""
    yield from _tables_in(moov, 0, len(moov), 0)


def _tables_in(moov: bytes, position: int, end: int, depth: int) -> Iterator[tuple[int, str]]:
    while position < end:
        size, kind = struct.unpack_from(">I4s", moov, position)
        if size < 8 or position + size > end:
            raise ValueError(f"the box {kind!r} has the impossible size {size}")
        if depth == len(_PATH) and kind in _OFFSETS:
            (count,) = struct.unpack_from(">I", moov, position + 12)
            form = f">{count}{_OFFSETS[kind]}"
            if 16 + struct.calcsize(form) > size:
                raise ValueError(f"the box {kind!r} is too small for {count} offsets")
            yield position + 16, form
        elif depth < len(_PATH) and kind == _PATH[depth]:
            yield from _tables_in(moov, position + 8, position + size, depth + 1)
        position += size
