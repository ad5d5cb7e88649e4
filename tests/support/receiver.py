"""A webhook receiver on real sockets with programmed responses, which records every request."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request, with header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


def reply(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """Return a complete response."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Programmed", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()

    return answer


def raw(data: bytes) -> Answer:
    """Send these bytes, then close the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


async def hang(_writer: asyncio.StreamWriter) -> None:
    """Never respond."""
    await asyncio.sleep(60)


async def drop(writer: asyncio.StreamWriter) -> None:
    """Reset the connection instead of responding."""
    writer.transport.abort()


def drip(head: bytes, *, every_seconds: float = 0.05) -> Answer:
    """Send `head` at once, then single bytes without end: only the whole response is slow."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(every_seconds)

    return answer


def flood(size_bytes: int, sent: list[int]) -> Answer:
    """Send status 200 with a very large body; `sent` counts the bytes that the client accepted."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size_bytes}\r\n\r\n".encode())
        chunk = b"y" * 65536
        for _ in range(size_bytes // len(chunk)):
            writer.write(chunk)
            await writer.drain()
            sent.append(len(chunk))

    return answer


@dataclass(slots=True)
class Receiver:
    """A receiver.

    answers: one for each request, in order; the last one repeats.
    """

    url: str
    answers: list[Answer] = field(default_factory=lambda: [reply(200)])
    received: list[Received] = field(default_factory=list[Received])
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> AsyncGenerator["Receiver"]:
        receiver = cls("")
        if answers:
            receiver.answers = list(answers)
        server = await asyncio.start_server(receiver._accept, "127.0.0.1", port, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/hook"
        try:
            yield receiver
        finally:
            server.close()
            for task in receiver._tasks:
                task.cancel()
            await asyncio.gather(*receiver._tasks, return_exceptions=True)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                answer = self.answers[min(len(self.received), len(self.answers) - 1)]
                self.received.append(
                    Received(path=head[0].split(" ")[1], headers=headers, body=body)
                )
                await answer(writer)
            finally:
                writer.close()


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a TLS context for 127.0.0.1 with a self-signed certificate, and the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file
