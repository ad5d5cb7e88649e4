"""A search for secrets in a service's output, including encoded spellings."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

MIN_SECRET_BYTES = 12
"""Shorter secrets would match by chance."""
_BYTEA = re.compile(rb"\\\\?x((?:[0-9a-f]{2}){8,})")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Leak:
    sink: str
    secret: str
    spelling: str


def find_leaks(sinks: Iterable[tuple[str, bytes]], secrets: Mapping[str, bytes]) -> list[Leak]:
    """Return every secret found in every sink, by name, without revealing the secret itself."""
    needles = [
        (name, spelling, needle)
        for name, secret in secrets.items()
        for spelling, needle in spellings(secret).items()
    ]
    return sorted(
        Leak(sink=sink, secret=name, spelling=spelling)
        for sink, content in sinks
        for name, spelling, needle in needles
        if needle in content
    )


def spellings(secret: bytes) -> dict[str, bytes]:
    """Return the texts to search for.

    Base64 has three spellings, depending on the offset of the secret in the encoded text.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes would be found by chance")
    found = {"raw": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for shift in range(3):
        standard = _base64(secret, shift)
        found[f"base64 +{shift}"] = standard
        found[f"base64url +{shift}"] = standard.translate(bytes.maketrans(b"+/", b"-_"))
    quoted = quote(secret, safe="").encode()
    found["url"], found["url, small"] = (
        quoted,
        re.sub(rb"%[0-9A-F]{2}", lambda one: one[0].lower(), quoted),
    )
    return {
        spelling: needle
        for spelling, needle in found.items()
        if spelling == "raw" or needle != secret
    }


def _base64(secret: bytes, shift: int) -> bytes:
    """Return the base64 characters that depend on the secret alone, after `shift` other bytes."""
    first = -(-8 * shift // 6)
    last = 8 * (shift + len(secret)) // 6
    return base64.b64encode(bytes(shift) + secret + bytes(3))[first:last]


def unfolded(dump: bytes) -> Iterator[bytes]:
    """Return a dump of PostgreSQL and the decoded content of each byte string in it."""
    yield dump
    yield b"\n".join(bytes.fromhex(found[1].decode()) for found in _BYTEA.finditer(dump))
