"""A scripted name server: addresses, chains, changing answers, or no answer."""

import asyncio
import socket
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from ipaddress import ip_address

A, CNAME, AAAA = 1, 5, 28
TRUNCATED = "truncated"


@dataclass(slots=True)
class Names(asyncio.DatagramProtocol):
    """A name server with answers by name, used in turn; the last answer repeats.

    An answer is a list of addresses, or another name. An empty answer is never sent. TRUNCATED
    requests a retry over TCP, where the server is silent. `asked` holds all questions.
    """

    records: dict[str, list[list[str]]]
    asked: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    _turns: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    _transport: asyncio.DatagramTransport | None = None
    _silent: asyncio.Server | None = None
    _waiting: list[object] = field(default_factory=list[object])

    async def serve(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=(address, 53))
        self._silent = await asyncio.start_server(self._stay_silent, address, 53)

    def _stay_silent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting.append((reader, writer))

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - a datagram transport is what it gets
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name, kind, question = _question(data)
        self.asked.append((name, kind))
        turns = self.records.get(name)
        answers = turns[min(self._turns[name, kind], len(turns) - 1)] if turns is not None else None
        self._turns[name, kind] += 1
        if answers == []:
            return
        truncated = answers == [TRUNCATED]
        found = [] if answers is None or truncated else self._resource_records(name, kind, answers)
        flags = 0x8180 | (0x0200 if truncated else 0) | (3 if answers is None else 0)
        head = data[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0)
        assert self._transport is not None
        self._transport.sendto(head + question + b"".join(found), addr)

    def _resource_records(self, name: str, kind: int, answers: list[str]) -> list[bytes]:
        found: list[bytes] = []
        for answer in answers:
            try:
                address = ip_address(answer)
            except ValueError:
                found.append(_record(name, CNAME, _encoded(answer)))
                found += self._resource_records(answer, kind, self.records.get(answer, [[]])[-1])
                continue
            if (address.version == 6) == (kind == AAAA):
                found.append(_record(name, kind, socket.inet_pton(_FAMILY[kind], answer)))
        return found


_FAMILY = {A: socket.AF_INET, AAAA: socket.AF_INET6}


def _question(data: bytes) -> tuple[str, int, bytes]:
    labels: list[str] = []
    at = 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    (kind,) = struct.unpack(">H", data[at + 1 : at + 3])
    return ".".join(labels).lower(), kind, data[12 : at + 5]


def _encoded(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, content: bytes) -> bytes:
    """Return a resource record with a TTL of 0."""
    return _encoded(name) + struct.pack(">HHIH", kind, 1, 0, len(content)) + content
