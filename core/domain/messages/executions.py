"""Messages about executions: the order that starts a workflow, what it claims, how it ends."""

from dataclasses import dataclass
from enum import StrEnum

from core.domain.failures import Failure
from core.domain.ids import EventId, ExecutionId, JobId, UserId
from core.domain.plans import Plan, PlanType
from core.domain.states import ExecutionStatus, JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOrder:
    execution_id: ExecutionId
    user_id: UserId
    generation: int
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRef:
    """One generation of an execution."""

    user_id: UserId
    execution_id: ExecutionId
    generation: int
    type: PlanType = PlanType.GENERATE_VIDEO


@dataclass(frozen=True, slots=True, kw_only=True)
class StepJob:
    """The job of a step as it was when it was claimed. stored: its files are ours already."""

    step: str
    job_id: JobId
    state: JobState = JobState.WAITING
    stored: bool = False


class ClaimOutcome(StrEnum):
    """CLAIMED: this run walks the plan. CANCELLED: a cancel came before the start.

    WAITING: as many of its user run as may; it stays queued, and another run is started when there
    is room. LOST: another generation has it, or it has ended.
    """

    CLAIMED = "claimed"
    CANCELLED = "cancelled"
    WAITING = "waiting"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    outcome: ClaimOutcome
    jobs: tuple[StepJob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelInput:
    execution: ExecutionRef
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishInput:
    """status: how the walk ended. failure: of the step that stopped it, or the cancel."""

    execution: ExecutionRef
    status: ExecutionStatus
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOutcome:
    """What the workflow returns and an operator reads in the Web UI."""

    status: ExecutionStatus | None
    spent_nano_usd: int = 0
    event_id: EventId | None = None
    failure: Failure | None = None
