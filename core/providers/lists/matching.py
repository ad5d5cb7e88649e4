"""The rule that decides which of a provider's listed jobs may be our send."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import cast

from core.domain.ids import ProviderJobId
from core.platform.clock import ClockOffset
from core.providers.port import Lookup

CLOCK_SKEW = timedelta(seconds=30)
"""How much earlier than the send a matching job may be listed and still be taken for it."""
MAX_LATER = 500
"""Jobs that `later_jobs` returns at most, the earliest first."""
WINDOW = timedelta(minutes=15)
"""How far a look-up's window extends before the earliest and after the latest time of the send.

A clock that was wrong at the time of the send may have dated it by minutes too late or too early.
"""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A job's inputs as fingerprints. words: of the prompt or text and the seed only.

    Providers fill in defaults and move inline images to their own storage; words stay the same.
    """

    exact: bytes
    words: bytes

    @classmethod
    def of(cls, inputs: Mapping[str, object]) -> "Inputs":
        words = {name: inputs.get(name) for name in ("prompt", "text", "seed")}
        return cls(exact=_fingerprint(inputs), words=_fingerprint(words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A job in a provider's list, reduced to what a look-up compares.

    inputs: None if the list does not show them (any more). callback: a fingerprint of its address.
    listable_at: from when the provider lists it, apart from the list's lag: its creation, or its
    end where only ended jobs are listed.
    """

    job_id: str | None
    sent_at: datetime | None
    inputs: Inputs | None
    callback: bytes | None = None
    listable_at: datetime | None = None


def later_jobs(
    candidates: Iterable[Candidate], lookup: Lookup, settled_seconds: float
) -> tuple[ProviderJobId, ...]:
    """Return the jobs that became listable when the send must have been listable too."""
    settled_at = lookup.sent_until + timedelta(seconds=settled_seconds)
    later = sorted(
        (candidate.listable_at, candidate.job_id)
        for candidate in candidates
        if candidate.listable_at is not None
        and candidate.listable_at > settled_at
        and candidate.job_id is not None
    )
    return tuple(ProviderJobId(job_id) for _, job_id in later[:MAX_LATER])


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchResult:
    """Exact matches, oldest first.

    doubtful: listed jobs that may be our send although they do not match exactly. ambiguous: there
    is one of these without an id.
    """

    job_ids: tuple[str, ...]
    doubtful: tuple[str, ...]
    ambiguous: bool


def match_candidates(
    candidates: Iterable[Candidate],
    inputs: Inputs,
    lookup: Lookup,
    clock: ClockOffset | None,
    *,
    callback: bytes | None = None,
) -> MatchResult:
    """Return the candidates with exactly our inputs that are not older than the send.

    An older one is doubtful, because the clock may have been wrong at the time of the send. clock:
    the provider's; the database may be ahead of it. callback: of the send; a job with the same one
    is the send, whatever the list shows of its inputs.
    """
    ahead = max(0.0, lookup.clock.high - clock.low) if clock is not None else 0.0
    earliest = lookup.sent_from - CLOCK_SKEW - timedelta(seconds=ahead)
    matches: list[tuple[datetime, str]] = []
    doubtful: list[str | None] = []
    for candidate in candidates:
        at = candidate.sent_at
        is_ours = callback is not None and candidate.callback == callback
        same = is_ours or (candidate.inputs is not None and candidate.inputs.exact == inputs.exact)
        if at is not None and at < lookup.sent_from - WINDOW:
            continue
        if at is not None and candidate.job_id is not None and same and (is_ours or at >= earliest):
            matches.append((at, candidate.job_id))
        elif _is_doubtful(candidate, inputs):
            doubtful.append(candidate.job_id)
    return MatchResult(
        job_ids=tuple(job_id for _, job_id in sorted(set(matches))),
        doubtful=tuple(sorted({job_id for job_id in doubtful if job_id is not None})),
        ambiguous=None in doubtful,
    )


def _is_doubtful(candidate: Candidate, inputs: Inputs) -> bool:
    """Return whether a job that is no exact match may be our send."""
    if candidate.sent_at is None or candidate.job_id is None or candidate.inputs is None:
        return True
    return candidate.inputs.words == inputs.words


def fingerprint_of_text(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _fingerprint(value: object) -> bytes:
    """Return a fingerprint that is equal for equal JSON values."""
    try:
        return fingerprint_of_text(json.dumps(_plain(value), sort_keys=True))
    except (RecursionError, ValueError):  # nothing that this service has sent
        return b""


def _plain(value: object) -> object:
    """Return a JSON value in which equal numbers have one form."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, Decimal | float):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    return value
