"""The decision of a retry for each step: keep its result, continue its job, or buy it again.

The decision depends only on the purchases of the steps, read under the lock of their execution.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
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


class RetryAction(StrEnum):
    """The decision for a step.

    KEPT: the step completed, and its file is stored or may still be fetched.
    CONTINUED: the retry waits for the existing job.
    BOUGHT: a new job replaces the last one. MADE: the same for a media step or an approval step, at
    no cost.
    LEFT: nothing is done. The step is an option of decisions that are kept, and was not chosen.
    """

    KEPT = "kept"
    CONTINUED = "continued"
    BOUGHT = "bought"
    MADE = "made"
    LEFT = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One job of a step, of any generation.

    report: the end state that the provider reported; None: none yet.
    produced: the report lists files. stored: all of them are in object storage.
    reused_from: of an approval step, the job that was chosen.
    bill_open: the real cost is not booked. cost_nano_usd is then the highest possible cost: the
    amount held for the job or, for an orphan, for its step.
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
    reused_from: JobId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRetry:
    """The decision for one step of a retry.

    last: the step's latest purchase so far.
    job: the purchase that is kept or continued; None if the step is bought or made again.
    doubtful: for a step that is bought again, the purchases that may still complete and be billed,
    so that the step may cost twice.
    """

    step: Step
    action: RetryAction
    last: Purchase
    job: Purchase | None
    doubtful: tuple[Purchase, ...] = ()

    @property
    def is_kept(self) -> bool:
        return self.action is RetryAction.KEPT


def decide_retry(
    plan: Plan,
    purchases: Sequence[Purchase],
    error: FailureCode | None,
    *,
    served: Collection[JobId] = (),
) -> tuple[StepRetry, ...]:
    """Decide for each step of the plan.

    purchases: those of all steps, oldest first within a step.
    error: the failure with which the execution ended. served: jobs whose files the provider serves
    now, although storing them failed.
    """
    last = {purchase.step: purchase for purchase in purchases if not purchase.orphan}
    decided: list[StepRetry] = []
    for step in plan.steps:
        users = [last[other.name] for other in plan.steps if step.name in other.needs]
        lost = _file_is_lost(error if step.name == plan.result_step else None, users)
        latest = last[step.name]
        lost = lost and latest.job_id not in served
        earlier = [
            purchase
            for purchase in purchases
            if purchase.step == step.name and purchase is not latest
        ]
        if step.is_approval:
            kept = {item.job.job_id for item in decided if item.is_kept and item.job is not None}
            decided.append(_decide_again(step, latest, kept))
        else:
            decided.append(_decide(step, latest, earlier, lost=lost))
    return _without_unneeded(plan, decided)


def _without_unneeded(plan: Plan, decided: Sequence[StepRetry]) -> tuple[StepRetry, ...]:
    """Leave failed options whose decisions are kept, and failed steps that only these need."""
    published = {plan.result_step, *(output.step for output in plan.outputs.values())}
    unneeded: set[str] = set()
    kept = {item.step.name for item in decided if item.step.is_approval and item.is_kept}
    for item in reversed(decided):
        users = {other.name for other in plan.steps if item.step.name in other.needs}
        again = item.action in (RetryAction.BOUGHT, RetryAction.MADE)
        if again and users and users <= kept | unneeded and item.step.name not in published:
            unneeded.add(item.step.name)
    return tuple(
        replace(item, action=RetryAction.LEFT, job=None, doubtful=())
        if item.step.name in unneeded
        else item
        for item in decided
    )


def _decide_again(step: Step, last: Purchase, kept: Collection[JobId]) -> StepRetry:
    """Keep a decision whose chosen file is kept; otherwise the retry asks again.

    kept: the jobs of earlier steps whose files are kept.
    """
    if last.state is JobState.COMPLETED and last.reused_from in kept:
        return StepRetry(step=step, action=RetryAction.KEPT, last=last, job=last)
    return StepRetry(step=step, action=RetryAction.MADE, last=last, job=None)


def _decide(step: Step, last: Purchase, earlier: Sequence[Purchase], *, lost: bool) -> StepRetry:
    if step.is_media:
        kept = last.state is JobState.COMPLETED and last.stored
        action = RetryAction.KEPT if kept else RetryAction.MADE
        return StepRetry(step=step, action=action, last=last, job=last if kept else None)
    if last.state.ended and _completed(last) and (last.stored or not lost):
        return StepRetry(step=step, action=RetryAction.KEPT, last=last, job=last)
    if _can_continue(last):
        return StepRetry(step=step, action=RetryAction.CONTINUED, last=last, job=last)
    unused = [purchase for purchase in earlier if _completed_unused(purchase)]
    if unused:
        return StepRetry(step=step, action=RetryAction.KEPT, last=last, job=unused[-1])
    doubtful = tuple(purchase for purchase in (last, *earlier) if _outcome_is_unknown(purchase))
    return StepRetry(step=step, action=RetryAction.BOUGHT, last=last, job=None, doubtful=doubtful)


def _file_is_lost(error: FailureCode | None, users: Iterable[Purchase]) -> bool:
    """Return whether a file that is not stored can no longer be fetched.

    error: the failure of storing it. users: the purchases of the steps that need it.
    """
    return error in _FILE_IS_LOST or any(
        user.failure in _FILE_IS_LOST
        and not user.has_provider_id  # otherwise the failure is about the user's own file
        for user in users
    )


def _completed(purchase: Purchase) -> bool:
    """Return whether the provider reported a result, possibly after the job was given up."""
    return purchase.report is JobState.COMPLETED and purchase.produced


def _completed_unused(purchase: Purchase) -> bool:
    """Return whether an earlier purchase completed after it was replaced, so its file is unused.

    An earlier purchase whose file was used was replaced because that file is lost.
    """
    given_up = purchase.state in (JobState.FAILED, JobState.CANCELLED)
    return _completed(purchase) and (given_up or (purchase.orphan and purchase.state.ended))


def _outcome_is_unknown(purchase: Purchase) -> bool:
    """Return whether a purchase was sent and the provider has not reported its end."""
    return purchase.sent and purchase.bill_open and purchase.report is None


def _can_continue(purchase: Purchase) -> bool:
    """Return whether the retry can wait for this job instead of buying another.

    True for a job that has not ended, and for a job that was given up but accepted by the provider,
    unless a cancel was sent.
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
