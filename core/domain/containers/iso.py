"""The structure of MP4 and QuickTime files (ISO/IEC 14496-12): boxes, each with its size."""

from collections.abc import Generator

from core.domain.containers.scan import Need, Parser, Read, Skip, SkipRest, read
from core.domain.media import IncompleteError


def parse() -> Parser:
    """Require one `moov` (the index), at least one `mdat` (the frames), and no byte between boxes.

    A fragmented file that is cut between two fragments looks complete.
    """
    indexes = data_boxes = 0
    while head := (yield Read(8)):
        kind = head[4:8]
        indexes += kind == b"moov"
        data_boxes += kind == b"mdat"
        size = yield from _content_size(head)
        if size is None:
            yield SkipRest()
        else:
            yield Skip(size)
    if indexes != 1:
        raise IncompleteError(f"the file has {indexes} moov boxes instead of one")
    if not data_boxes:
        raise IncompleteError("the file has no mdat box")


def _content_size(head: bytes) -> Generator[Need, bytes, int | None]:
    """Return the size of a box's content, None for a box that extends to the file's end."""
    size, head_size = int.from_bytes(head[:4], "big"), 8
    if size == 0:
        return None
    if size == 1:
        size, head_size = int.from_bytes((yield from read(8)), "big"), 16
    if size < head_size:
        raise IncompleteError(f"the box {head[4:8]!r} has the impossible size {size}")
    return size - head_size
