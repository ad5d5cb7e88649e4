"""One page of a provider's list, parsed while it arrives."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final, cast

import ijson
from ijson.common import ObjectBuilder

from core.providers.lists.matching import Candidate

MAX_DEPTH: Final = 200
"""Of nested containers; more than any real page has."""
_OPENING: Final = frozenset({"start_map", "start_array"})
_CLOSING: Final = frozenset({"end_map", "end_array"})
Event = tuple[str, object]


class PageError(Exception):
    """The page is not JSON, or not a page of the list."""


class ListPage:
    """Collects the reduced items of a page; only one item is in memory at a time."""

    def __init__(
        self,
        member: str,
        ignored: Sequence[str],
        read_item: Callable[[Mapping[str, object]], Candidate | None],
    ) -> None:
        self.jobs: list[Candidate] = []
        self._members: dict[str, object] = {}
        self._is_list = self._in_list = self._ignores = False
        # Of open containers: 1 in the page, 2 in its list, 3 in an item.
        self._depth, self._key = 0, ""
        self._item: ObjectBuilder | None = None
        self._member, self._ignored, self._read_item = member, frozenset(ignored), read_item
        events = self._reduce()
        next(events)
        self._parser = cast("Generator[None, bytes, None]", ijson.basic_parse_coro(events))  # pyright: ignore[reportUnknownMemberType]  # ijson has no types

    def feed(self, part: bytes) -> None:
        """Parse the next part of the body. Raises PageError."""
        try:
            self._parser.send(part)
        except (ijson.JSONError, ValueError) as error:
            raise PageError(f"list page is not JSON ({type(error).__name__})") from None

    def close(self) -> Mapping[str, object]:
        """Return the page's other members. Raises PageError if the page is not complete."""
        try:
            self._parser.close()
        except (ijson.JSONError, ValueError) as error:
            raise PageError(f"list page is not JSON ({type(error).__name__})") from None
        if not self._is_list:
            raise PageError("list page without a list")
        return self._members

    def _reduce(self) -> Generator[None, Event, None]:
        while True:
            event, value = yield
            self._depth += (event in _OPENING) - (event in _CLOSING)
            if self._depth > MAX_DEPTH:
                raise PageError("list page nested too deeply")
            if self._item is None and self._depth == 3 and self._in_list and event == "start_map":
                self._item = ObjectBuilder()
            if self._item is not None:
                self._add_to_item(self._item, event, value)
            elif self._depth == 1 and event == "map_key":
                self._key, self._in_list = str(value), False
            elif self._depth == 1 and event not in _OPENING | _CLOSING:
                self._members[self._key] = value
            elif self._depth == 2 and event == "start_array" and self._key == self._member:
                self._in_list = self._is_list = True

    def _add_to_item(self, item: ObjectBuilder, event: str, value: object) -> None:
        if self._depth == 3 and event == "map_key":
            self._ignores = value in self._ignored
        if not self._ignores or self._depth == 2:
            item.event(event, value)  # pyright: ignore[reportUnknownMemberType]  # ijson has no types
        if self._depth == 2:
            self._item, self._ignores = None, False
            job = self._read_item(cast("Mapping[str, object]", item.value))  # pyright: ignore[reportUnknownMemberType]
            if job is not None:
                self.jobs.append(job)
