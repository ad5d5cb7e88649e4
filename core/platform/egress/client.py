"""HTTP clients for URLs that users and providers supply, protected against SSRF.

Without an egress proxy, each host is resolved once, every address is checked, and the connection
goes to a checked address. The check is below httpx, at the connection, so it covers redirects, and
no second resolution can return another address. TLS is verified against the host name.

With an egress proxy, the proxy resolves and checks names; this process only checks the URL's text.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, cast

import httpcore
import httpx

from core.platform.egress.address_rules import literal, refusal
from core.platform.egress.rules import OutboundRules
from core.platform.observability.logging import get_logger

log = get_logger(__name__)

LOOKUP_SECONDS: Final = 4.0
"""Time limit of one name lookup, below the connect timeout of webhooks and downloads."""
MAX_LOOKUPS: Final = 256
"""Lookups at once, each in its own thread: more than a worker has webhook and download slots."""
MAX_ADDRESSES: Final = 3
"""Addresses of one name that are tried."""


class AddressRefusedError(httpx.ConnectError):
    """The address may not be called, and nothing was sent.

    The text contains the reason and no address.
    """


class NameNotResolvedError(httpx.ConnectError):
    """The name has no address, or its lookup took longer than LOOKUP_SECONDS."""


class Outbound:
    """The outbound rules of a process and the clients that follow them."""

    def __init__(self, rules: OutboundRules | None = None) -> None:
        self.rules = rules or OutboundRules()
        # Not the event loop's own resolver threads: uvloop has four, which the database and
        # Temporal clients need too, and a slow name server blocks a thread for many seconds.
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS, thread_name_prefix="egress-lookup")

    @classmethod
    @asynccontextmanager
    async def open(cls, rules: OutboundRules) -> AsyncGenerator["Outbound"]:
        outbound = cls(rules)
        try:
            yield outbound
        finally:
            outbound.close()

    def close(self) -> None:
        """Cancel lookups that have not started."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def client(
        self, *, tls: ssl.SSLContext | None = None, timeout: httpx.Timeout | None = None
    ) -> httpx.AsyncClient:
        """Return a client that also raises AddressRefusedError and NameNotResolvedError.

        It follows no redirects and reads nothing from the environment: no proxy, no .netrc.
        """
        tls = tls or httpx.create_ssl_context()
        return httpx.AsyncClient(
            transport=_GuardedTransport(self.rules, self._threads, tls),
            trust_env=False,
            follow_redirects=False,
            timeout=timeout or httpx.Timeout(5.0),
        )


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport with a check of each URL and, without a proxy, of each address."""

    def __init__(
        self, rules: OutboundRules, threads: ThreadPoolExecutor, tls: ssl.SSLContext
    ) -> None:
        super().__init__(verify=tls, trust_env=False, proxy=rules.egress_proxy_url)
        self._rules = rules
        if rules.egress_proxy_url is None:
            # httpx has no public parameter for the network backend.
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=tls,
                max_connections=None,
                keepalive_expiry=5.0,
                network_backend=_GuardedBackend(rules, threads),
            )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.raw_host:
            raise httpx.UnsupportedProtocol("the URL has no host", request=request)
        reason = self._rules.url_refusal(str(request.url))
        if reason is not None:
            raise _refused(request.url.raw_host.decode("ascii"), reason)
        return await super().handle_async_request(request)


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """A network backend that connects only to addresses that the rules allow."""

    def __init__(self, rules: OutboundRules, threads: ThreadPoolExecutor) -> None:
        self._rules = rules
        self._threads = threads
        # Without anyio, httpcore defines a class of this name that is not a backend, and type
        # checkers only see that one.
        self._network = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a checked address of the host; the timeout covers lookup and connection.

        Raises AddressRefusedError, NameNotResolvedError and httpcore's own errors.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked_addresses(host, port)
                return await self._connect_to_first(addresses[:MAX_ADDRESSES], port, timeout)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("connection timed out") from error

    async def _checked_addresses(self, host: str, port: int) -> tuple[str, ...]:
        """Return the host's addresses; a single forbidden one refuses the host."""
        if self._rules.lists(host, port):
            return await self._resolve(host)
        # The trailing dot prevents completion with the search domains of our network.
        addresses = await self._resolve(f"{host.rstrip('.')}.")
        reasons = (reason for address in addresses if (reason := refusal(address)))
        if (reason := next(reasons, None)) is not None:
            raise _refused(host, reason)
        return addresses

    async def _resolve(self, host: str) -> tuple[str, ...]:
        """Return a host's addresses without repeats, in the order of preference (RFC 6724)."""
        if (address := literal(host)) is not None:
            return (str(address),)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                results = await loop.run_in_executor(self._threads, _lookup, host)
        except TimeoutError:
            raise NameNotResolvedError("the name lookup timed out") from None
        except OSError:
            raise NameNotResolvedError("the name has no address") from None
        if not results:
            raise NameNotResolvedError("the name has no address")
        return tuple(dict.fromkeys(results))

    async def _connect_to_first(
        self, addresses: tuple[str, ...], port: int, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that accepts; each gets an equal share of the timeout."""
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout)


def _lookup(host: str) -> list[str]:
    """Return the addresses of a host; none for a name that DNS cannot express (`two..dots`)."""
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        return []
    return [str(info[4][0]) for info in infos]


def _refused(host: str, reason: str) -> AddressRefusedError:
    log.info("egress.address_refused", host=host, reason=reason)
    return AddressRefusedError(f"refused: {reason}")
