"""HTTP to addresses that strangers name: each is looked up once, judged, and called at the address
that was judged.

The judge sits where a connection is made, under httpx: so it sees every redirect, and no name is
looked up again between the check and the call. TLS is verified against the name.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import aiodns
import httpcore
import httpx
from aiodns.error import DNSError

from core.platform.egress.address_rules import literal, refusal
from core.platform.egress.rules import OutboundRules
from core.platform.observability.logging import get_logger

log = get_logger(__name__)

LOOK_UP_SECONDS: Final = 5.0
"""For a name, whatever its servers do. The two tries below end within it, so nothing is left
behind.
"""
_FIRST_TRY_SECONDS: Final = 1.4
_TRIES: Final = 2
MAX_TRIED: Final = 3
"""Of a name's addresses: a stranger must not have us knock at hundreds."""
_PROXY_ANSWER_BYTES: Final = 8192


class AddressRefusedError(httpx.ConnectError):
    """This address may not be called; nothing was sent. The text names the reason and
    no address.
    """


class NameNotResolvedError(httpx.ConnectError):
    """The name has no address, or its servers did not say in time."""


class Resolver:
    """Names by DNS, without a thread for each: one that hangs keeps nobody else waiting."""

    def __init__(self) -> None:
        self._dns: aiodns.DNSResolver | None = None

    async def look_up(self, name: str) -> tuple[str, ...]:
        """Every address of a name, none twice, the best first (RFC 6724). Raises
        NameNotResolvedError.
        """
        if self._dns is None:
            self._dns = aiodns.DNSResolver(timeout=_FIRST_TRY_SECONDS, tries=_TRIES)
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                found = await self._dns.getaddrinfo(name)
        except TimeoutError:
            raise NameNotResolvedError("the name's servers did not answer in time") from None
        except (DNSError, UnicodeError):
            raise NameNotResolvedError("the name has no address") from None
        nodes: list[Any] = list(found.nodes)
        return tuple(dict.fromkeys(node.addr[0].decode() for node in nodes))

    async def aclose(self) -> None:
        if self._dns is not None:
            await self._dns.close()
            self._dns = None


class Outbound:
    """One per process: the rules, and the resolver that all its clients share."""

    def __init__(self, rules: OutboundRules | None = None) -> None:
        self.rules = rules or OutboundRules()
        self._resolver = Resolver()

    @classmethod
    @asynccontextmanager
    async def open(cls, rules: OutboundRules) -> AsyncGenerator["Outbound"]:
        outbound = cls(rules)
        try:
            yield outbound
        finally:
            await outbound.aclose()

    async def aclose(self) -> None:
        await self._resolver.aclose()

    def client(
        self, *, tls: ssl.SSLContext | None = None, timeout: httpx.Timeout | None = None
    ) -> httpx.AsyncClient:
        """A client that raises AddressRefusedError and NameNotResolvedError beside httpx's own
        errors.

        It follows no redirect and takes nothing from the environment: no proxy, no .netrc.
        """
        return httpx.AsyncClient(
            transport=_GuardedTransport(
                GuardedBackend(self.rules, self._resolver), tls or httpx.create_ssl_context()
            ),
            trust_env=False,
            follow_redirects=False,
            timeout=timeout or httpx.Timeout(5.0),
        )


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own, but for what it connects with: there is no other way to name that."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls, max_connections=None, keepalive_expiry=5.0, network_backend=backend
        )


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to nothing that the rules refuse; through the egress proxy, if there is one."""

    def __init__(self, rules: OutboundRules, resolver: Resolver) -> None:
        self._rules = rules
        self._resolver = resolver
        # Its package offers another class of that name where anyio is missing, which is all that
        # type checkers see.
        self._network = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())
        self._proxy = (
            httpx.URL(rules.egress_proxy_url) if rules.egress_proxy_url is not None else None
        )

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises AddressRefusedError, NameNotResolvedError, and what httpcore raises. timeout: for
        all of it.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked(host, port)
                return await self._first(addresses[:MAX_TRIED], port, timeout)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("no connection in time") from error

    async def _checked(self, host: str, port: int) -> tuple[str, ...]:
        """The host's addresses, each of them judged: one that is forbidden spoils them all."""
        if self._rules.lists(host, port):
            return await self._addresses(host)
        reason = self._rules.refusal(host, port)
        if reason is None:
            # The dot keeps a name from being completed by the search domains of our own network.
            addresses = await self._addresses(f"{host.rstrip('.')}.")
            reason = next((found for each in addresses if (found := refusal(each))), None)
            if reason is None:
                return addresses
        log.info("egress.address_refused", host=host, port=port, reason=reason)
        raise AddressRefusedError(f"refused: {reason}")

    async def _addresses(self, host: str) -> tuple[str, ...]:
        address = literal(host)
        return (str(address),) if address is not None else await self._resolver.look_up(host)

    async def _first(
        self, addresses: tuple[str, ...], port: int, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        """To the first address that answers; each has its share of the time, so that a dead one
        leaves some.
        """
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._connect(address, port, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.ProxyError):
                continue
        return await self._connect(addresses[-1], port, timeout)

    async def _connect(
        self, address: str, port: int, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        if self._proxy is None:
            return await self._network.connect_tcp(address, port, timeout)
        # Its address is the operator's own word: not judged.
        (proxy, *_) = await self._addresses(self._proxy.host)
        stream = await self._network.connect_tcp(proxy, self._proxy.port or 80, timeout)
        try:
            await _ask_for_tunnel(
                stream,
                self._proxy,
                f"[{address}]:{port}" if ":" in address else f"{address}:{port}",
            )
        except BaseException:
            await stream.aclose()
            raise
        return stream


async def _ask_for_tunnel(
    stream: httpcore.AsyncNetworkStream, proxy: httpx.URL, target: str
) -> None:
    """CONNECT (RFC 9110 9.3.6). Raises httpcore.ProxyError unless it is granted; the caller keeps
    the time.
    """
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.userinfo:
        login = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    await stream.write("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        chunk = await stream.read(1024)
        answer += chunk
        if not chunk or len(answer) > _PROXY_ANSWER_BYTES:
            raise httpcore.ProxyError("the egress proxy gave no answer")
    status = answer.split(b"\r\n", 1)[0].split(b" ")
    # The other side is silent until we speak: anything behind the head is not its word.
    if len(status) < 2 or status[1] != b"200" or not answer.endswith(b"\r\n\r\n"):
        raise httpcore.ProxyError("the egress proxy refuses")
