"""An isolated network: public and forbidden addresses on the loopback, each with servers."""

import asyncio
import contextlib
import socket
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pyroute2 import IPRoute

from tests.network.cases import FORBIDDEN, PROXY, PUBLIC
from tests.network.names import Names

PROXY_LOGIN = "proxy-authorization"
PLAIN_PORTS = (80, 8080, 22, 8090)
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + b"\x00" * 600
SEARCHED = "corp.example.org"


@dataclass(slots=True)
class Hit:
    """A received request: its target address, its source address and its path."""

    to: str
    by: str
    path: str


@dataclass(slots=True)
class World:
    """The servers of the namespace.

    hits: requests to any web server. tunnels: targets requested from the egress proxy, with their
    credentials.
    """

    names: Names
    trusted: Path
    hits: list[Hit] = field(default_factory=list[Hit])
    tunnels: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _kept: list[object] = field(default_factory=list[object])

    @classmethod
    async def make(cls, records: dict[str, list[list[str]]]) -> "World":
        """Start the servers, as root of a fresh network and mount namespace with its addresses."""
        folder = Path(tempfile.mkdtemp())
        resolv = folder / "resolv.conf"
        resolv.write_text(f"nameserver 127.0.0.1\nsearch {SEARCHED}\noptions ndots:5\n")
        mounted = await asyncio.create_subprocess_exec(
            "mount", "--bind", str(resolv), "/etc/resolv.conf"
        )
        if await mounted.wait() != 0:
            raise RuntimeError("resolv.conf cannot be replaced here")
        tls, trusted = make_authority(folder, "hook.example.com")
        world = cls(Names(records), trusted)
        await world.names.serve("127.0.0.1")
        for host in ("0.0.0.0", "::"):
            for port in PLAIN_PORTS:
                world._kept.append(await asyncio.start_server(world._web, host, port))
            world._kept.append(await asyncio.start_server(world._web, host, 443, ssl=tls))
        world._kept.append(await asyncio.start_server(world._proxy, PROXY[0], 3128))
        return world

    async def _web(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to `/to/ADDRESS` with a redirect there, else with a short video."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ")[1]
            to, by = (
                str(_plain(writer.get_extra_info(name)[0])) for name in ("sockname", "peername")
            )
            self.hits.append(Hit(to, by, path))
            if path.startswith("/to/"):
                target = unquote(path.removeprefix("/to/"))
                answer = f"HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n".encode()
            else:
                answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(MP4)}\r\n\r\n".encode() + MP4
            writer.write(answer)
            await writer.drain()
        writer.close()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve CONNECT and forwarded requests from the proxy's own address.

        Like a real egress proxy it resolves the name itself and refuses private addresses.
        """
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        fields = [line.partition(": ") for line in head.split("\r\n")]
        login = next((text for name, _, text in fields if name.lower() == PROXY_LOGIN), "")
        self.tunnels.append((target, login))
        url = urlsplit(f"https://{target}" if method == "CONNECT" else target)
        host, port = url.hostname or "", url.port or 80
        infos = await asyncio.get_running_loop().getaddrinfo(
            f"{host}.", port, family=socket.AF_INET
        )
        address = str(infos[0][4][0])
        if address not in PUBLIC:
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        onward = await asyncio.open_connection(address, port, local_addr=(PROXY[0], 0))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            onward[1].write(head.replace(target, url.path or "/", 1).encode())
        await asyncio.gather(_copy(reader, onward[1]), _copy(onward[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()


def _plain(address: str) -> object:
    """Return the canonical address; an IPv4-mapped IPv6 address becomes IPv4."""
    parsed = ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed


def add_addresses() -> None:
    """Add all addresses to the loopback. Call it outside an event loop: netlink runs its own."""
    with IPRoute() as opened:
        route: Any = opened  # its types are incomplete
        (index,) = route.link_lookup(ifname="lo")
        route.link("set", index=index, state="up")
        for address in sorted({*PUBLIC, *FORBIDDEN, *PROXY}):
            parsed = ip_address(address)
            if not parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None:
                route.addr("add", index=index, address=str(parsed), prefixlen=parsed.max_prefixlen)


def make_authority(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context for this name, and its authority's certificate."""
    now = datetime.now(UTC)

    def certificate(subject: str, issuer: str) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
        )

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate("test authority", "test authority").public_key(root_key.public_key())
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    leaf = certificate(name, "test authority").public_key(key.public_key())
    leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    trusted, chain = folder / "root.pem", folder / "leaf.pem"
    trusted.write_bytes(root.sign(root_key, SHA256()).public_bytes(Encoding.PEM))
    plain_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(leaf.sign(root_key, SHA256()).public_bytes(Encoding.PEM) + plain_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context, trusted
