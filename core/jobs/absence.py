"""The proof that a send was never accepted, from looks at the provider's list.

A send that is wrongly held absent is bought twice, so no single clock is trusted.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.platform.clock import ClockOffset
from core.providers.port import FindAnswer

CLOCK_TOLERANCE_SECONDS: Final = 5.0
"""The most by which the provider's clock and the database's may differ, reading times included.

Beyond it, a send could be listed outside the window of the look-up, or seem older than it is.
"""
LOOKS_APART_SECONDS: Final = 60.0
"""Between the two looks that prove absence together: one list may be a stale copy."""


@dataclass(slots=True, kw_only=True)
class AbsenceProof:
    """Collects looks at a provider's list in which one send does not appear.

    Absence is proven by two looks at complete lists, `apart_seconds` apart by a clock that is never
    set, the second past the provider's horizon. The database's clock dates sends, so it must agree
    with the provider's at both looks. If it did not, or if it was set between two looks, the time
    of the send is doubtful, and the horizon is counted from the first look.
    """

    apart_seconds: float = LOOKS_APART_SECONDS
    _began_at: float | None = None
    _database: ClockOffset | None = None
    _doubtful: bool = False
    _absent_at: float | None = None

    def add(
        self,
        answer: FindAnswer,
        owned: Collection[str],
        database: ClockOffset,
        *,
        sent_until: datetime,
        horizon_seconds: float,
        settled_seconds: float | None = None,
    ) -> bool:
        """Add a look without a match; return whether absence is now proven.

        owned: those of the answer's jobs that belong to other sends. database: its clock, read just
        before the look. sent_until: the latest time of the send. horizon_seconds: the
        provider's; 0 if unknown, which proves nothing. settled_seconds: the horizon without
        the list's lag, if the list has caught up with the send; ignored if its time is doubtful.
        """
        if self._began_at is None:
            self._began_at = answer.looked_at
        if answer.clock is not None and not answer.clock.is_within(
            CLOCK_TOLERANCE_SECONDS, database
        ):
            self._doubtful = True
            return False
        if self._database is not None and not self._database.is_within(
            CLOCK_TOLERANCE_SECONDS, database
        ):
            self._doubtful = True
        self._database = database
        if not answer.authoritative or answer.clock is None or horizon_seconds <= 0:
            return False
        if any(job_id not in owned for job_id in answer.doubtful):
            return False
        if self._absent_at is None:
            self._absent_at = answer.looked_at
        age_seconds = answer.looked_at + database.low - sent_until.timestamp()
        if settled_seconds is not None and not self._doubtful:
            horizon_seconds = min(horizon_seconds, settled_seconds)
        if self._doubtful:
            age_seconds = answer.looked_at - self._began_at
        return (
            age_seconds > horizon_seconds
            and answer.looked_at - self._absent_at >= self.apart_seconds
        )
