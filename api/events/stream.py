"""One open event stream: its buffer, and the response that writes it.

An own response class, because the usual ones need two or three times the memory and tasks per
stream: decision 40.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.events.frames import HEARTBEAT, RETRY, Frames
from api.http.middleware.head_requests import is_head
from core.domain.ids import EndpointId, EventId, ExecutionId, UserId

BUFFERED_EVENTS: Final = 32
HEARTBEAT_SECONDS: Final = 15.0
LIFE_SECONDS: Final = 900.0
"""So that a revoked key ends, and streams move to new processes. The client resumes."""
BLOCKED_SECONDS: Final = 30.0
"""A client that takes nothing for this long is disconnected."""
ABORT: Final = "takeone.abort"
"""The extension of the ASGI scope whose `call` closes the connection at once."""
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


@dataclass(slots=True, eq=False, kw_only=True)
class Stream:
    """The state of a stream. Times are of the event loop.

    execution_id: None: the stream of all executions of the user. last: the sequence up to which the
    client has the events. stale: events were dropped, so a snapshot comes next. endpoint_id: the
    stream of a listening endpoint; offered: the attempts that it has got, seen: the last event of
    the stream that it resumes.
    """

    user_id: UserId
    credential: str
    execution_id: ExecutionId | None = None
    endpoint_id: EndpointId | None = None
    offered: frozenset[tuple[EventId, int, int]] = frozenset()
    seen: EventId | None = None
    last: int = 0
    ended: bool = False
    stale: bool = False
    buffer: deque[bytes] = field(default_factory=deque[bytes])
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    heartbeat_at: float = 0.0
    expires_at: float = 0.0
    blocked_since: float | None = None
    abort: Callable[[], None] | None = None

    def push(self, frames: Frames) -> None:
        """Add frames. A client that is too slow for them gets a snapshot instead, or the end."""
        if self.stale or self.ended:
            return
        if len(self.buffer) + len(frames.events) > BUFFERED_EVENTS:
            self.buffer.clear()
            self.stale = self.execution_id is not None
            self.ended = not self.stale
        else:
            self.buffer.extend(frames.events)
            self.last = frames.last
            self.ended = frames.ended
        self.wake.set()

    def end(self, *goodbye: bytes) -> None:
        """End the stream after what is buffered."""
        if not self.ended:
            self.buffer.extend(goodbye)
            self.ended = True
        self.wake.set()

    def tend(self, now: float) -> None:
        """Send a heartbeat, end the stream or disconnect its client, if it is time."""
        if self.blocked_since is not None:
            if now - self.blocked_since > BLOCKED_SECONDS and self.abort is not None:
                self.abort()
        elif now >= self.expires_at:
            self.end()
        elif now >= self.heartbeat_at:
            if not self.buffer:
                self.buffer.append(HEARTBEAT)
            self.wake.set()


Following = Callable[[Stream], AbstractContextManager[None]]
Snapshot = Callable[[Stream], Awaitable[Frames]]


class EventStream(Response):
    """A `text/event-stream`: one task writes it, another waits for the client to disconnect."""

    media_type = "text/event-stream"

    def __init__(
        self,
        stream: Stream,
        first: Sequence[bytes] = (),
        *,
        following: Following,
        snapshot: Snapshot,
    ) -> None:
        """following: registers the stream while it is open. snapshot: reads a new one."""
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._stream = stream
        self._following = following
        self._snapshot = snapshot
        self._first = b"".join((RETRY, *first))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if not is_head(scope):
            await self._write(scope, receive, send)
        await send({"type": "http.response.body", "body": b""})

    async def _write(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream, loop = self._stream, asyncio.get_running_loop()
        stream.abort = scope.get("extensions", {}).get(ABORT, {}).get("call")
        stream.expires_at = loop.time() + LIFE_SECONDS
        with self._following(stream):
            watcher = asyncio.create_task(_end_with_client(receive, stream))
            try:
                chunk: bytes | None = self._first
                while chunk is not None:
                    stream.blocked_since = loop.time()
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    stream.blocked_since = None
                    stream.heartbeat_at = loop.time() + HEARTBEAT_SECONDS
                    chunk = await self._next()
            finally:
                watcher.cancel()

    async def _next(self) -> bytes | None:
        """Return what to send next; None at the end."""
        stream = self._stream
        while True:
            if stream.stale:
                frames = await self._snapshot(stream)
                return b"".join(frames.events)
            if stream.buffer:
                chunk = b"".join(stream.buffer)
                stream.buffer.clear()
                return chunk
            if stream.ended:
                return None
            stream.wake.clear()
            await stream.wake.wait()


async def _end_with_client(receive: Receive, stream: Stream) -> None:
    with suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
        stream.buffer.clear()
        stream.stale = False
        stream.end()
