"""Server-sent events: a parser without I/O.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import codecs
import re
from dataclasses import dataclass
from typing import Final

LINE_END: Final = re.compile(r"\r\n|\n|\r")
DEFAULT_TYPE: Final = "message"


@dataclass(frozen=True)
class ServerEvent:
    """An event. id: the last one that the stream has named; it stays for events without one."""

    type: str
    data: str
    id: str | None


class EventParser:
    """Parses one stream.

    last_id: of the last complete event; a new stream continues after it. retry: the seconds that
    the service wants between two streams; None until it has named them.
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""
        self._begun = False
        self._ended_with_cr = False
        self._type = ""
        self._data: list[str] = []
        self._id = last_id

    def feed(self, part: bytes) -> list[ServerEvent]:
        """Take the next bytes. Return the events that they complete; none for a heartbeat."""
        text = self._decoder.decode(part)
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        return [event for line in self._lines(text) if (event := self._line(line)) is not None]

    def _lines(self, text: str) -> list[str]:
        """Return the complete lines. A LF after a CR ends no second line, also in a later part."""
        if text and self._ended_with_cr:
            text = text.removeprefix("\n")
            self._ended_with_cr = False
        self._ended_with_cr = self._ended_with_cr or text.endswith("\r")
        *lines, self._rest = LINE_END.split(self._rest + text)
        return lines

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if re.fullmatch(r"[0-9]{1,9}", value):
                self.retry = int(value) / 1000
            case _:  # a comment, which begins with a colon, or a field of a later standard
                pass
        return None

    def _dispatch(self) -> ServerEvent | None:
        kind, data = self._type or DEFAULT_TYPE, self._data
        self._type, self._data = "", []
        self.last_id = self._id
        return ServerEvent(kind, "\n".join(data), self.last_id) if data else None
