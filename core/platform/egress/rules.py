"""The rules for requests to URLs that users and providers supply: webhooks and file downloads."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import httpx

from core.platform.egress.address_rules import literal, name_refusal, refusal

ALLOWED_PORTS: Final = frozenset({80, 443, 8080, 8443})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def host_and_port(text: str) -> tuple[str, int]:
    """Split `host:port` or `[IPv6]:port`; the host has the form of `plain_host`.

    Raise ValueError for any other text. A host without a port would admit every service on it.
    """
    host, _, port = text.rpartition(":")
    if (
        not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)
        or not host
        or any(character in host for character in "/@?#* ")
        or (":" in host and not host.startswith("["))
    ):
        raise ValueError(f"{text!r} is not host:port or [IPv6]:port; name each port")
    literal(host)
    return plain_host(host), int(port)


def plain_host(host: str) -> str:
    """Return a host in its normal form.

    Names are in lower case without a trailing dot, addresses in their usual form without brackets.
    """
    bare = host.removeprefix("[").removesuffix("]").rstrip(".").lower()
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundRules:
    """The rules of a process.

    allowed_private_hosts: hosts and ports that are always allowed, independent of the addresses
    to which the name resolves. The URL's host itself must be listed: a name that resolves to a
    listed address is still refused.
    egress_proxy_url: http, with optional user and password; used for all allowed requests.
    """

    allowed_private_hosts: frozenset[tuple[str, int]] = frozenset()
    egress_proxy_url: str | None = field(default=None, repr=False)

    def lists(self, host: str, port: int) -> bool:
        return (plain_host(host), port) in self.allowed_private_hosts

    def refusal(self, host: str, port: int) -> str | None:
        """Return why a host and port may not be called, without looking up the name, or None."""
        if self.lists(host, port):
            return None
        if port not in ALLOWED_PORTS:
            return f"must use one of the ports {', '.join(map(str, sorted(ALLOWED_PORTS)))}"
        try:
            address = literal(host)
        except ValueError as error:
            return str(error)
        reason = name_refusal(host) if address is None else refusal(address)
        return None if reason is None else f"must lead to a public address (this is: {reason})"

    def url_refusal(self, url: str) -> str | None:
        """Return why an http(s) URL may not be called, or None. Raise httpx.InvalidURL."""
        parsed = httpx.URL(url)
        return self.refusal(
            parsed.raw_host.decode("ascii"), parsed.port or _DEFAULT_PORTS.get(parsed.scheme, 0)
        )
