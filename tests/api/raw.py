"""A client without manners: bytes on a socket, as slowly as it likes, that sees how its connection
stands.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

ESTABLISHED = 1
"""tcp_info's state; every other one: the server has ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """One connection, since `opened_at` (monotonic)."""

    sock: socket.socket
    opened_at: float

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, most: int = 65536) -> bytes:
        """b"" when the server has closed, and also when it has reset the connection."""
        try:
            return await asyncio.get_running_loop().sock_recv(self.sock, most)
        except ConnectionError:
            return b""

    async def receive_all(self) -> bytes:
        """Until the server closes."""
        parts: list[bytes] = []
        while part := await self.receive():
            parts.append(part)
        return b"".join(parts)

    @property
    def is_open(self) -> bool:
        return self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED

    async def ended_after(self, at_most_seconds: float, look_seconds: float = 0.05) -> float:
        """Seconds from its opening to its end by the server, read or not. Raises TimeoutError."""
        while self.is_open:
            if time.monotonic() - self.opened_at > at_most_seconds:
                raise TimeoutError(f"open for more than {at_most_seconds} s")
            await asyncio.sleep(look_seconds)
        return time.monotonic() - self.opened_at


@asynccontextmanager
async def raw(port: int, *, receive_buffer_bytes: int | None = None) -> AsyncGenerator[Raw]:
    """receive_buffer_bytes: how much the kernel takes of what is not read; the least it allows is
    about 2 KB.
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
    """The first answer in what came, by its Content-Length."""
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
