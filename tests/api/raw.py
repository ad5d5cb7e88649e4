"""A client on a raw socket that controls each byte and observes the state of its connection."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

ESTABLISHED = 1
"""The state in tcp_info; in any other state the server has closed the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A connection, opened at `opened_at` (monotonic)."""

    sock: socket.socket
    opened_at: float

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, most: int = 65536) -> bytes:
        """Return received bytes, or b"" if the server has closed or reset the connection."""
        try:
            return await asyncio.get_running_loop().sock_recv(self.sock, most)
        except ConnectionError:
            return b""

    async def receive_all(self) -> bytes:
        """Receive until the server closes."""
        parts: list[bytes] = []
        while part := await self.receive():
            parts.append(part)
        return b"".join(parts)

    @property
    def is_open(self) -> bool:
        return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED

    async def ended_after(self, at_most_seconds: float, look_seconds: float = 0.05) -> float:
        """Return the seconds until the server closed the connection, without reading.

        Raise TimeoutError.
        """
        while self.is_open:
            if time.monotonic() - self.opened_at > at_most_seconds:
                raise TimeoutError(f"open for more than {at_most_seconds} s")
            await asyncio.sleep(look_seconds)
        return time.monotonic() - self.opened_at


@asynccontextmanager
async def raw(port: int, *, receive_buffer_bytes: int | None = None) -> AsyncGenerator[Raw]:
    """Connect.

    receive_buffer_bytes: the kernel's receive buffer; the minimum is about 2 KB.
    """
    with socket.socket() as sock:
        sock.setblocking(False)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield Raw(sock=sock, opened_at=time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document


def first_answer(data: bytes) -> RawAnswer:
    """Return the first response in the received bytes, by its Content-Length."""
    head, _, rest = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return RawAnswer(
        status=int(status_line.split()[1]),
        headers=headers,
        body=rest[: int(headers.get("content-length", 0))],
    )
