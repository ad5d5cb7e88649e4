"""An HTTP proxy of the client, as HTTP_PROXY names one, that loses, cuts and refuses answers."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Action = Literal["lose", "cut", "refuse"]


@dataclass
class Fault:
    """What happens to the first `times` requests whose method and address match.

    lose: the request is passed on, and no byte of its answer. cut: `after` bytes of the answer are
    passed on. refuse: the request is not passed on; `answer` is returned. fired: how often.
    """

    pattern: str
    action: Action
    times: int = 1
    after: int = 0
    answer: bytes = b""
    fired: int = 0


def refusal(status: int, *headers: str) -> bytes:
    """Return an answer without a body."""
    lines = [f"HTTP/1.1 {status} Refused", "content-length: 0", "connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class FaultyProxy:
    """A forward proxy for plain HTTP, with one request for each connection."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[str]:
        """Serve, and yield the address of the proxy."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._pass_on(reader, writer)
        writer.transport.abort() if writer.transport.is_closing() else writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, rest = head.split(b"\r\n", 1)
        method, address, _ = first.decode().split(" ")
        fault = self._fault(f"{method} {address}")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        if fault is not None and fault.action == "refuse":
            writer.write(fault.answer)
            await writer.drain()
            return
        url = urlsplit(address)
        upstream, sending = await asyncio.open_connection(url.hostname, url.port)
        try:
            path = url.path + (f"?{url.query}" if url.query else "")
            plain = re.sub(rb"(?im)^(proxy-)?connection:.*\r\n", b"", rest)
            sending.write(
                f"{method} {path} HTTP/1.1\r\nconnection: close\r\n".encode() + plain + body
            )
            await sending.drain()
            gone = asyncio.create_task(reader.read())
            gone.add_done_callback(lambda _: sending.close())
            await self._answer(upstream, writer, fault)
            gone.cancel()
        finally:
            sending.close()

    async def _answer(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        left = None if fault is None else fault.after
        while part := await upstream.read(65536):
            if left is not None:
                part = part[:left]
                left -= len(part)
            writer.write(part)
            await writer.drain()
            if left == 0:
                return

    def _fault(self, request: str) -> Fault | None:
        for fault in self.faults:
            if fault.fired < fault.times and re.search(fault.pattern, request):
                fault.fired += 1
                return fault
        return None
