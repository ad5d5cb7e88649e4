"""Defensive readers for provider responses: bounded, typed, and scrubbed before people see them."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, cast

from core.platform.clock import ClockOffset
from core.providers.port import ProviderUnavailableError

RETRY_AFTER_MAX_SECONDS = 300.0
"""Longer waits are capped: the job's own deadline decides."""

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_DETAIL_MAX_CHARS = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete HTTP response whose body is within the size limit.

    headers: names in lower case. clock: the provider's, by the Date header.
    """

    status_code: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    clock: ClockOffset | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def note(self) -> str:
        """Status and content type: the part that is safe to log."""
        content_type = self.headers.get("content-type", "").partition(";")[0].strip()
        return f"{self.status_code} {content_type[:40]}".strip()

    @property
    def declares_json(self) -> bool:
        """Whether the content type is JSON; a missing content type counts as JSON."""
        return "json" in self.headers.get("content-type", "json").partition(";")[0].lower()

    @property
    def has_duplicate_names(self) -> bool:
        """Whether a JSON object in the body repeats a name, which makes its value ambiguous."""
        try:
            json.loads(self.body, object_pairs_hook=_reject_duplicate_names)
        except _DuplicateNameError:
            return True
        except (ValueError, RecursionError):
            return False
        return False

    def json(self) -> object:
        return parsed_json(self.body)

    def object(self) -> Mapping[str, object]:
        """Return the body as a JSON object, or an empty mapping for anything else."""
        return as_object(self.json())


class _DuplicateNameError(Exception):
    pass


def _reject_duplicate_names(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _DuplicateNameError


def requested_delay(response: Response) -> float:
    """Return the response's Retry-After in seconds, or 0 without one."""
    return retry_after_seconds(response.headers.get("retry-after"), datetime.now(UTC))


def shown_clock(date: str | None, *, before: float, after: float) -> ClockOffset | None:
    """Return the clock that a Date header shows, or None without a usable header.

    before, after: readings of boot_seconds around the call until its headers arrived.
    """
    try:
        at = parsedate_to_datetime(date or "")
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return ClockOffset.measured(at, before=before, after=after, resolution_seconds=1.0)


def unavailable(response: Response) -> ProviderUnavailableError:
    """Return the error for a read whose response does not describe the job."""
    return ProviderUnavailableError(
        response.note,
        retry_after_seconds=requested_delay(response),
        not_found=response.status_code in (404, 410),
    )


def parsed_json(body: bytes) -> object:
    """Return the parsed body, or None if it is not JSON (or is JSON null)."""
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
    """Return a JSON number that can be a duration, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    seconds = float(value)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def as_time(value: object) -> datetime | None:
    """Return an ISO 8601 time as aware UTC, else None."""
    try:
        time = datetime.fromisoformat(as_text(value))
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def iso_utc(time: datetime) -> str:
    """Format a time for a provider's list query: ISO 8601, UTC, milliseconds, Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_job_id(value: object) -> str | None:
    """Return an id that is safe in a URL path, else None."""
    text = as_text(value)
    return text if _ID.fullmatch(text) else None


def as_media_url(value: object) -> str | None:
    text = as_text(value)
    return text if text.startswith(("https://", "http://")) else None


def retry_after_seconds(text: str | None, now: datetime) -> float:
    """Return a Retry-After header in seconds, at most RETRY_AFTER_MAX_SECONDS.

    A header that is absent, earlier than now, negative or unreadable is 0.
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


# Parts of a vendor's message that must not be repeated: addresses, paths, keys, tokens, dumps.
_SENSITIVE: Final = (
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
    """Return a vendor's message, shortened and without keys, addresses, paths and dumps."""
    text = text[:2000]
    for pattern, replacement in _SENSITIVE:
        text = pattern.sub(replacement, text)
    text = text.strip()
    return text if len(text) <= _DETAIL_MAX_CHARS else f"{text[: _DETAIL_MAX_CHARS - 1]}…"
