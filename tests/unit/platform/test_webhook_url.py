"""Webhook addresses: their normal form, names by UTS 46, and names that map to addresses."""

import pytest

from core.platform.egress.rules import OutboundRules
from core.platform.urls import ascii_host, webhook_url

UMLAUT = "\u00fc"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://hooks.example/a?b=c", "https://hooks.example/a?b=c"),
        ("HTTPS://Hooks.Example:443/a", "https://hooks.example/a"),
        ("http://hooks.example:80", "http://hooks.example/"),
        ("https://hooks.example?x=1", "https://hooks.example/?x=1"),
        ("https://hooks.example:8443/", "https://hooks.example:8443/"),
        ("https://hooks.example/a/../b#part", "https://hooks.example/b"),
        ("https://hooks.example/Case/%7euser", "https://hooks.example/Case/%7euser"),
        ("https://B\u00dcCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://fa\u00df.example/", "https://xn--fa-hia.example/"),
        ("https://\u2603.example/", "https://xn--n3h.example/"),
        ("https://xn--n3h.example/", "https://xn--n3h.example/"),
        ("https://\u4f8b\u3048\u3002\u30c6\u30b9\u30c8/", "https://xn--r8jz45g.xn--zckzah/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_webhook_url_has_one_normal_form(text: str, normal: str) -> None:
    assert webhook_url(text) == normal
    assert webhook_url(normal) == normal
    OutboundRules().url_refusal(normal)


@pytest.mark.parametrize(
    "text",
    ["https://", "https:///x", "ftp://h/", "https://u:p@h.example/", "https://h.example:0/",
     "https://h.example:99999/", "https://h .example/", "https://a\u00a0b.example/",
     f"https://{UMLAUT * 70}.example/"],
)  # fmt: skip
def test_webhook_url_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        webhook_url(text)


@pytest.mark.parametrize(
    "host", ["\uff11\uff12\uff17.0.0.1", "169\u3002254\u3002169\u3002254", "\u24db\u24deocalhost"]
)
def test_name_that_maps_to_a_private_address_is_refused(host: str) -> None:
    assert ascii_host(host).isascii()
    assert OutboundRules().url_refusal(webhook_url(f"http://{host}/")) is not None
