"""A database session whose client stands still in the middle of a statement."""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg


@asynccontextmanager
async def stalled_session(dsn: str, statement: str) -> AsyncGenerator[asyncio.StreamReader]:
    """Run a statement in a transaction, then begin a second statement and leave it unfinished.

    Yield the stream of the server's messages. The session has a time-out of one second for idle
    transactions, which does not apply to it: PostgreSQL shows it as active.
    """
    settings = {"idle_in_transaction_session_timeout": "1s"}
    connection = await asyncpg.connect(dsn, server_settings=settings)
    try:
        reader, writer = _without_driver(connection)
        writer.write(_message_of(b"Q", f"BEGIN; {statement}".encode() + b"\0"))
        while await message(reader) != b"Z":
            pass
        parse = b"\0SELECT 1\0" + struct.pack("!h", 0)
        writer.write(_message_of(b"P", parse) + _message_of(b"H", b""))
        assert await message(reader) == b"1"
        yield reader
    finally:
        connection.terminate()


async def message(reader: asyncio.StreamReader) -> bytes:
    """Return the kind of the server's next message."""
    kind = await reader.readexactly(1)
    (length,) = struct.unpack("!i", await reader.readexactly(4))
    await reader.readexactly(length - 4)
    return kind


def _message_of(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(body)) + body


def _without_driver(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the streams of a connection, without its driver."""
    transport: Any = connection._transport  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportAttributeAccessIssue]
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    return reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
