"""The tried addresses and names, shared by the script in the namespace and the test."""

from typing import Final

PUBLIC: Final = ("93.184.216.34", "2606:2800:21f::34")
PRIVATE: Final = "10.0.0.5"
UNROUTED: Final = "93.184.216.99"
"""Public, without a server."""
PROXY: Final = ("10.9.9.9", "fd00::9")
"""Addresses of the egress proxy, which listens on the first."""

FORBIDDEN: Final = (
    "127.0.0.1",
    "127.9.9.9",
    PRIVATE,
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "::1",
    "fd00:ec2::254",
    "fc00::1",
    "fec0::1",
    "100::1",
    "2001:db8::1",
    "2001:2::1",
    "2001:20::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
    # IPv4 inside: mapped, translated, compatible, NAT64 (well-known, local), 6to4, Teredo (client,
    # server), ISATAP
    "::ffff:10.0.0.5",
    "::ffff:93.184.216.34",
    "::ffff:0:10.0.0.5",
    "::10.0.0.5",
    "64:ff9b::10.0.0.5",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::10.0.0.5",
    "64:ff9b:1:a00:0:500::",
    "2002:a00:5::1",
    "2002:a9fe:a9fe::1",
    "2001:0:5db8:d822::f5ff:fffa",
    "2001:0:a00:5::a247:27dd",
    "2606:2800:21f::5efe:10.0.0.5",
    "2606:2800:21f::200:5efe:10.0.0.5",
)
"""Each has a web server in the namespace, which a plain client reaches."""

SPELLINGS: Final = (
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "localhost",
    "[::]",
)
"""Other spellings of the local machine, which most resolvers accept."""

NAMES: Final = (
    "localhost",
    "sub.localhost",
    "metadata.google.internal",
    "intranet",
    "printer.local",
    "ok.example.com.lan",
)
"""Names that are never looked up."""

PORTS: Final = (22, 8090)


def name_of(address: str) -> str:
    """Return a public name that resolves to this address only."""
    return f"to-{address.replace(':', 'x').replace('.', '-')}.example.net"


def url_of(address: str, port: int = 80) -> str:
    return f"http://[{address}]:{port}/" if ":" in address else f"http://{address}:{port}/"
