"""An HTTP server whose streams follow a script: cut, stalled, refused or complete."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

End = Literal["close", "cut", "stall", "withhold"]
"""How a stream ends. withhold: not even its head is sent, as by a proxy that collects answers."""
HEARTBEAT = b": heartbeat\n\n"


def frame(kind: str, data: Mapping[str, Any], sequence: int | None = None) -> bytes:
    """Return an event as the service sends it."""
    number = "" if sequence is None else f"id: {sequence}\n"
    return f"{number}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


@dataclass
class Stream:
    """The script of one stream."""

    parts: Sequence[bytes] = ()
    end: End = "close"
    status: int = 200


@dataclass
class StreamServer:
    """A server of one execution.

    streams: the scripts, one for each stream; after the last one, 204 is answered. documents: of
    the reads, of which the last one stays. refusals: statuses of the first reads, instead of
    documents. requests: paths, each with its Last-Event-ID.
    """

    streams: list[Stream]
    documents: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    refusals: list[int] = field(default_factory=list[int])
    requests: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    url: str = ""

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self.url
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
            }
            path = first.split(" ")[1]
            self.requests.append((path, headers.get("last-event-id")))
            if path.endswith("/events"):
                await self._stream(self.streams.pop(0) if self.streams else None, reader, writer)
            elif self.refusals:
                self._plain(writer, self.refusals.pop(0), {"code": "a_code", "retryable": True})
            else:
                more = len(self.documents) > 1
                document = self.documents.pop(0) if more else self.documents[0]
                self._plain(writer, 200, document)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _stream(
        self, script: Stream | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if script is None:
            self._plain(writer, 204, None)
            return
        if script.status != 200:
            self._plain(writer, script.status, {"code": "a_code", "retryable": True})
            return
        if script.end == "withhold":
            await reader.read()  # until the client hangs up
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for part in script.parts:
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        if script.end == "close":
            writer.write(b"0\r\n\r\n")
        elif script.end == "stall":
            await reader.read()

    def _plain(
        self, writer: asyncio.StreamWriter, status: int, document: Mapping[str, Any] | None
    ) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        length = b"" if document is None else b"content-length: %d\r\n" % len(body)
        writer.write(
            b"HTTP/1.1 %d Answer\r\ncontent-type: application/json\r\n%sconnection: close\r\n\r\n%s"
            % (status, length, body)
        )
