"""A file server that serves, stalls, drips, cuts, misdeclares, redirects and compresses downloads.

It writes HTTP/1.1 directly, because a server library would not send invalid responses.
"""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.support.media_files import PLAYLISTS

MP4_HEAD = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"
BLOCK = bytes(range(256)) * 4096  # 1 MiB

Send = Callable[[bytes], Awaitable[None]]


def mp4_bytes(size_bytes: int) -> bytes:
    """Return bytes with the start of an MP4; the rest is deterministic and does not repeat."""
    return (MP4_HEAD + random.Random(1).randbytes(size_bytes))[:size_bytes]


@dataclass(slots=True)
class FileServer:
    url: str
    requests: list[str] = field(default_factory=list[str])
    """The heads of the received requests."""
    open_connections: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_until_closed(self) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: not self.open_connections)

    async def count(self, change: int) -> None:
        async with self._changed:
            self.open_connections += change
            self._changed.notify_all()


@asynccontextmanager
async def file_server() -> AsyncGenerator[FileServer]:
    served = FileServer(url="")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(content: bytes) -> None:
            writer.write(content)
            await writer.drain()

        await served.count(+1)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            served.requests.append(head)
            name, _, argument = head.split(" ", 2)[1].lstrip("/").partition("?")[0].partition("/")
            sending = asyncio.ensure_future(ANSWERS[name](send, argument))
            gone = asyncio.ensure_future(reader.read())  # ends when the client hangs up
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            await served.count(-1)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()


def _head(status: str, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


async def _file(send: Send, size: str) -> None:
    content = mp4_bytes(int(size))
    await send(
        _head("200 OK", Content_Length=str(len(content)), Content_Type="text/html") + content
    )


async def _large(send: Send, size: str) -> None:
    """Send a file that is generated on the fly, so that its size has no limit."""
    left = int(size) - len(MP4_HEAD)
    await send(_head("200 OK", Content_Length=size) + MP4_HEAD)
    while left:
        await send(BLOCK[: min(left, len(BLOCK))])
        left -= min(left, len(BLOCK))


async def _chunked(send: Send, size: str) -> None:
    content = mp4_bytes(int(size))
    await send(_head("200 OK", Transfer_Encoding="chunked"))
    for start in range(0, len(content), 100_000):
        piece = content[start : start + 100_000]
        await send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    await send(b"0\r\n\r\n")


async def _chunked_cut(send: Send, size: str) -> None:
    await send(
        _head("200 OK", Transfer_Encoding="chunked")
        + f"{int(size) * 2:x}\r\n".encode()
        + mp4_bytes(int(size))
    )


async def _short(send: Send, size: str) -> None:
    await send(_head("200 OK", Content_Length=str(int(size) * 2)) + mp4_bytes(int(size)))


async def _claims(send: Send, size: str) -> None:
    await send(_head("200 OK", Content_Length=size) + MP4_HEAD)
    await asyncio.sleep(60)


async def _endless(send: Send, _: str) -> None:
    await send(_head("200 OK") + MP4_HEAD)
    while True:
        await send(BLOCK)


async def _stall(send: Send, size: str) -> None:
    await send(_head("200 OK", Content_Length="1000000") + mp4_bytes(int(size)))
    await asyncio.sleep(60)


async def _silent(send: Send, _: str) -> None:
    await asyncio.sleep(60)


async def _drip(send: Send, _: str) -> None:
    await send(_head("200 OK", Content_Length="100000") + MP4_HEAD)
    while True:
        await asyncio.sleep(0.05)
        await send(b"x")


async def _redirects(send: Send, left: str) -> None:
    target = f"/redirects/{int(left) - 1}" if int(left) else "/file/1000"
    await send(_head("302 Found", Location=target, Content_Length="0"))


async def _to_file_scheme(send: Send, _: str) -> None:
    await send(_head("302 Found", Location="file:///etc/passwd", Content_Length="0"))


async def _status(send: Send, status: str) -> None:
    await send(_head(f"{status} Whatever", Content_Length="0"))


async def _gzip(send: Send, size: str) -> None:
    content = gzip.compress(mp4_bytes(int(size)), 1)
    await send(_head("200 OK", Content_Encoding="gzip", Content_Length=str(len(content))) + content)


async def _gzip_cut(send: Send, size: str) -> None:
    content = gzip.compress(mp4_bytes(int(size)), 1)[:-100]
    await send(_head("200 OK", Content_Encoding="gzip", Content_Length=str(len(content))) + content)


async def _gzip_bomb(send: Send, size: str) -> None:
    content = gzip.compress(MP4_HEAD + bytes(int(size)), 9)
    await send(_head("200 OK", Content_Encoding="gzip", Content_Length=str(len(content))) + content)


async def _gzip_and_more(send: Send, size: str) -> None:
    content = gzip.compress(mp4_bytes(1000), 1)
    await send(_head("200 OK", Content_Encoding="gzip") + content)
    for _ in range(int(size) // len(BLOCK)):
        await send(BLOCK)


async def _odd_head(send: Send, which: str) -> None:
    await send(ODD_HEADS[which])
    await asyncio.sleep(0.1)


async def _endless_head(send: Send, _: str) -> None:
    await send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await send(b"X-Name: value\r\n" * 1000)


async def _dripping_head(send: Send, _: str) -> None:
    await send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await asyncio.sleep(0.05)
        await send(b"X-Name: value\r\n")


async def _endless_hints(send: Send, _: str) -> None:
    while True:
        await asyncio.sleep(0.01)
        await send(b"HTTP/1.1 103 Early Hints\r\n\r\n")


async def _encoded(send: Send, encoding: str) -> None:
    """Send the plain file under a percent-encoded Content-Encoding."""
    content = mp4_bytes(1000)
    await send(
        _head("200 OK", Content_Encoding=unquote(encoding), Content_Length=str(len(content)))
        + content
    )


async def _html(send: Send, _: str) -> None:
    page = b"<!doctype html><title>Your file has expired</title>" * 10
    await send(_head("200 OK", Content_Type="video/mp4", Content_Length=str(len(page))) + page)


async def _playlist(send: Send, name: str) -> None:
    content = PLAYLISTS[name.partition("/")[0]]
    await send(_head("200 OK", Content_Type="video/mp4", Content_Length=str(len(content))))
    await send(content)


ODD_HEADS = {
    "huge-length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "negative-length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "no-http": b"\x00\xff\xfe nothing like it\r\n\r\n",
    "no-status": b"HTTP/1.1 abc\r\n\r\n",
    "status-0": b"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
    "status-999": b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx\r\n",
    "huge-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nx",
    "bad-encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    "no-place": b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    "bytes-place": b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe\x80/\xff\r\nContent-Length: 0\r\n\r\n",
    "long-place": b"HTTP/1.1 302 Found\r\nLocation: http://h/"
    + b"a" * 90_000
    + b"\r\nContent-Length: 0\r\n\r\n",
    "port-place": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:99999/\r\nContent-Length: 0\r\n\r\n",
    "nothing": b"",
}
"""Malformed response heads."""

ANSWERS: dict[str, Callable[[Send, str], Awaitable[None]]] = {
    "file": _file,
    "large": _large,
    "chunked": _chunked,
    "chunked-cut": _chunked_cut,
    "short": _short,
    "claims": _claims,
    "endless": _endless,
    "stall": _stall,
    "silent": _silent,
    "drip": _drip,
    "redirects": _redirects,
    "to-file-scheme": _to_file_scheme,
    "status": _status,
    "playlist": _playlist,
    "gzip": _gzip,
    "gzip-cut": _gzip_cut,
    "gzip-bomb": _gzip_bomb,
    "gzip-and-more": _gzip_and_more,
    "odd-head": _odd_head,
    "endless-head": _endless_head,
    "dripping-head": _dripping_head,
    "endless-hints": _endless_hints,
    "encoded": _encoded,
    "html": _html,
}
