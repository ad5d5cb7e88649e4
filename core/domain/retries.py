"""What a retry keeps, what it goes on with, and what it buys again.

Pure: decided from the purchases of each step, as they are under the lock of their execution.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.domain.failures import FailureCode
from core.domain.ids import JobId
from core.domain.money import NanoUsd
from core.domain.plans import Plan, Step
from core.domain.states import JobState

_FILE_IS_LOST: Final = frozenset(
    {FailureCode.OUTPUT_EXPIRED, FailureCode.OUTPUT_INVALID, FailureCode.OUTPUT_TOO_LARGE}
)


class Fate(StrEnum):
    """KEPT: completed, and its file is stored or may still be fetched. CONTINUED: the same purchase
    goes on.

    BOUGHT: a new job supersedes the last one.
    """

    KEPT = "kept"
    CONTINUED = "continued"
    BOUGHT = "bought"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One job of a step, whichever generation bought it.

    report: how the provider says it ended; None: it has not said. produced: that report lists
    files. stored: we hold them all. bill_open: its real cost is not booked; cost_nano_usd is then
    the most it may be: what was held for it, of an orphan for its step.
    """

    job_id: JobId
    step: str
    state: JobState
    orphan: bool
    sent: bool
    has_provider_id: bool
    cancel_sent: bool
    report: JobState | None
    produced: bool
    stored: bool
    failure: FailureCode | None
    bill_open: bool
    cost_nano_usd: NanoUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRetry:
    """job: what is kept or continued; of a step that is bought, none. last: the step's latest
    purchase so far.

    doubtful: of a step that is bought, the purchases that may still complete and be billed: buying
    it again may cost it twice.
    """

    step: Step
    fate: Fate
    last: Purchase
    job: Purchase | None
    doubtful: tuple[Purchase, ...] = ()


def decide_retry(
    plan: Plan, purchases: Sequence[Purchase], error: FailureCode | None
) -> tuple[StepRetry, ...]:
    """purchases: of all steps, of each the oldest first. error: what the execution ended with."""
    last = {purchase.step: purchase for purchase in purchases if not purchase.orphan}
    decided: list[StepRetry] = []
    for step in plan.steps:
        users = [last[other.name] for other in plan.steps if step.name in other.needs]
        lost = _is_lost(error if step.name == plan.result_step else None, users)
        earlier = [one for one in purchases if one.step == step.name and one is not last[step.name]]
        decided.append(_decide(step, last[step.name], earlier, lost=lost))
    return tuple(decided)


def _decide(step: Step, last: Purchase, earlier: Sequence[Purchase], *, lost: bool) -> StepRetry:
    if last.state.ended and _completed(last) and (last.stored or not lost):
        return StepRetry(step=step, fate=Fate.KEPT, last=last, job=last)
    if _goes_on(last):
        return StepRetry(step=step, fate=Fate.CONTINUED, last=last, job=last)
    late = [one for one in earlier if _came_late(one)]
    if late:
        return StepRetry(step=step, fate=Fate.KEPT, last=last, job=late[-1])
    doubtful = tuple(one for one in (last, *earlier) if _may_still_come(one))
    return StepRetry(step=step, fate=Fate.BOUGHT, last=last, job=None, doubtful=doubtful)


def _is_lost(error: FailureCode | None, users: Iterable[Purchase]) -> bool:
    """Whether a file that is not stored cannot be had any more: storing it said so, or the step
    that needs it.
    """
    return error in _FILE_IS_LOST or any(
        user.failure in _FILE_IS_LOST
        and not user.has_provider_id  # with one, it is its own file that is gone
        for user in users
    )


def _completed(purchase: Purchase) -> bool:
    """Also one that was given up: its late report stands."""
    return purchase.report is JobState.COMPLETED and purchase.produced


def _came_late(purchase: Purchase) -> bool:
    """Bought beside the step's later jobs, and completed when nobody waited for it. One that was
    used before, and then superseded, has lost its file.
    """
    given_up = purchase.state in (JobState.FAILED, JobState.CANCELLED)
    return _completed(purchase) and (given_up or (purchase.orphan and purchase.state.ended))


def _may_still_come(purchase: Purchase) -> bool:
    """Nobody knows its end, whoever bought it: the last one, one before it, or an orphan."""
    return purchase.sent and purchase.bill_open and purchase.report is None


def _goes_on(purchase: Purchase) -> bool:
    """Not ended, or given up although the provider has it; unless the provider was told to
    end it.
    """
    if not purchase.state.ended:
        return (
            purchase.state is not JobState.SUBMITTED
            or purchase.report is JobState.COMPLETED
            or (purchase.report is None and not purchase.cancel_sent)
        )
    return (
        purchase.bill_open
        and purchase.has_provider_id
        and purchase.report is None
        and not purchase.cancel_sent
    )
