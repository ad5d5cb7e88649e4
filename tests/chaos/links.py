"""TCP proxies, one for each client process and server, that can stop at a named moment.

A `Link` listens on a loopback port and passes bytes to its server. A tap reads both directions and
names moments. What a trap takes is held with everything behind it, until the verdict.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from tests.chaos.traps import TrapSet, Verdict

CHUNK_BYTES = 65536
_TOKENS = re.compile(rb"(?:exec|job|evt)_[0-9a-f]{32}|chaos-\d{6}")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close by reset


def tokens_in(data: bytes) -> frozenset[str]:
    """Return the tokens in these bytes: the product's ids, and the number in a prompt."""
    return frozenset(found.decode() for found in _TOKENS.findall(data))


class Flow:
    """One direction or one stream of a connection, which buffers its bytes while it is blocked."""

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
    """A reader of a connection.

    It names the moments of the bytes it receives and passes them on by line.up or line.down.
    """

    def up(self, data: bytes) -> None: ...

    def down(self, data: bytes) -> None: ...


class PlainTap:
    """A tap that names no moments."""

    def __init__(self, line: "Line") -> None:
        self._line = line

    def up(self, data: bytes) -> None:
        self._line.up.send(data)

    def down(self, data: bytes) -> None:
        self._line.down.send(data)


class Line:
    """One connection through a link."""

    def __init__(
        self,
        process: str,
        trap_set: TrapSet,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._trap_set = trap_set
        self._client = client
        self._server = server
        self._held_count = 0
        self._nothing_held = asyncio.Event()
        self._nothing_held.set()
        self.up = Flow(lambda data: _write(server, data))
        self.down = Flow(lambda data: _write(client, data))

    def meet(self, moment: str, tokens: frozenset[str], flow: Flow) -> None:
        """Report a moment before its bytes are sent on `flow`."""
        flow.block()
        self._held_count += 1
        self._nothing_held.clear()

        def decide(verdict: Verdict) -> None:
            self._held_count -= 1
            if verdict is Verdict.DROP:
                self.cut()
            flow.unblock()
            if self._held_count == 0:
                self._nothing_held.set()

        if not self._trap_set.meet(self._process, moment, tokens, decide):
            decide(Verdict.GO_ON)

    def cut(self) -> None:
        """Reset both ends."""
        for writer in (self._client, self._server):
            with contextlib.suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
            writer.transport.abort()

    async def settled(self) -> None:
        """Wait until nothing of it is held."""
        await self._nothing_held.wait()


class Link:
    """A proxy for one client process, which uses `port` as its server's port.

    process: its name, or a function that returns the name by the port of a connection's client.
    """

    def __init__(
        self,
        process: str | Callable[[int], str],
        trap_set: TrapSet,
        targets: Callable[[], list[int]],
        tap: Callable[[Line], Tap],
    ) -> None:
        """targets: ports of the server; the first that accepts a connection is used."""
        self._process = process
        self._trap_set = trap_set
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
        """Reset every open connection and return their number."""
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
        process = self._process
        if not isinstance(process, str):
            process = process(client.get_extra_info("peername")[1])
        line = Line(process, self._trap_set, client, server)
        self._lines.add(line)
        tap = self._tap(line)
        pumps = [
            asyncio.create_task(_pump(reader, tap.up, server)),
            asyncio.create_task(_pump(answers, tap.down, client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await line.settled()  # Data that a dead process sent before may still be passed on.
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
    """Wait, after the client has closed, until its last data has reached the server."""
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
