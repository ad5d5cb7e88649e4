"""Where this service may call on a stranger's word: webhook addresses, and those of a provider's
files. Pure.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

import httpx

from core.platform.egress.address_rules import literal, name_refusal, refusal

ALLOWED_PORTS: Final = frozenset({80, 443, 8080, 8443})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def host_and_port(text: str) -> tuple[str, int | None]:
    """Of `host`, `host:port`, `[IPv6]`, `[IPv6]:port` or a bare IPv6 address; the host as
    `plain_host` spells it.

    Raises ValueError.
    """
    try:
        return plain_host(str(ip_address(text))), None
    except ValueError:
        pass
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, ""
    elif not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not a host or host:port")
    if not host or any(character in host for character in "/@?#* "):
        raise ValueError(f"{text!r} is not a host or host:port")
    literal(host)
    return plain_host(host), int(port) if port else None


def plain_host(host: str) -> str:
    """One spelling for a host: small letters, no brackets, no dot at the end, addresses in their
    usual form.
    """
    bare = host.removeprefix("[").removesuffix("]").rstrip(".").lower()
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundRules:
    """allowed_private_hosts: for these nothing is refused, whatever they resolve to; a port of None
    stands for all.

    It is the host of the URL that must be listed: a name that resolves to a listed address is still
    refused. egress_proxy_url: http, maybe with user and password; what was allowed goes through it.
    """

    allowed_private_hosts: frozenset[tuple[str, int | None]] = frozenset()
    egress_proxy_url: str | None = field(default=None, repr=False)

    def lists(self, host: str, port: int) -> bool:
        plain = plain_host(host)
        return not self.allowed_private_hosts.isdisjoint({(plain, port), (plain, None)})

    def refusal(self, host: str, port: int) -> str | None:
        """What is wrong with a host and a port, as far as can be told without looking the name up;
        None: nothing.
        """
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
        """The same for a URL of http or https. Raises httpx.InvalidURL."""
        parsed = httpx.URL(url)
        return self.refusal(parsed.host, parsed.port or _DEFAULT_PORTS.get(parsed.scheme, 0))
