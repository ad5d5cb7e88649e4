"""The structure of WebM files (EBML, RFC 8794; Matroska, RFC 9559): elements with id and size."""

from collections.abc import Generator

from core.domain.media.containers import matroska
from core.domain.media.containers.scan import Need, Parser, Read, Skip, SkipRest, Structure, read
from core.domain.media.content import IncompleteError

_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675


def parse() -> Parser:
    """Require a segment with a cluster, and no byte between elements.

    A live recording has a segment and clusters of unknown size: their children are walked as if
    they were not nested. One that is cut between two of them looks complete.
    """
    position = clusters = 0
    end: int | None = None
    contents = {matroska.INFO: b"", matroska.TRACKS: b""}
    while (end is None or position < end) and (first := (yield Read(1))):
        identifier, id_bytes = yield from _number(first, keep_marker=True)
        size, size_bytes = yield from _number((yield from read(1)), keep_marker=False)
        position += id_bytes + size_bytes
        unknown = size == (1 << 7 * size_bytes) - 1
        clusters += identifier == _CLUSTER
        if identifier == _SEGMENT:
            end = None if unknown else position + size
        elif not unknown:
            if identifier in contents and not contents[identifier] and size <= matroska.MAX_BYTES:
                contents[identifier] = yield from read(size)
            else:
                yield Skip(size)
            position += size
        elif identifier != _CLUSTER:
            raise IncompleteError(f"the element {identifier:#x} has no size")
    if not clusters:
        raise IncompleteError("the file has no cluster")
    if end is not None and position < end:
        raise IncompleteError("the file ends before its segment")
    yield SkipRest()
    facts = matroska.facts_of(contents[matroska.INFO], contents[matroska.TRACKS])
    return Structure(facts=facts)


def _number(first: bytes, *, keep_marker: bool) -> Generator[Need, bytes, tuple[int, int]]:
    """Return a number of variable length and its length, which its first byte defines.

    keep_marker: identifiers are written with the bit that marks the length, sizes without it.
    """
    length = 9 - first[0].bit_length()
    if length > 8:
        raise IncompleteError("an element's id or size has more than 8 bytes")
    number = int.from_bytes(first + (yield from read(length - 1)), "big")
    return (number if keep_marker else number & ((1 << 7 * length) - 1)), length
