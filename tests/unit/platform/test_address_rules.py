"""Address rules compared with the standard library and with all embeddings of IPv4."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.platform.egress.address_rules import contained, literal, name_refusal, refusal
from core.platform.egress.rules import OutboundRules, host_and_port
from tests.network.cases import FORBIDDEN, PUBLIC

pytestmark = pytest.mark.guarantee("G6")

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address) | st.integers(0, 2**125 - 1).map(
    lambda low: IPv6Address(2**125 + low)
)


def embedded(inner: IPv4Address) -> dict[str, IPv6Address]:
    """Return the IPv4 address in every IPv6 form that embeds one."""
    bits, any_public = int(inner), int(IPv6Address("2606:4700::"))
    return {
        "compatible": IPv6Address(bits),
        "mapped": IPv6Address(0xFFFF << 32 | bits),
        "translated": IPv6Address(0xFFFF << 48 | bits),
        "nat64": IPv6Address(0x64FF9B << 96 | bits),
        "local nat64, 96": IPv6Address(0x64FF9B0001 << 80 | bits),
        "local nat64, 48": IPv6Address(
            0x64FF9B0001 << 80 | bits >> 16 << 64 | (bits & 0xFFFF) << 40
        ),
        "6to4": IPv6Address(0x2002 << 112 | bits << 80 | 1),
        "teredo server": IPv6Address(0x20010000 << 96 | bits << 64 | 0x1234),
        "teredo client": IPv6Address(0x20010000 << 96 | 0x01010101 << 64 | (bits ^ 0xFFFFFFFF)),
        "isatap": IPv6Address(any_public | 0x5EFE << 32 | bits),
        "isatap, global": IPv6Address(any_public | 0x02005EFE << 32 | bits),
    }


@pytest.mark.parametrize("address", FORBIDDEN)
def test_refusal_of_every_forbidden_address(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize(
    "address", ["224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "::", "ff02::1", "fe80::1"]
)
def test_refusal_of_addresses_without_servers(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize(
    "address",
    [
        *PUBLIC, "1.1.1.1", "11.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.3.1",
        "198.20.0.1", "223.255.255.255", "2001:4860:4860::8888", "2400::1", "64:ff9b::1.1.1.1",
    ],
)  # fmt: skip
def test_public_address_is_not_refused(address: str) -> None:
    """Also neighbours of a forbidden network, and NAT64 addresses of public IPv4 addresses."""
    assert refusal(address) is None


@given(V4 | V6)
@example(IPv4Address("192.88.99.1"))
def test_private_address_of_the_standard_library_is_refused(
    address: IPv4Address | IPv6Address,
) -> None:
    if refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    "address",
    ["192.88.99.1", "168.63.129.16", "64:ff9b::a00:5", "2002:a00:5::1", "4000::1", "::a00:5"],
)
def test_address_wrongly_global_in_the_standard_library_is_refused(address: str) -> None:
    assert refusal(address)


@given(V4)
@example(IPv4Address("127.0.0.1"))
@example(IPv4Address("169.254.169.254"))
@example(IPv4Address("8.8.8.8"))
def test_embedded_ipv4_is_extracted_and_checked(inner: IPv4Address) -> None:
    for form, address in embedded(inner).items():
        if int(address) > 1:
            assert inner in contained(address), form
        if refusal(inner):
            assert refusal(address), form


@pytest.mark.parametrize(
    ("host", "address"), [("8.8.8.8", "8.8.8.8"), ("8.8.8.8.", "8.8.8.8"), ("[2400::1]", "2400::1")]
)
def test_literal_address_of_a_host(host: str, address: str) -> None:
    assert literal(host) == ip_address(address)


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3.0x4", "1.2.3.4.5", "[::g]"]
)
def test_unusual_numeric_address_is_rejected(host: str) -> None:
    with pytest.raises(ValueError, match="usual form"):
        literal(host)


@pytest.mark.parametrize(
    "name",
    ["localhost", "LOCALHOST.", "a.localhost", "metadata.google.internal", "intranet", "x.local"],
)
def test_internal_name_is_refused(name: str) -> None:
    assert literal(name) is None
    assert name_refusal(name)


@pytest.mark.parametrize(
    "name",
    ["example.com", "local.example.com", "internal.io", "xn--bcher-kva.example", "mylocal.dev"],
)
def test_public_name_is_not_refused(name: str) -> None:
    assert name_refusal(name) is None


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("https://example.com/hook", False),
        ("http://example.com:8080/", False),
        ("https://example.com:8443/", False),
        ("http://example.com:25/", True),
        ("http://10.0.0.5:9000/", False),
        ("http://10.0.0.5/", True),
        ("http://10.0.0.6:9000/", True),
        ("http://sandbox:1234/", True),
        ("http://SANDBOX./", False),
        ("http://sandbox.example/", False),
        ("http://[::1]:5000/", False),
        ("http://[0:0::1]:5000/", False),
        ("http://[::1]/", True),
    ],
)
def test_rules_check_a_url_without_lookup(url: str, refused: bool) -> None:
    hosts = frozenset(map(host_and_port, ("10.0.0.5:9000", "sandbox:80", "[::1]:5000")))
    assert bool(OutboundRules(allowed_private_hosts=hosts).url_refusal(url)) is refused


def test_rules_show_no_password_of_the_proxy() -> None:
    assert "secret" not in repr(OutboundRules(egress_proxy_url="http://user:secret@proxy:3128"))
