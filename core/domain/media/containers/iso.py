"""The structure of MP4 and QuickTime files (ISO/IEC 14496-12): boxes, each with its size."""

import struct
from collections.abc import Generator
from dataclasses import dataclass

from core.domain.media.containers import moov
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.containers.index import LateIndex, last_chunk
from core.domain.media.containers.scan import Need, Parser, Read, Skip, SkipRest, Structure, read
from core.domain.media.content import IncompleteError

_MAX_FILE_TYPE_BYTES = 4096
_FILLERS = {b"free", b"skip"}
_MOVABLE = {b"ftyp", b"wide", b"mdat", b"moov", b"\0\0\0\0", *_FILLERS}
"""Other boxes may contain positions in the file, or a signature over it (`uuid`)."""


def parse() -> Parser:
    """Require one `moov` (the index), at least one `mdat` (the frames), and no byte between boxes.

    After all frames of the index, a box header that is cut off and a cut filler are accepted: some
    writers pad. A fragmented file that is cut between two fragments looks complete.
    """
    film = _Film()
    while len(head := (yield Read(8, may_be_short=film.complete))) == 8:
        start, kind = film.position, head[4:8]
        size, head_size = yield from _content_size(head)
        content = start + head_size
        if size is None:
            film.add(kind, start, content, None)
            yield SkipRest()
        elif kind == b"moov" and size <= moov.MAX_BYTES:
            film.read_index((yield from read(size)))
            film.add(kind, start, content, content + size)
        else:
            yield Skip(size, may_end=kind in _FILLERS and film.complete)
            film.add(kind, start, content, content + size)
    return film.structure()


def _content_size(head: bytes) -> Generator[Need, bytes, tuple[int | None, int]]:
    """Return the size of a box's content, None for a box that extends to the file's end.

    In addition, return the size of its header.
    """
    size, head_size = int.from_bytes(head[:4], "big"), 8
    if size == 0:
        return None, head_size
    if size == 1:
        size, head_size = int.from_bytes((yield from read(8)), "big"), 16
    if size < head_size:
        raise IncompleteError(f"the box {head[4:8]!r} has the impossible size {size}")
    return size - head_size, head_size


@dataclass(slots=True)
class _Film:
    """What the boxes up to a position in the file contain."""

    position: int = 0
    file_type_end: int = 0
    indexes: int = 0
    index_start: int = 0
    index_content: int = 0
    index_end: int | None = None
    last_chunk: int | None = None
    facts: MediaFacts | None = None
    data_boxes: int = 0
    data_start: int = 0
    data_end: int | None = 0
    movable: bool = True

    @property
    def complete(self) -> bool:
        """Return whether every chunk that the index lists begins in the boxes so far."""
        return self.last_chunk is not None and self.last_chunk < (self.data_end or 0)

    def read_index(self, content: bytes) -> None:
        """Read what the content of the `moov` box states."""
        self.facts = moov.facts_of(content, faststart=not self.data_boxes)
        try:
            self.last_chunk = last_chunk(content)
        except (struct.error, ValueError):
            self.movable = False

    def add(self, kind: bytes, start: int, content: int, end: int | None) -> None:
        """Add a box that has been read. end: None for a box that extends to the file's end."""
        self.movable = self.movable and kind in _MOVABLE
        if kind == b"ftyp" and not start and end and end <= _MAX_FILE_TYPE_BYTES:
            self.file_type_end = end
        elif kind == b"moov":
            self.indexes += 1
            self.index_start, self.index_content, self.index_end = start, content, end
            self.facts = self.facts or MediaFacts(faststart=not self.data_boxes)
        elif kind == b"mdat":
            self.data_start = self.data_start or content
            self.data_boxes += 1
            self.data_end = end
        if end is not None:
            self.position = end

    def structure(self) -> Structure:
        """Return what the whole file contains. Raise IncompleteError if something is missing."""
        if self.indexes != 1:
            raise IncompleteError(f"the file has {self.indexes} moov boxes instead of one")
        if not self.data_boxes:
            raise IncompleteError("the file has no mdat box")
        if (self.last_chunk or 0) > self.position and self.data_end is not None:
            raise IncompleteError("the file ends before the last frames of its index")
        return Structure(facts=self.facts, late_index=self._late_index())

    def _late_index(self) -> LateIndex | None:
        if (
            not self.movable
            or not self.file_type_end
            or self.last_chunk is None
            or self.index_end is None
            or self.data_end is None
            or self.data_end > self.index_start
        ):
            return None
        return LateIndex(
            target=self.file_type_end,
            start=self.index_start,
            content=self.index_content,
            end=self.index_end,
            media_start=self.data_start,
            media_end=self.data_end,
        )
