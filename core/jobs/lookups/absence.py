"""The proof that a send was never accepted, from looks at the provider's list.

A send that is wrongly held absent is bought twice, so no single clock is trusted.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from core.platform.clock import ClockOffset, boot_id
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
    of the send is doubtful, and the horizon is counted from the first look. A look whose slow
    answer leaves open whether the clocks agree does not count.

    lacks: what the last look lacked. due_at: the reading of boot_seconds from which a look can
    complete the proof; None: not known.
    """

    apart_seconds: float = LOOKS_APART_SECONDS
    lacks: str = ""
    due_at: float | None = None
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
        self.lacks = self._lacks(answer, owned, database, horizon_seconds)
        if self.lacks:
            return False
        if self._absent_at is None:
            self._absent_at = answer.looked_at
        if settled_seconds is not None and not self._doubtful:
            horizon_seconds = min(horizon_seconds, settled_seconds)
        # The send by boot_seconds, as late as the database's clock allows.
        sent_at = self._began_at if self._doubtful else sent_until.timestamp() - database.low
        past_at = sent_at + horizon_seconds
        self.due_at = max(past_at, self._absent_at + self.apart_seconds)
        if answer.looked_at <= past_at:
            self.lacks = "the horizon has not passed"
        elif answer.looked_at - self._absent_at < self.apart_seconds:
            self.lacks = "a second look"
        return not self.lacks

    def _lacks(
        self,
        answer: FindAnswer,
        owned: Collection[str],
        database: ClockOffset,
        horizon_seconds: float,
    ) -> str:
        """Return why a look does not count, and note whether the time of the send is doubtful."""
        for known in (answer.clock, self._database):
            if known is None or known.is_within(CLOCK_TOLERANCE_SECONDS, database):
                continue
            if not known.is_beyond(CLOCK_TOLERANCE_SECONDS, database):
                return "clocks that were read quickly"
            self._doubtful = True
            if known is answer.clock:
                return "a provider's clock that agrees with the database's"
        self._database = database
        if answer.clock is None:
            return "a provider's clock"
        if horizon_seconds <= 0:
            return "a known horizon"
        if not answer.authoritative:
            return "a complete list"
        if any(job_id not in owned for job_id in answer.doubtful):
            return "the owner of a similar job"
        return ""

    def to_details(self, send_number: int) -> list[Mapping[str, object]]:
        """Return the looks at a send as heartbeat details, for `resumed`; [] without any."""
        if self._database is None or self._absent_at is None:
            return []
        looks = {"began_at": self._began_at, "absent_at": self._absent_at}
        clock = {"low": self._database.low, "high": self._database.high}
        return [
            {"boot": boot_id(), "send": send_number, "doubtful": self._doubtful, **looks, **clock}
        ]

    @classmethod
    def resumed(
        cls,
        details: Sequence[object],
        send_number: int,
        database: ClockOffset,
        apart_seconds: float = LOOKS_APART_SECONDS,
    ) -> Self:
        """Return the proof that an earlier try of the same look-up began, or an empty one.

        Its times are readings of boot_seconds. They count only in the same boot, while the
        database's clock confirms it: a copy of a virtual machine has the same boot id and another
        time.
        """
        proof = cls(apart_seconds=apart_seconds)
        match details:
            case [
                {
                    "boot": str(boot), "send": int(number), "doubtful": bool(doubtful),
                    "began_at": float(began_at), "absent_at": float(absent_at),
                    "low": float(low), "high": float(high),
                }
            ] if boot and (boot, number) == (boot_id(), send_number):  # fmt: skip
                clock = ClockOffset(low, high)
                if clock.is_within(CLOCK_TOLERANCE_SECONDS, database):
                    proof._began_at, proof._absent_at = began_at, absent_at
                    proof._database, proof._doubtful = clock, doubtful
            case _:
                pass
        return proof
