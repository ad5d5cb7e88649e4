"""The receiver of both sides' webhooks: a URL per execution and the time of its event."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    at_monotonic: float
    event: dict[str, Any]


@dataclass(slots=True)
class Inbox:
    """An HTTP server with keep-alive that is cheap enough not to influence the measurement."""

    url: str = ""
    _waiting: dict[str, "asyncio.Future[Arrival]"] = field(
        default_factory=dict[str, "asyncio.Future[Arrival]"]
    )
    _collected: dict[str, dict[str, Arrival]] = field(default_factory=dict[str, dict[str, Arrival]])

    @classmethod
    @asynccontextmanager
    async def open(cls, port: int) -> AsyncGenerator["Inbox"]:
        inbox = cls()
        connections: set[asyncio.StreamWriter] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(writer)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await inbox._take(reader, writer):
                    pass
            connections.discard(writer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=512)
        inbox.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield inbox
        finally:
            server.close()
            for writer in connections:
                writer.close()
            await server.wait_closed()

    def address(self, key: str) -> str:
        return f"{self.url}/{key}"

    @contextmanager
    def expecting(self, key: str) -> Generator["asyncio.Future[Arrival]"]:
        """Wait for the first event sent to the URL of this key; enter it before ordering."""
        future: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            yield future
        finally:
            del self._waiting[key]

    @contextmanager
    def collecting(self, key: str) -> Generator[dict[str, Arrival]]:
        """Collect the first event of each execution that is sent to the URL of this key."""
        collected: dict[str, Arrival] = {}
        self._collected[key] = collected
        try:
            yield collected
        finally:
            del self._collected[key]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        now = time.monotonic()
        key = head[0].split(" ")[1].removeprefix("/")
        future = self._waiting.get(key)
        if future is not None and not future.done():
            future.set_result(Arrival(at_monotonic=now, event=json.loads(body)))
        if (collected := self._collected.get(key)) is not None:
            event = json.loads(body)
            collected.setdefault(event["executionId"], Arrival(at_monotonic=now, event=event))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        return headers.get("connection", "").lower() != "close"
