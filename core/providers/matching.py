"""The rule that decides which of a provider's listed jobs may be our send."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.platform.clock import ClockOffset
from core.providers.port import Lookup

CLOCK_SKEW = timedelta(seconds=30)
"""How much earlier than the send a matching job may be listed and still be taken for it."""
WINDOW = timedelta(minutes=15)
"""How far a look-up's window extends before the earliest and after the latest time of the send.

A clock that was wrong at the time of the send may have dated it by minutes too late or too early.
"""
MAX_PAGES = 50
"""Pages of a list that are read; a longer list is not authoritative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A job in a provider's list. inputs: None if the list does not show them (any more)."""

    job_id: str | None
    sent_at: datetime | None
    inputs: Mapping[str, object] | None


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
    body: Mapping[str, object],
    lookup: Lookup,
    clock: ClockOffset | None,
) -> MatchResult:
    """Return the candidates with exactly our inputs that are not older than the send.

    An older one is doubtful, because the clock may have been wrong at the time of the send. clock:
    the provider's; the database may be ahead of it.
    """
    ahead = max(0.0, lookup.clock.high - clock.low) if clock is not None else 0.0
    earliest = lookup.sent_from - CLOCK_SKEW - timedelta(seconds=ahead)
    matches: list[tuple[datetime, str]] = []
    doubtful: list[str | None] = []
    for candidate in candidates:
        at, same = candidate.sent_at, candidate.inputs == body
        if at is not None and at < lookup.sent_from - WINDOW:
            continue
        if at is not None and candidate.job_id is not None and same and at >= earliest:
            matches.append((at, candidate.job_id))
        elif _is_doubtful(candidate, body):
            doubtful.append(candidate.job_id)
    return MatchResult(
        job_ids=tuple(job_id for _, job_id in sorted(set(matches))),
        doubtful=tuple(sorted({job_id for job_id in doubtful if job_id is not None})),
        ambiguous=None in doubtful,
    )


def _is_doubtful(candidate: Candidate, body: Mapping[str, object]) -> bool:
    """Return whether a job that is no exact match may be our send.

    Providers fill in defaults and move inline images to their own storage, so only the prompt and
    the seed are compared.
    """
    if candidate.sent_at is None or candidate.job_id is None or candidate.inputs is None:
        return True
    return all(candidate.inputs.get(name) == body.get(name) for name in ("prompt", "seed"))
