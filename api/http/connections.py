"""Connections of clients: uvicorn's protocol, with bounds on what one of them may take, in time and
in bytes.

A connection reads a request's head, then its body, waits for the answer, and is idle until the next
one. Each state has its limit here; whoever passes it is told why, where that is possible, and cut
off. Our own time is no client's fault: while an answer is being made, or reading pauses because we
have enough, no clock runs.
"""

import array
import asyncio
import fcntl
import json
import socket
import struct
import sys
import termios
from contextlib import suppress
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import httptools
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.http.problems import (
    MEDIA_TYPE,
    RETRY_AFTER_SECONDS,
    STATUS,
    ProblemError,
    problem_document,
)
from core.domain.failures import FailureCode
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import API_CONNECTIONS, API_CONNECTIONS_CUT

KEEP_ALIVE_SECONDS: Final = 75
"""Longer than a load balancer keeps idle connections (60 s is usual), so that it never sends into
one that closes.
"""

CLIENT_SECONDS: Final = 8.0
"""In which a request's head comes whole, and of a body or an answer MIN_BYTES, or what there is."""
MIN_BYTES: Final = 64 * 1024
LINGER_SECONDS: Final = 1.5
"""For a client that was refused to read why: a connection closed at once would take the answer back
with it.
"""
SETTLED_SECONDS: Final = 1.0
"""After an answer: what a client takes as it comes is gone by then, and nobody has to ask the
kernel.
"""
LOOK_SECONDS: Final = 0.25
"""How often all are looked at. With the two above, nobody slow is there for 10 s."""

STOOD_STILL_SECONDS: Final = 1.0
"""So much too late is no busy loop any more."""

_VERSIONS: Final = ("1.1", "1.0")
MAX_HEAD_BYTES: Final = 32 * 1024
"""Request line, headers, trailers, and the frame of a chunked body: as much as nginx lets through
by default.
"""
MAX_FIELDS: Final = 100
MAX_PIPELINED: Final = 8
"""Requests that are sent before the answer to the first; hardly any client does that at all."""

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, on, for 0 s."""

log = get_logger(__name__)


class Phase(Enum):
    """What a connection does. LATE: its answer went out before its body was in. LEAVING: refused,
    not closed yet.
    """

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    LATE = "late"
    IDLE = "idle"
    LEAVING = "leaving"


_WAITING: Final = (Phase.HEAD, Phase.IDLE, Phase.LEAVING)
"""Nobody's work is lost if such a connection is closed."""


class Connections(ServerState):
    """All connections of this process: looked at in turn, and never more than `most` that wait for
    nothing.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def make_room(self, newcomer: "GuardedProtocol") -> bool:
        """Where there are too many, closes those that have waited longest, some at once. False: all
        are at work.

        Who sends nothing, or slowly, makes room for who sends: an honest head comes with its
        connection.
        """
        excess = len(self.connections) - self.most
        if excess <= 0:
            return True
        waiting = [one for one in self._all() if one.phase in _WAITING and one is not newcomer]
        for one in sorted(waiting, key=lambda one: one.since)[: max(excess, self.most // 32)]:
            one.cut("too_many")
            self.connections.discard(one)
        return len(self.connections) <= self.most

    async def watch(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = loop.time()
            away = now - last - LOOK_SECONDS
            last = now
            for one in self._all():
                try:
                    one.look(now, away if away > STOOD_STILL_SECONDS else 0.0)
                except Exception:  # one of them must not end the watch over all
                    log.exception("connection given up")
                    self.connections.discard(one)
                    one.transport.abort()
            API_CONNECTIONS.set(len(self.connections))

    def _all(self) -> "list[GuardedProtocol]":
        return [one for one in self.connections if isinstance(one, GuardedProtocol)]


class _RefusedError(Exception):
    """Ends the parsing of a request."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. phase, since: what it does, and since when, by the loop's clock."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.phase = Phase.HEAD
        self.since = self.loop.time()
        self._refused_as = FailureCode.MALFORMED_REQUEST
        self._requests = 0
        self._answering: RequestResponseCycle | None = None
        self._fields = self._field_bytes = 0
        self._received_bytes = self._body_bytes = 0
        self._moved_bytes = 0
        self._owes = False
        self._owed: tuple[float, int] | None = None

    # ---- what comes

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's
        super().connection_made(transport)
        state = self.server_state
        if isinstance(state, Connections) and not state.make_room(self):
            self._refuse(FailureCode.SERVICE_UNAVAILABLE, "too_many")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None and not self._answering.response_complete:
            _disconnect(
                self._answering
            )  # uvicorn tells the newest one, which may still wait for this one
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.LEAVING or self.parser is None:
            return
        self._unset_keepalive_if_required()
        if self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # nothing is offered: answered as if it had not been asked for
        except httptools.HttpParserError:
            self._refuse(self._refused_as, self._refused_as.value)
            return
        self._received_bytes += len(data)
        if (
            self.phase is not Phase.ANSWER
            and self._received_bytes - 2 * self._body_bytes > MAX_HEAD_BYTES
        ):
            self._refuse(FailureCode.HEADERS_TOO_LARGE, FailureCode.HEADERS_TOO_LARGE.value)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.phase is not Phase.HEAD:
            self._enter(Phase.HEAD)
        self._fields = self._field_bytes = 0
        self._received_bytes = self._body_bytes = 0
        if not self.transport.get_write_buffer_size():
            self._owed = None

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED or not self._is_understood():
            raise _RefusedError
        super().on_headers_complete()
        self._requests += 1
        self._enter(Phase.BODY)
        self._owes = True

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._moved_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(Phase.IDLE if self.cycle.response_complete else Phase.ANSWER)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.phase in (Phase.BODY, Phase.ANSWER):
            self._enter(Phase.LATE if self.phase is Phase.BODY else Phase.IDLE)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _count_head(self, size_bytes: int) -> None:
        self._field_bytes += size_bytes
        if self._fields > MAX_FIELDS or self._field_bytes > MAX_HEAD_BYTES:
            self._refused_as = FailureCode.HEADERS_TOO_LARGE
            raise _RefusedError

    def _is_understood(self) -> bool:
        """Where an upgrade is asked for, the parser leaves a body out: it would be read as the next
        request.
        """
        parser = self.parser
        if parser is None or parser.get_http_version() not in _VERSIONS:
            return False
        has_body = any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )
        return not (has_body and parser.should_upgrade())

    # ---- what takes too long

    def look(self, now: float, away_seconds: float) -> None:
        """At what this connection has done since; now: by the loop's clock.

        away_seconds: how long this process, or its machine, stood still before. What came meanwhile
        is not read yet.
        """
        self.since += away_seconds
        if self._owed is not None:
            self._owed = (self._owed[0] + away_seconds, self._owed[1])
        waited = now - self.since
        if self.phase is Phase.LEAVING:
            if waited > LINGER_SECONDS:
                self._reset()
        elif self._takes_too_long(now):
            self.cut("slow_reader")
        elif self._waits_for_us():
            self.since, self._moved_bytes = now, 0
        elif self.phase is Phase.IDLE:
            if waited > KEEP_ALIVE_SECONDS:
                self.transport.close()
        elif waited > CLIENT_SECONDS and self.phase is not Phase.ANSWER:
            self._end_slow(now)

    def _end_slow(self, now: float) -> None:
        match self.phase:
            case Phase.BODY if self._moved_bytes >= MIN_BYTES:
                self.since, self._moved_bytes = now, 0
            case Phase.BODY:
                self._refuse(FailureCode.REQUEST_TIMED_OUT, "slow_body")
            case Phase.HEAD if self._received_bytes:
                self._refuse(FailureCode.REQUEST_TIMED_OUT, "slow_head")
            case Phase.HEAD:
                self.cut("silent")
            case _:
                self.cut("slow_body")

    def _waits_for_us(self) -> bool:
        """What is missing is not read, or not asked for, by our own choice."""
        asked_later = self.phase is Phase.BODY and self.cycle.waiting_for_100_continue
        return self.phase in (Phase.HEAD, Phase.BODY) and (asked_later or self.flow.read_paused)

    def _takes_too_long(self, now: float) -> bool:
        """What it was sent lies here, or once its answer is whole in the kernel, and it takes too
        little of it.
        """
        if not self._owes:
            return False
        since, owed = now, self.transport.get_write_buffer_size()
        if self.phase in (Phase.IDLE, Phase.LATE):
            if now - self.since < SETTLED_SECONDS:
                return False
            since, owed = self.since, owed + _unread_bytes(self.transport)
            self._owes = owed > 0
        if owed == 0:
            self._owed = None
        elif self._owed is None or owed <= self._owed[1] - MIN_BYTES:
            self._owed = (now if self._owed else since, owed)
        return self._owed is not None and now - self._owed[0] > CLIENT_SECONDS

    # ---- the end

    def cut(self, reason: str) -> None:
        """Without a word."""
        API_CONNECTIONS_CUT.labels(reason).inc()
        self._reset()

    def _refuse(self, code: FailureCode, reason: str) -> None:
        """With an answer, unless it would come amid another one."""
        cycle = self.cycle
        is_open = self._requests > 0 and not cycle.response_complete
        may_answer = (self.phase is Phase.HEAD and not is_open) or (
            self.phase is Phase.BODY
            and is_open
            and not cycle.response_started
            and not self.pipeline
        )
        if self.transport.is_closing() or not may_answer:
            self.cut(reason)
            return
        API_CONNECTIONS_CUT.labels(reason).inc()
        if is_open:
            _disconnect(cycle)
        self._enter(Phase.LEAVING)
        self.transport.write(_answer(code))
        self.transport.write_eof()
        # what still comes is dropped: unread, it would turn the close into a reset
        self.flow.resume_reading()

    def _reset(self) -> None:
        """At once: what the client has not taken is dropped, here and in the kernel."""
        with suppress(OSError):  # it is gone already
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, _RESET
            )
        self._enter(Phase.LEAVING)
        self.transport.abort()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since = self.loop.time()
        self._moved_bytes = 0

    def _unsupported_upgrade_warning(self) -> None:
        """Any client can ask: no line in the log for it."""


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Nothing more comes, nothing more is sent."""
    cycle.disconnected = True
    cycle.message_event.set()


def _unread_bytes(transport: asyncio.Transport) -> int:
    """What the other side has not acknowledged yet, in the kernel. 0 where the system does not
    tell.
    """
    if sys.platform != "linux":
        return 0
    waiting = array.array("i", [0])
    try:
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
    except (OSError, ValueError):
        return 0  # it is gone
    return waiting[0]


def _answer(code: FailureCode) -> bytes:
    """A whole answer, by hand: there is no request that the application could see."""
    body = json.dumps(problem_document(ProblemError(code), "/"), separators=(",", ":")).encode()
    status = HTTPStatus(STATUS[code])
    retry = (
        f"retry-after: {RETRY_AFTER_SECONDS}\r\n"
        if status is HTTPStatus.SERVICE_UNAVAILABLE
        else ""
    )
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        f"{retry}connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
