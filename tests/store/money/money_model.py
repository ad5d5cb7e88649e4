"""A model of the ledger: the expected result of every operation on money.

Months are numbered from 0, and `now` is the current month. Each month has one day with the same
number.
"""

from collections import Counter
from dataclasses import dataclass, field

from core.domain.ids import UserId
from core.domain.messages.jobs import JobRef
from core.domain.states import ChargeState, CostBasis, LedgerKind
from tests.support.rows import Accepted


@dataclass(slots=True)
class Limits:
    """The limits of a user; None: no limit."""

    nano_usd: int | None = None
    videos: int | None = None


@dataclass(slots=True)
class Sums:
    """The sums of a month or a day."""

    held: int = 0
    settled: int = 0
    held_videos: int = 0
    settled_videos: int = 0


@dataclass(slots=True, kw_only=True)
class Bought:
    """A job and its charge. sent: it may have been bought. named: it has a provider id."""

    ref: JobRef
    month: int
    day: int
    held: int
    orphan: bool = False
    sent: bool = False
    named: bool = False
    state: ChargeState = ChargeState.HELD
    basis: CostBasis | None = None
    settled: int = 0
    refunded: int = 0
    adjusted: bool = False


@dataclass(slots=True, kw_only=True)
class Ordered:
    accepted: Accepted
    month: int
    jobs: list[Bought]
    open: bool = True


@dataclass(slots=True)
class Model:
    limits: dict[UserId, Limits]
    daily: int | None = None
    now: int = 0
    months: dict[tuple[UserId, int], Sums] = field(default_factory=dict[tuple[UserId, int], Sums])
    days: dict[int, Sums] = field(default_factory=dict[int, Sums])
    ledger: Counter[LedgerKind] = field(default_factory=Counter[LedgerKind])
    orders: list[Ordered] = field(default_factory=list[Ordered])

    @property
    def jobs(self) -> list[Bought]:
        return [job for order in self.orders for job in order.jobs]

    def month_of(self, user_id: UserId, month: int) -> Sums:
        return self.months.setdefault((user_id, month), Sums())

    def day_of(self, month: int) -> Sums:
        return self.days.setdefault(month, Sums())

    def fits_limits(self, user_id: UserId, amount: int) -> bool:
        """Return whether a hold of this amount fits all limits."""
        limits, month, day = (
            self.limits[user_id],
            self.month_of(user_id, self.now),
            self.day_of(self.now),
        )
        return (
            (limits.nano_usd is None or month.held + month.settled + amount <= limits.nano_usd)
            and (
                limits.videos is None
                or month.held_videos + month.settled_videos + 1 <= limits.videos
            )
            and (self.daily is None or day.held + day.settled + amount <= self.daily)
        )

    def hold(self, accepted: Accepted, prices: tuple[int, int]) -> None:
        pairs = zip((accepted.image, accepted.video), prices, strict=True)
        jobs = [Bought(ref=ref, month=self.now, day=self.now, held=price) for ref, price in pairs]
        self.orders.append(Ordered(accepted=accepted, month=self.now, jobs=jobs))
        self.month_of(accepted.user_id, self.now).held_videos += 1
        for job in jobs:
            self._move(job, held=job.held)
            self.ledger[LedgerKind.HELD] += job.held

    def orphan(self, order: Ordered, job: Bought, ref: JobRef) -> None:
        """Add a second purchase, found today, in the month of the first.

        If the first job has no provider id, its assumed cost belongs to this purchase.
        """
        order.jobs.append(
            Bought(
                ref=ref, month=job.month, day=self.now, held=0, orphan=True, sent=True, named=True
            )
        )
        if (
            job.state is ChargeState.SETTLED
            and job.basis is CostBasis.ASSUMED
            and not job.named
            and job.settled
        ):
            self._adjust(job, 0, CostBasis.ASSUMED)

    def book(self, job: Bought, cost: int, basis: CostBasis) -> bool:
        """Book a bill; return False if another bill was booked before, which stays."""
        if job.state is ChargeState.HELD:
            job.state, job.basis, job.settled = ChargeState.SETTLED, basis, cost
            self._move(job, held=-job.held, settled=cost)
            if job.orphan:
                self.ledger[LedgerKind.ORPHAN] += cost
            else:
                self.ledger[LedgerKind.SETTLED] += min(job.held, cost)
                self.ledger[LedgerKind.RELEASED] += max(0, job.held - cost)
                self.ledger[LedgerKind.OVERAGE] += max(0, cost - job.held)
            return True
        final = job.adjusted or job.basis not in (None, CostBasis.ASSUMED)
        if final or (job.state is ChargeState.RELEASED and cost == 0):
            return cost == job.settled + job.refunded
        self._adjust(job, cost, basis)
        return True

    def _adjust(self, job: Bought, cost: int, basis: CostBasis) -> None:
        difference = cost - job.settled
        job.state, job.basis, job.settled = ChargeState.SETTLED, basis, cost
        job.adjusted = bool(difference)
        self._move(job, settled=difference)
        self.ledger[LedgerKind.ADJUSTMENT] += difference

    def release(self, job: Bought) -> bool:
        """Release a hold; return False if the charge had already ended."""
        if job.state is not ChargeState.HELD:
            return False
        job.state = ChargeState.RELEASED
        self._move(job, held=-job.held)
        self.ledger[LedgerKind.RELEASED] += job.held
        return True

    def refund(self, job: Bought, amount: int) -> bool:
        """Book a refund; return False if the amount exceeds the bill."""
        if (
            job.state is not ChargeState.SETTLED
            or job.basis is CostBasis.ASSUMED
            or amount > job.settled
        ):
            return False
        job.settled -= amount
        job.refunded += amount
        self._move(job, settled=-amount)
        self.ledger[LedgerKind.REFUND] += amount
        return True

    def end(self, order: Ordered, *, completed: bool) -> None:
        order.open = False
        for job in order.jobs:
            if not job.sent:
                self.release(job)
        month = self.month_of(order.accepted.user_id, order.month)
        month.held_videos -= 1
        month.settled_videos += completed

    def _move(self, job: Bought, *, held: int = 0, settled: int = 0) -> None:
        for sums in (self.month_of(job.ref.user_id, job.month), self.day_of(job.day)):
            sums.held += held
            sums.settled += settled
