"""A tap for PostgreSQL that names transactions at their commit.

Moments: `commit:LABEL` before the server receives COMMIT, `committed:LABEL` before the client
receives its confirmation.
"""

import re
import struct
from typing import Final

from tests.chaos.links import Line, tokens_in

# Requests before the first message: their response is one byte.
_ENCRYPTION_REQUESTS: Final = (80877103, 80877104)

# A transaction's label, by the statement it ran; the first match counts.
_LABELS: Final = tuple(
    (label, re.compile(sql, re.IGNORECASE))
    for label, sql in (
        ("finish", r"INSERT INTO webhooks\b"),
        ("accept", r"INSERT INTO executions\b"),
        ("intent", r"INSERT INTO sends\b"),
        ("settle", r"UPDATE charges\b"),
        ("asset", r"INSERT INTO assets\b"),
        ("callback", r"INSERT INTO callbacks\b"),
        ("attempt", r"INSERT INTO webhook_attempts\b"),
        ("delivered", r"UPDATE webhook_attempts\b"),
        ("answer", r"UPDATE sends\b"),
        ("claim", r"UPDATE executions\b"),
        ("media-start", r"UPDATE jobs SET submitted_at = coalesce"),
        ("content", r"INSERT INTO content_keys\b"),
    )
)


def label_of(statements: list[str]) -> str:
    """Return the label of a transaction; `other` if no trap waits for it."""
    text = " ; ".join(" ".join(sql.split()) for sql in statements)
    return next((label for label, pattern in _LABELS if pattern.search(text)), "other")


class PostgresTap:
    """A tap for one connection.

    asyncpg runs one query at a time on each, so the response after COMMIT is COMMIT's.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._up = bytearray()
        self._down = bytearray()
        self._started = False
        self._one_byte_answers = 0
        self._prepared: dict[bytes, str] = {}
        self._statements: list[str] = []
        self._tokens: frozenset[str] = frozenset()
        self._committing: str | None = None

    def up(self, data: bytes) -> None:
        self._up += data
        while not self._started and len(self._up) >= 8:
            length, code = struct.unpack_from("!ii", self._up)
            if len(self._up) < length:
                return
            self._one_byte_answers += code in _ENCRYPTION_REQUESTS
            self._started = code not in _ENCRYPTION_REQUESTS
            self._line.up.send(_take(self._up, length))
        while self._started and (length := _message_length(self._up)):
            self._ask(_take(self._up, length))

    def _ask(self, message: bytes) -> None:
        kind, body = message[:1], message[5:]
        if kind == b"P":
            name, sql, _ = body.split(b"\0", 2)
            self._prepared[name] = sql.decode(errors="replace")
        elif kind == b"B":
            _, name, rest = body.split(b"\0", 2)
            self._statements.append(self._prepared.get(name, ""))
            self._tokens |= tokens_in(rest)
        elif kind == b"Q":
            self._query(body.rstrip(b"\0").decode(errors="replace"))
        self._line.up.send(message)

    def _query(self, sql: str) -> None:
        word = sql.lstrip()[:8].upper()
        if word.startswith(("BEGIN", "START", "ROLLBACK")):
            self._statements, self._tokens = [], frozenset()
        elif word.startswith("COMMIT"):
            self._committing = label_of(self._statements)
            if self._committing != "other":
                self._line.meet(f"commit:{self._committing}", self._tokens, self._line.up)
        else:
            self._statements.append(sql)

    def down(self, data: bytes) -> None:
        self._down += data
        while self._one_byte_answers and self._down:
            self._one_byte_answers -= 1
            self._line.down.send(_take(self._down, 1))
        ready = bytearray()
        while length := _message_length(self._down):
            message = _take(self._down, length)
            if self._committing is not None and message[:1] == b"C" and message[5:11] == b"COMMIT":
                self._line.down.send(bytes(ready))
                ready.clear()
                self._committed(self._committing)
            ready += message
        if ready:
            self._line.down.send(bytes(ready))

    def _committed(self, label: str) -> None:
        self._committing = None
        if label != "other":
            self._line.meet(f"committed:{label}", self._tokens, self._line.down)


def _message_length(buffer: bytearray) -> int:
    """Return the length of the first message with its type; 0 if it is incomplete."""
    if len(buffer) < 5:
        return 0
    length = 1 + int.from_bytes(buffer[1:5], "big")
    return length if len(buffer) >= length else 0


def _take(buffer: bytearray, length: int) -> bytes:
    taken = bytes(buffer[:length])
    del buffer[:length]
    return taken
