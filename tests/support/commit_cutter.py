"""A TCP proxy for PostgreSQL that cuts a connection right before or right after a COMMIT."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"COMMIT"
CHUNK = 65536


@dataclass(slots=True, kw_only=True)
class Cut:
    """A cut to make.

    dsn: leads through the proxy. Set `when` to arm it for one COMMIT of a transaction that wrote
    `having`.
    stays_away: later connections are refused. fired: number of cuts made.
    """

    dsn: str
    when: Literal["never", "before", "after"] = "never"
    having: bytes = b"INSERT INTO sends"
    stays_away: bool = False
    fired: int = 0
    _seen: set[int] = field(default_factory=set[int])

    def sees(self, connection: int, data: bytes) -> bool:
        """Return whether these bytes from the client are the COMMIT to cut."""
        if self.having in data:
            self._seen.add(connection)
        if self.when == "never" or COMMIT not in data or connection not in self._seen:
            return False
        self.fired += 1
        return True


@asynccontextmanager
async def cutting(dsn: str) -> AsyncGenerator[Cut]:
    parts = urlsplit(dsn)
    assert parts.port is not None
    cut = Cut(dsn="")
    writers: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.add(writer)
        if not (cut.fired and cut.stays_away):
            upstream, server = await asyncio.open_connection(parts.hostname, parts.port)
            writers.add(server)
            down = asyncio.create_task(_copy(upstream, writer))
            try:
                await _up(cut, reader, server, down)
            except ConnectionError:
                pass
            finally:
                down.cancel()
                await asyncio.gather(down, return_exceptions=True)
                server.close()
        writer.close()
        tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    cut.dsn = urlunsplit(parts._replace(netloc=f"{parts.netloc.rsplit(':', 1)[0]}:{port}"))
    try:
        yield cut
    finally:
        listener.close()
        for writer in writers:
            writer.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _up(
    cut: Cut, reader: asyncio.StreamReader, server: asyncio.StreamWriter, down: "asyncio.Task[None]"
) -> None:
    """Copy from client to server until one of them ends or the cut is made."""
    while data := await reader.read(CHUNK):
        if not cut.sees(id(server), data):
            server.write(data)
            await server.drain()
            continue
        when, cut.when = cut.when, "never"
        down.cancel()  # The client receives nothing more.
        await asyncio.gather(down, return_exceptions=True)
        if when == "after":
            server.write(data)
            await server.drain()
            await asyncio.sleep(0.2)  # The server carries the COMMIT out meanwhile.
        return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
