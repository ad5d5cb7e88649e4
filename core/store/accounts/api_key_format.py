"""The form of an API key: tko_<prefix>_<secret><checksum>.

The prefix is public; requests are looked up by it. The checksum rejects mistyped keys without a
query, and scanners for leaked secrets can recognise it. Only a hash of the secret is stored; with
238 random bits a fast hash is enough.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX_CHARS = 12
_SECRET_CHARS = 40
_CHECKSUM_CHARS = 6  # 62**6 > 2**32
_FORM = re.compile(
    rf"tko_([0-9A-Za-z]{{{_PREFIX_CHARS}}})_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECKSUM_CHARS}}}",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key in clear: shown once at creation, and in memory while a request is authenticated."""

    prefix: str
    text: str = field(repr=False)

    @property
    def secret_sha256(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()

    def matches(self, secret_sha256: bytes) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(self.secret_sha256, secret_sha256)


def new_api_key() -> ApiKey:
    prefix = _random(_PREFIX_CHARS)
    body = f"tko_{prefix}_{_random(_SECRET_CHARS)}"
    return ApiKey(prefix=prefix, text=body + _checksum(body))


def parse_api_key(text: str) -> ApiKey | None:
    """Parse a key; None for text that cannot be one."""
    match = _FORM.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_CHARS]) != text[-_CHECKSUM_CHARS:]:
        return None
    return ApiKey(prefix=match[1], text=text)


def _random(chars: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(chars))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
