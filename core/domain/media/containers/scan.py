"""A scan of a file's structure while it streams by, in bounded memory.

A format's parser is a generator that yields what it needs next, so that it reads like a parser of
a whole file. The scan holds the bytes of one `Read` at most.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from core.domain.media.containers.facts import MediaFacts
from core.domain.media.containers.index import LateIndex
from core.domain.media.content import IncompleteError


@dataclass(frozen=True, slots=True)
class Read:
    """Receive exactly this many bytes, or none if the file ends here.

    may_be_short: receive the bytes that are left, if they are fewer.
    """

    size: int
    may_be_short: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """Receive nothing after this many bytes. A file that ends earlier is incomplete.

    may_end: a file that ends earlier is not.
    """

    size: int
    may_end: bool = False


@dataclass(frozen=True, slots=True)
class SkipTo:
    """Receive nothing after the next occurrence of this byte, which is skipped too."""

    byte: int


@dataclass(frozen=True, slots=True)
class SkipRest:
    """Receive nothing at the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What a parser has read. late_index: of a film whose index can be moved to the front."""

    facts: MediaFacts | None = None
    late_index: LateIndex | None = None


Need = Read | Skip | SkipTo | SkipRest
Parser = Generator[Need, bytes, Structure]


class Scan:
    """Feeds a parser with the chunks of a file. structure: what it returned at the end."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._need: Need | None = next(parser, None)
        self._held = bytearray()
        self._skipped = 0
        self.structure = Structure()

    def feed(self, chunk: bytes) -> None:
        """Parse the next chunk. Raises IncompleteError for a damaged structure."""
        position = 0
        while self._need is not None and position < len(chunk):
            position = self._take(self._need, chunk, position)

    def finish(self) -> None:
        """Check that the file may end here. Raises IncompleteError."""
        while self._need is not None and self._may_end(self._need):
            self._send(bytes(self._held))
        if self._need is not None:
            raise IncompleteError("the file ends too early")

    def _may_end(self, need: Need) -> bool:
        match need:
            case Read(_, may_be_short):
                return may_be_short or not self._held
            case Skip(_, may_end):
                return may_end
            case SkipTo():
                return False
            case SkipRest():
                return True

    def _take(self, need: Need, chunk: bytes, position: int) -> int:
        """Give the parser its share of the chunk. Return the position after it."""
        left = len(chunk) - position
        match need:
            case Read(size):
                used = min(left, size - len(self._held))
                self._held += chunk[position : position + used]
                if len(self._held) == size:
                    self._send(bytes(self._held))
            case Skip(size):
                used = min(left, size - self._skipped)
                self._skipped += used
                if self._skipped == size:
                    self._send(b"")
            case SkipTo(byte):
                index = chunk.find(byte, position)
                used = left if index < 0 else index + 1 - position
                if index >= 0:
                    self._send(b"")
            case SkipRest():
                used = left
        return position + used

    def _send(self, received: bytes) -> None:
        self._held.clear()
        self._skipped = 0
        try:
            self._need = self._parser.send(received)
            while isinstance(self._need, Read | Skip) and not self._need.size:
                self._need = self._parser.send(b"")
        except StopIteration as end:
            self.structure = end.value
            self._need = None


def read(size: int) -> Generator[Need, bytes, bytes]:
    """Receive exactly this many bytes. Raises IncompleteError if the file ends before them."""
    received = yield Read(size)
    if len(received) < size:
        raise IncompleteError("the file ends too early")
    return received
