"""Which addresses and names of a foreign machine may be called. Pure: nothing is resolved here.

The tables are our own, from the IANA special-purpose address registries (as of 2025) and the
addresses of the cloud providers' metadata services: what the standard library calls global leaves
out too much for this purpose.
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
        ("168.63.129.16/32", "metadata"),  # Azure's; by its looks an ordinary public address
        ("169.254.0.0/16", "link-local"),  # also everybody else's metadata, 169.254.169.254
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
        ("3ffe::/16", "reserved"),  # 6bone, given back
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
    """Why this address may not be called, in a word or two; None: it is an ordinary public one.

    An IPv6 address that carries IPv4 ones is also judged by them. Fails closed: what is no address
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
    inside = next((reason for inner in carried(address) if (reason := refusal(inner))), None)
    if special is not None:
        return special if inside is None else f"{special}, {inside} inside"
    if inside is not None:
        return f"{inside} inside"
    if address in _NAT64:  # how a network without IPv4 reaches the public one
        return None
    return None if address in _IPV6_GLOBAL else "outside the global range"


def carried(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Every IPv4 address that an IPv6 one may lead to: a tunnel's or a translator's end. Some have
    several.
    """
    bits = int(address)
    found: list[int] = []
    if bits > 1 and any(address in network for network in _IN_LAST_BITS):
        found.append(bits & _ALL_32)
    if address in _SIX_TO_FOUR:
        found.append(bits >> 80 & _ALL_32)
    if address in _TEREDO:  # the server, and the client, whose bits are flipped
        found += [bits >> 64 & _ALL_32, ~bits & _ALL_32]
    if (
        address in _LOCAL_NAT64
    ):  # a prefix of /96 or of /48, RFC 6052; in the latter bits 64 to 71 are left out
        found += [bits & _ALL_32, (bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF]
    if bits >> 32 & _ALL_32 in _ISATAP:
        found.append(bits & _ALL_32)
    return tuple(IPv4Address(each) for each in found)


def literal(host: str) -> Address | None:
    """The address that a host of a URL spells out; None where it is a name.

    Raises ValueError for numbers that some resolvers would take for an IPv4 address and others not
    (`127.1`, `0x7f.1`).
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
    """Why this name may not be looked up; None: it may belong to a public machine."""
    bare = name.rstrip(".").lower()
    if bare in _FORBIDDEN_NAMES or bare.endswith(_FORBIDDEN_SUFFIXES):
        return "a name of an internal network"
    return None if "." in bare else "a name without a domain"
