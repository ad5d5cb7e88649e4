"""Which of a provider's jobs could be our send. Adapters bring the candidates; the rule is the same
for all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

SKEW = timedelta(seconds=30)
"""How far the provider's clock may be behind ours."""
MAX_PAGES = 50
"""Of a list; what needs more is not authoritative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A job in a provider's list. inputs: None if the provider shows none (any more)."""

    job_id: str | None
    sent_at: datetime | None
    inputs: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """doubtful: something listed may be our send though it does not match exactly; then absence
    proves nothing.
    """

    job_ids: tuple[str, ...]
    doubtful: bool


def chosen(
    candidates: Iterable[Candidate], body: Mapping[str, object], sent_at: datetime
) -> Chosen:
    """The candidates with exactly our inputs, not older than the send, oldest first."""
    matches: list[tuple[datetime, str]] = []
    doubtful = False
    for candidate in candidates:
        at = candidate.sent_at
        if at is not None and at < sent_at - SKEW:
            continue
        if at is None or candidate.job_id is None or candidate.inputs is None:
            doubtful = True
        elif candidate.inputs == body:
            matches.append((at, candidate.job_id))
        elif _alike(candidate.inputs, body):
            doubtful = True
    return Chosen(job_ids=tuple(job_id for _, job_id in sorted(set(matches))), doubtful=doubtful)


def _alike(inputs: Mapping[str, object], body: Mapping[str, object]) -> bool:
    """The same but for what a provider may have rewritten: defaults filled in, an inline picture
    stored elsewhere.
    """
    return all(inputs.get(name) == body.get(name) for name in ("prompt", "seed"))
