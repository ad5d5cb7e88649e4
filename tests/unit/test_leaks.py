"""The search for leaked secrets finds every encoding of a secret and nothing else."""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from core.platform.crypto.sealing import Sealer
from tests.support.leaks import find_leaks, spellings, unfolded

pytestmark = pytest.mark.guarantee("G6")

SECRET = b"kA9/xY+2==:whsec?Zq7"
OTHER = b"another secret, not here"


def _quoted_small(secret: bytes) -> bytes:
    return re.sub(r"%[0-9A-F]{2}", lambda one: one[0].lower(), quote_plus(secret)).encode()


SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda secret: secret,
    "hex": lambda secret: secret.hex().encode(),
    "HEX": lambda secret: secret.hex().upper().encode(),
    "url": lambda secret: quote(secret, safe="").encode(),
    "url, small": _quoted_small,
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
    "base64 in the middle": lambda secret: base64.b64encode(b"a" + secret + b"bc"),
    "base64 at the end": lambda secret: base64.b64encode(b"ab" + secret),
    "base64url at the end": lambda secret: base64.urlsafe_b64encode(b"abcd" + secret),
    "base64 of JSON": lambda secret: base64.b64encode(
        json.dumps({"key": secret.decode()}).encode()
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_leak_is_found_in_every_encoding(name: str) -> None:
    sinks = [
        ("here", b"x" * 7 + SPELLINGS[name](SECRET) + b"y" * 5),
        ("not here", b"nothing of it"),
    ]
    leaks = find_leaks(sinks, {"planted": SECRET, "other": OTHER})
    assert {(leak.sink, leak.secret) for leak in leaks} == {("here", "planted")}


def test_leak_is_found_in_the_byte_strings_of_a_dump() -> None:
    inner = b"\x01\x02" + base64.b64encode(b"z" + SECRET)
    dump = b"COPY public.t (a) FROM stdin;\n\\\\x" + inner.hex().encode() + b"\n\\.\n"
    assert find_leaks([("table", part) for part in unfolded(dump)], {"planted": SECRET}) != []


def test_sealed_secret_is_no_leak() -> None:
    sealed = Sealer([b"k" * 32]).seal(SECRET, context="a place").data
    for content in (sealed, base64.b64encode(sealed), sealed.hex().encode()):
        assert find_leaks([("row", content)], {"planted": SECRET}) == []


def test_secret_that_is_too_short_is_rejected() -> None:
    with pytest.raises(ValueError, match="by chance"):
        spellings(b"short")
