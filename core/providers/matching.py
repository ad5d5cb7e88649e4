"""The rule that decides which of a provider's listed jobs may be our send."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

CLOCK_SKEW = timedelta(seconds=30)
"""How far the provider's clock may be behind ours."""
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

    ambiguous: a listed job may be our send although it does not match exactly, so that an empty
    result does not prove absence.
    """

    job_ids: tuple[str, ...]
    ambiguous: bool


def match_candidates(
    candidates: Iterable[Candidate], body: Mapping[str, object], sent_at: datetime
) -> MatchResult:
    """Return the candidates with exactly our inputs that are not older than the send."""
    matches: list[tuple[datetime, str]] = []
    ambiguous = False
    for candidate in candidates:
        at = candidate.sent_at
        if at is not None and at < sent_at - CLOCK_SKEW:
            continue
        if at is None or candidate.job_id is None or candidate.inputs is None:
            ambiguous = True
        elif candidate.inputs == body:
            matches.append((at, candidate.job_id))
        elif _may_be_rewritten(candidate.inputs, body):
            ambiguous = True
    job_ids = tuple(job_id for _, job_id in sorted(set(matches)))
    return MatchResult(job_ids=job_ids, ambiguous=ambiguous)


def _may_be_rewritten(inputs: Mapping[str, object], body: Mapping[str, object]) -> bool:
    """Return whether the inputs equal ours except for what a provider may have rewritten.

    Providers fill in defaults and move inline images to their own storage.
    """
    return all(inputs.get(name) == body.get(name) for name in ("prompt", "seed"))
