"""Removal of secrets from logs, by the name of a field, the form of a text, and exact values."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, cast

REDACTED: Final = "[redacted]"
MAX_TEXT_CHARACTERS = 16_000  # a vendor's page or a data URI must not fill the log
MIN_SECRET_CHARACTERS = 8  # shorter values would blank out ordinary words
MAX_DEPTH = 8
MAX_NAMES = 256
"""Field names that are remembered. Ours are constants, so nearly all are."""

_SENSITIVE_NAMES = (
    r"authorization|cookie|password|passwd|secret|secret[_-]?access[_-]?key|(?:x[ni]?[_-])?api[_-]?key|fal[_-]?key"
    r"|(?:access|session|security|refresh)?[_-]?token|signature|encryption[_-]?keys"
)
_SENSITIVE_FIELD = re.compile(rf"(?:^|[_.-])(?:{_SENSITIVE_NAMES})$", re.IGNORECASE)

# All other query parameters lose their value, because a signed URL's secret may have any name.
_PLAIN_PARAMETERS = frozenset(
    {
        "limit",
        "cursor",
        "page",
        "offset",
        "start",
        "end",
        "status",
        "expand",
        "endpoint_id",
        "request_id",
        "sort_by",
    }
    | {
        "created_after",
        "created_before",
        "logs",
        "list-type",
        "prefix",
        "partnumber",
        "uploads",
        "x-id",
    }
)
_QUERY = re.compile(r"\?([\w.%~\[\]-]+=[^\s\"'<>]*)")


def _redact_connection_password(match: re.Match[str]) -> str:
    """Redact up to the last @, because a raw password may contain any character."""
    before, at, after = match[2].rpartition("@")
    return f"{match[1]}:{REDACTED}@{after}" if at and before else match[0]


# Texts come from strangers (a request's path), so each pattern takes linear time: it cannot match
# from many positions and then read the same long text again from each.
_RULES: Final[list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # postgresql://user:pass@host
        (
            r"(?i)\b((?:postgres(?:ql)?|rediss?|amqps?)://[^\s:@/]*):(\S+)",
            _redact_connection_password,
        ),
        (r"(://[^\s:/@]*):[^\s/@]+@", r"\1:[redacted]@"),
        # the token of a callback address, also percent-encoded inside another URL
        (r"(?i)(callbacks(?:/|%2F)[\w-]+(?:/|%2F))[^\s/?&#\"'%<>]+", r"\1[redacted]"),
        # Authorization: Key …, ('authorization', 'Bearer …'), {"authorization": "…"}
        (
            r"(?i)(authorization\\?[\"']?\s*[:=,]\s*(?:b?\\?[\"'])?)(?:(?:bearer|key|basic|token)\s+)?[^\s\"',;}\\]+",
            r"\1[redacted]",
        ),
        (r"(?i)\b(bearer\s+)[\w.~+/:=-]{6,}", r"\1[redacted]"),
        (r"\b(Key\s+)[\w.~+/:=-]{6,}", r"\1[redacted]"),
        # fal: <uuid>:<hex>
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}:[0-9A-Za-z]{16,}", REDACTED),
        # password=…, "token": "…", 'api_key': '…'
        (
            rf"(?i)(?<![^\W_])((?:{_SENSITIVE_NAMES})=)(?!\[redacted])[^\s&\"',;)}}]+",
            r"\1[redacted]",
        ),
        (
            rf"(?i)(?<![^\W_])((?:{_SENSITIVE_NAMES})\\?[\"']\s*[:,]\s*b?\\?[\"'])(?!\[redacted])[^\"'\\]+",
            r"\1[redacted]",
        ),
        (r"(data:[\w.+-]+/[\w.+-]+;base64,)[\w+/=]{40,}", r"\1[cut]"),
    )
]

# Replicate: r8_…; ElevenLabs: sk_…; ours: tko_…; webhook secrets: whsec_…
_KEYS: Final = re.compile(r"\b(r8_|sk_|tko_|whsec_)[\w+/=-]{6,}")
_ONE_WORD: Final = re.compile(r"[\w.-]*")
"""Most values are ids and names, in which only _KEYS can match: _QUERY and every rule of _RULES
need another character.
"""


class Redactor:
    """A filter that removes secrets by name and form, and the exact values in `secrets`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        exact = sorted(
            {value for value in secrets if len(value) >= MIN_SECRET_CHARACTERS},
            key=len,
            reverse=True,
        )
        self._exact = re.compile("|".join(map(re.escape, exact))) if exact else None
        self._checked = lru_cache(MAX_NAMES)(self._check_name)

    def text(self, value: str) -> str:
        """Return the text without secrets, cut to MAX_TEXT_CHARACTERS."""
        if self._exact:
            value = self._exact.sub(REDACTED, value)
        if len(value) > MAX_TEXT_CHARACTERS:
            value = f"{value[:MAX_TEXT_CHARACTERS]}… [{len(value) - MAX_TEXT_CHARACTERS} more characters]"
        if not _ONE_WORD.fullmatch(value):
            value = _QUERY.sub(_redact_query, value)
            for pattern, replacement in _RULES:
                value = pattern.sub(replacement, value)
        return _KEYS.sub(r"\1[redacted]", value)

    def value(self, value: object, depth: int = 0) -> object:
        """Return any value without secrets, including those in containers.

        Objects of unknown types become text.
        """
        if (
            value is None
            or isinstance(value, bool | int)
            or (isinstance(value, float) and math.isfinite(value))
        ):
            return value  # NaN and infinity become text below, because JSON has neither
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.text(value.decode("utf-8", "replace"))
        if depth < MAX_DEPTH:
            if isinstance(value, Mapping):
                return self.fields(cast("Mapping[object, object]", value), depth + 1)
            if isinstance(value, list | tuple | set | frozenset):
                return [self.value(item, depth + 1) for item in cast("Iterable[object]", value)]
        return self.text(str(value))

    def fields(self, fields: Mapping[object, object], depth: int = 0) -> dict[str, object]:
        """Return the fields without secrets: a sensitive name removes the whole value."""
        plain: dict[str, object] = {}
        for name, value in fields.items():
            shown, is_sensitive = self._checked(str(name))
            hidden = is_sensitive and value is not None
            plain[shown] = REDACTED if hidden else self.value(value, depth)
        return plain

    def _check_name(self, name: str) -> tuple[str, bool]:
        """Return a field's name without secrets, and whether its value is a secret."""
        return self.text(name), _SENSITIVE_FIELD.search(name) is not None


def _redact_query(match: re.Match[str]) -> str:
    return "?" + "&".join(_redact_parameter(part) for part in match[1].split("&"))


def _redact_parameter(part: str) -> str:
    name, equals, _ = part.partition("=")
    return part if not equals or name.lower() in _PLAIN_PARAMETERS else f"{name}={REDACTED}"
