"""TCP proxies before the servers, one for each client process and server, that can stop at a named
moment.

A `Link` listens on a loopback port and passes bytes to its server. A tap reads along, both ways,
and names moments. What a trap takes is kept back together with everything behind it, until the
verdict.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from tests.chaos.gate import Gate, Verdict

CHUNK_BYTES = 65536
_TOKENS = re.compile(rb"(?:exec|job|evt)_[0-9a-f]{32}|chaos-\d{6}")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close by reset


def tokens_in(data: bytes) -> frozenset[str]:
    """Whose bytes these are: our ids, and the number in a prompt."""
    return frozenset(found.decode() for found in _TOKENS.findall(data))


class Flow:
    """One direction of a connection, or one stream of it: while it is blocked, its bytes pile up
    here.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._blocks = 0
        self._kept = bytearray()

    @property
    def is_blocked(self) -> bool:
        return self._blocks > 0

    def send(self, data: bytes) -> None:
        if self._blocks:
            self._kept += data
        else:
            self._send(data)

    def block(self) -> None:
        self._blocks += 1

    def unblock(self) -> None:
        self._blocks -= 1
        if self._blocks == 0 and self._kept:
            kept, self._kept = bytes(self._kept), bytearray()
            self._send(kept)


class Tap(Protocol):
    """Reads along. Whatever it is given, it sends on by line.up or line.down, after naming its
    moments.
    """

    def up(self, data: bytes) -> None: ...

    def down(self, data: bytes) -> None: ...


class PlainTap:
    """Knows nothing."""

    def __init__(self, line: "Line") -> None:
        self._line = line

    def up(self, data: bytes) -> None:
        self._line.up.send(data)

    def down(self, data: bytes) -> None:
        self._line.down.send(data)


class Line:
    """One connection through a link."""

    def __init__(
        self, process: str, gate: Gate, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._gate = gate
        self._client = client
        self._server = server
        self._parked = 0
        self._no_more_parked = asyncio.Event()
        self._no_more_parked.set()
        self.up = Flow(lambda data: _write(server, data))
        self.down = Flow(lambda data: _write(client, data))

    def meet(self, moment: str, tokens: frozenset[str], flow: Flow) -> None:
        """Name a moment before its bytes are sent on `flow`."""
        flow.block()
        self._parked += 1
        self._no_more_parked.clear()

        def decide(verdict: Verdict) -> None:
            self._parked -= 1
            if verdict is Verdict.DROP:
                self.cut()
            flow.unblock()
            if self._parked == 0:
                self._no_more_parked.set()

        if not self._gate.meet(self._process, moment, tokens, decide):
            decide(Verdict.GO_ON)

    def cut(self) -> None:
        """Both ends see a reset."""
        for writer in (self._client, self._server):
            with contextlib.suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
            writer.transport.abort()

    async def settled(self) -> None:
        """Nothing of it is parked."""
        await self._no_more_parked.wait()


class Link:
    """A proxy for one client process. `port` is where that process is told its server is."""

    def __init__(
        self, process: str, gate: Gate, targets: Callable[[], list[int]], tap: Callable[[Line], Tap]
    ) -> None:
        """targets: ports of the server, the first that takes a connection gets it."""
        self._process = process
        self._gate = gate
        self._targets = targets
        self._tap = tap
        self._listener: asyncio.Server | None = None
        self._lines: set[Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512)
        self.port = int(self._listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> int:
        """Reset every connection that is open now; how many there were."""
        lines = list(self._lines)
        for line in lines:
            line.cut()
        return len(lines)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        connected = await self._connect()
        if connected is None:
            client.transport.abort()
            return
        answers, server = connected
        line = Line(self._process, self._gate, client, server)
        self._lines.add(line)
        tap = self._tap(line)
        pumps = [
            asyncio.create_task(_pump(reader, tap.up, server)),
            asyncio.create_task(_pump(answers, tap.down, client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await line.settled()  # what a dead process had sent before may still be let through
            if pumps[0].done() and not pumps[1].done():
                await _half_closed(server, pumps[1])
        finally:
            self._lines.discard(line)
            for pump in pumps:
                pump.cancel()
            for writer in (server, client):
                writer.close()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in self._targets():
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None


async def _half_closed(server: asyncio.StreamWriter, answering: "asyncio.Task[None]") -> None:
    """The client has gone: what it sent last still reaches the server before the
    connection ends.
    """
    with contextlib.suppress(OSError, TimeoutError):
        await asyncio.wait_for(server.drain(), 1)
        if server.can_write_eof():
            server.write_eof()
        await asyncio.wait([answering], timeout=0.3)


async def _pump(
    reader: asyncio.StreamReader, take: Callable[[bytes], None], writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            take(data)
            await writer.drain()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.transport.is_closing():
        writer.write(data)
