"""The addresses and names that requests to external URLs may use; nothing is resolved here.

The tables contain the IANA special-purpose address registries (as of 2025) and the addresses of the
cloud providers' metadata services. The standard library's `is_global` accepts several of them.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

_IPV4: Final = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),  # also Alibaba Cloud's metadata, 100.100.100.200
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "metadata"),  # Azure's, in a public range
        ("169.254.0.0/16", "link-local"),  # also most clouds' metadata, 169.254.169.254
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),  # also Oracle Cloud's metadata, 192.0.0.192
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved"),  # AS112
        ("192.52.193.0/24", "reserved"),  # AMT
        ("192.88.99.0/24", "reserved"),  # 6to4 relays
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),  # AS112
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_IPV6_GLOBAL: Final = IPv6Network("2000::/3")

_IPV6: Final = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "benchmarking"),
        ("2001::/23", "reserved"),  # protocol assignments: ORCHID, AMT, AS112 and others
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "reserved"),  # AS112
        ("3ffe::/16", "reserved"),  # the former 6bone
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),  # also Amazon's metadata, fd00:ec2::254
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_NAT64: Final = IPv6Network("64:ff9b::/96")
_TEREDO: Final = IPv6Network("2001::/32")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
_IN_LAST_BITS: Final = tuple(
    IPv6Network(each) for each in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")
)
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
_ALL_32: Final = 0xFFFFFFFF

_FORBIDDEN_NAMES: Final = (
    "localhost",
    "metadata",
    "instance-data",
    "ip6-localhost",
    "ip6-loopback",
    "broadcasthost",
)
_FORBIDDEN_SUFFIXES: Final = (
    ".localhost",
    ".localdomain",
    ".local",
    ".internal",  # metadata.google.internal, host.docker.internal, *.compute.internal
    ".intranet",
    ".private",
    ".corp",
    ".home",
    ".lan",
    ".svc",
    ".home.arpa",
    ".in-addr.arpa",
    ".ip6.arpa",
    ".onion",
)


def refusal(address: str | Address) -> str | None:
    """Return why this address may not be called, or None for an ordinary public address.

    An IPv6 address that contains IPv4 addresses is also judged by them. Text that is not an address
    is refused.
    """
    try:
        parsed = ip_address(address) if isinstance(address, str) else address
    except ValueError:
        return "not an address"
    if isinstance(parsed, IPv4Address):
        return next((reason for network, reason in _IPV4 if parsed in network), None)
    return _refusal_v6(parsed)


def _refusal_v6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "an address of one link"
    special = next((reason for network, reason in _IPV6 if address in network), None)
    inside = next((reason for inner in contained(address) if (reason := refusal(inner))), None)
    if special is not None:
        return special if inside is None else f"{special}, {inside} inside"
    if inside is not None:
        return f"{inside} inside"
    if address in _NAT64:  # a network without IPv4 reaches public IPv4 addresses by this prefix
        return None
    return None if address in _IPV6_GLOBAL else "outside the global range"


def contained(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return every IPv4 address that a tunnel or translator may reach by this IPv6 address."""
    bits = int(address)
    inner: list[int] = []
    if bits > 1 and any(address in network for network in _IN_LAST_BITS):
        inner.append(bits & _ALL_32)
    if address in _SIX_TO_FOUR:
        inner.append(bits >> 80 & _ALL_32)
    if address in _TEREDO:  # the server, and the client, whose bits are inverted
        inner += [bits >> 64 & _ALL_32, ~bits & _ALL_32]
    # A prefix of /96 or of /48 (RFC 6052); the latter leaves out bits 64 to 71.
    if address in _LOCAL_NAT64:
        inner += [bits & _ALL_32, (bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF]
    if bits >> 32 & _ALL_32 in _ISATAP:
        inner.append(bits & _ALL_32)
    return tuple(IPv4Address(each) for each in inner)


def literal(host: str) -> Address | None:
    """Return the IP address that a URL's host contains, or None if the host is a name.

    Raise ValueError for numbers that only some resolvers read as an IPv4 address (`127.1`,
    `0x7f.1`).
    """
    bare = host.removeprefix("[").removesuffix("]").rstrip(".")
    try:
        return ip_address(bare)
    except ValueError:
        last = bare.rpartition(".")[2].lower()
        if ":" in bare or last.isdecimal() or last.startswith("0x"):
            raise ValueError("is not an IP address in its usual form") from None
        return None


def name_refusal(name: str) -> str | None:
    """Return why this name may not be looked up, or None if it may be a public name."""
    bare = name.rstrip(".").lower()
    if bare in _FORBIDDEN_NAMES or bare.endswith(_FORBIDDEN_SUFFIXES):
        return "a name of an internal network"
    return None if "." in bare else "a name without a domain"
