"""The states of executions, jobs and charges, and the transitions between them.

Each transition in SQL checks the current state and changes no row if it differs. Tests compare the
SQL with these tables.
"""

from enum import StrEnum
from typing import Final


class ExecutionStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (
            ExecutionStatus.COMPLETED,
            ExecutionStatus.FAILED,
            ExecutionStatus.CANCELLED,
        )


class Surface(StrEnum):
    """Where an execution was ordered, unless by the routes below /api."""

    OPENAI = "openai"


class JobState(StrEnum):
    """The state of a job.

    WAITING: may be sent.
    SUBMITTING: the intent to send is committed, and there is no response yet.
    UNKNOWN: perhaps sent; the job is looked up and never sent again.
    """

    WAITING = "waiting"
    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class ChargeState(StrEnum):
    """The state of a charge.

    HELD: the highest possible cost is reserved, and the real cost is open.
    SETTLED: the real cost is booked.
    RELEASED: the job was never sent, so nothing was paid.
    """

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"


class CostBasis(StrEnum):
    """The source of a settled cost: the provider's report, the price book, or an assumption."""

    REPORTED = "reported"
    COMPUTED = "computed"
    ASSUMED = "assumed"


class LedgerKind(StrEnum):
    """The kind of a ledger entry.

    Only an adjustment may be negative. Released and refunded amounts are subtracted.
    """

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    OVERAGE = "overage"
    ADJUSTMENT = "adjustment"
    ORPHAN = "orphan"
    REFUND = "refund"


EXECUTION_MOVES: Final[dict[ExecutionStatus, frozenset[ExecutionStatus]]] = {
    ExecutionStatus.QUEUED: frozenset(
        {ExecutionStatus.RUNNING, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}
    ),
    ExecutionStatus.RUNNING: frozenset(
        {ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED}
    ),
    ExecutionStatus.COMPLETED: frozenset(),
    ExecutionStatus.FAILED: frozenset({ExecutionStatus.QUEUED}),
    ExecutionStatus.CANCELLED: frozenset({ExecutionStatus.QUEUED}),
}

JOB_MOVES: Final[dict[JobState, frozenset[JobState]]] = {
    # To submitted: the look-up reported the last send as absent, and its response or callback
    # arrived later. To completed: of a media step, or with the files of an earlier purchase.
    JobState.WAITING: frozenset(
        {
            JobState.SUBMITTING,
            JobState.SUBMITTED,
            JobState.COMPLETED,
            JobState.FAILED,
            JobState.CANCELLED,
        }
    ),
    JobState.SUBMITTING: frozenset(
        {JobState.SUBMITTED, JobState.WAITING, JobState.UNKNOWN, JobState.FAILED}
    ),
    JobState.UNKNOWN: frozenset({JobState.SUBMITTED, JobState.WAITING, JobState.FAILED}),
    # To waiting: the send failed at no cost, and the provider calls the failure transient.
    JobState.SUBMITTED: frozenset(
        {JobState.WAITING, JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

RETRY_MOVES: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.FAILED: frozenset({JobState.COMPLETED, JobState.SUBMITTED}),
    JobState.CANCELLED: frozenset({JobState.COMPLETED, JobState.SUBMITTED}),
}
"""Transitions of an ended job, which only a retry of its execution makes.

To completed: the provider reported a result late. To submitted: the provider accepted the job and
still works on it.
"""
