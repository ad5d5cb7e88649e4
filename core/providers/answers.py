"""Reading what a provider answered: never trusted, never kept whole, never repeated to a person
without scrubbing.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, cast

RETRY_AFTER_MAX_SECONDS = 300.0
"""Longer waits are not believed: the job's own deadline decides."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_DETAIL_MAX_CHARS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole HTTP answer, its body read to the end and within the cap. headers: names in lower
    case.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def note(self) -> str:
        """Status and content type: what may be logged of it."""
        content_type = self.headers.get("content-type", "").partition(";")[0].strip()
        return f"{self.status_code} {content_type[:40]}".strip()

    @property
    def called_json(self) -> bool:
        """By its content type; none at all is taken as such."""
        return "json" in self.headers.get("content-type", "json").partition(";")[0].lower()

    @property
    def contradicts_itself(self) -> bool:
        """A name stands twice in one JSON object: which one counts is anybody's guess."""
        try:
            json.loads(self.body, object_pairs_hook=_each_name_once)
        except _NameTwiceError:
            return True
        except (ValueError, RecursionError):
            return False
        return False

    def json(self) -> object:
        return parsed_json(self.body)

    def object(self) -> Mapping[str, object]:
        """The body as a JSON object; empty if it is anything else."""
        return as_object(self.json())


class _NameTwiceError(Exception):
    pass


def _each_name_once(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _NameTwiceError


def parsed_json(body: bytes) -> object:
    """None for what is not JSON (or is the JSON null)."""
    try:
        return cast("object", json.loads(body))
    except (ValueError, RecursionError):
        return None


def as_object(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_seconds(value: object) -> float | None:
    """A JSON number that can be a duration, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    seconds = float(value)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def as_time(value: object) -> datetime | None:
    """An ISO 8601 time as aware UTC, else None."""
    try:
        time = datetime.fromisoformat(as_text(value))
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def iso_utc(time: datetime) -> str:
    """A time as providers' lists take it: ISO 8601, UTC, milliseconds, Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_job_id(value: object) -> str | None:
    """An id that can stand in a path as it is, else None: then it is as good as no id."""
    text = as_text(value)
    return text if _ID.fullmatch(text) else None


def as_media_url(value: object) -> str | None:
    text = as_text(value)
    return text if text.startswith(("https://", "http://")) else None


def retry_after_seconds(text: str | None, now: datetime) -> float:
    """A Retry-After header as seconds, RETRY_AFTER_MAX_SECONDS at most. 0 if absent, past, negative
    or unreadable.
    """
    text = (text or "").strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # a year of twenty digits overflows
            return 0.0
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(0.0, seconds), RETRY_AFTER_MAX_SECONDS)


# What a vendor's message must never carry on: addresses, paths, keys and tokens, dumps.
_UNSPEAKABLE: Final = (
    (re.compile(r"(?i)traceback.*|\bfile \".*", re.DOTALL), ""),
    (re.compile(r"(?i)\bdata:\S+"), "[data]"),
    (re.compile(r"\S*://\S+"), "[address]"),
    (re.compile(r"(?i)\b(?:bearer|key|token)\s+\S{6,}"), "[key]"),
    (re.compile(r"[A-Za-z0-9_\-+/=:.]{24,}"), "[…]"),
    (re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?"), "[address]"),
    (re.compile(r"(?<!\w)/[\w.-]+(?:/[\w.-]+)+"), "[path]"),
    (re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\s]+"), " "),
)


def scrubbed(text: str) -> str:
    """A vendor's message, short and without anything that is not for a person: keys, addresses,
    paths, dumps.
    """
    text = text[:2000]
    for pattern, replacement in _UNSPEAKABLE:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if len(text) <= _DETAIL_MAX_CHARS else f"{text[: _DETAIL_MAX_CHARS - 1]}…"
