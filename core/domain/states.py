"""The states of executions, jobs and charges, and the moves between them.

Every move in SQL names the state it expects; zero rows is an answer. These tables are what the SQL
is tested against.
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


class JobState(StrEnum):
    """WAITING: may be sent. SUBMITTING: intent committed, the answer is out.

    UNKNOWN: sent perhaps; it is looked up, never re-sent.
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
    """HELD: money is set aside, the bill is open. SETTLED: the real cost is booked.

    RELEASED: never sent, nothing was paid.
    """

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"


class CostBasis(StrEnum):
    """Where a settled cost comes from: the provider said so, the price book computed it, or it had
    to be assumed.
    """

    REPORTED = "reported"
    COMPUTED = "computed"
    ASSUMED = "assumed"


class LedgerKind(StrEnum):
    """Amounts are never negative, but an adjustment's; a released and a refunded one is
    taken away.
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
    # To submitted: its last send was held to be absent, and its answer or callback came after all.
    JobState.WAITING: frozenset(
        {JobState.SUBMITTING, JobState.SUBMITTED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.SUBMITTING: frozenset(
        {JobState.SUBMITTED, JobState.WAITING, JobState.UNKNOWN, JobState.FAILED}
    ),
    JobState.UNKNOWN: frozenset({JobState.SUBMITTED, JobState.WAITING, JobState.FAILED}),
    JobState.SUBMITTED: frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED}),
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

RETRY_MOVES: Final[dict[JobState, frozenset[JobState]]] = {
    JobState.FAILED: frozenset({JobState.COMPLETED, JobState.SUBMITTED}),
    JobState.CANCELLED: frozenset({JobState.COMPLETED, JobState.SUBMITTED}),
}
"""Of a job that had ended, by a retry of its execution alone: to completed by its late report, to
submitted because the provider has it after all and still works on it.
"""
