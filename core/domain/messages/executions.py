"""Messages about executions: the workflow's input, the claim, and the result."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.domain.failures import Failure
from core.domain.ids import AssetId, EventId, ExecutionId, JobId, UserId
from core.domain.messages.webhooks import AttemptOutcome
from core.domain.plans import Plan, PlanType
from core.domain.states import ExecutionStatus, JobState

CURRENT_PATH: Final = 7
"""The path through the execution workflow that runs claimed by this version take.

A path is a sequence of commands. Its number is part of the claim's result, so a replay takes the
path of its run without a marker for each change.
0: the upsert of the status `running`, and ids of waits behind the patch `wait-completed-by-id`.
1: neither; a wait always has an id.
2: files of steps with `stored_with_next` are stored together with a later step's.
3: a step continues with `next_job` at another model.
4: a step whose input file can never be stored fails at once.
5: media steps, and the poster of a finished video.
6: steps with `reuse` use the files of earlier purchases.
7: approval steps.
"""


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
    """The job of a step at the time of the claim.

    stored: its files are in object storage. own_key: its user has a key at its provider.
    provider, model: of a job that is not at the step's own model, otherwise empty.
    """

    step: str
    job_id: JobId
    state: JobState = JobState.WAITING
    stored: bool = False
    own_key: bool = False
    provider: str = ""
    model: str = ""


class ClaimOutcome(StrEnum):
    """The result of a claim.

    CLAIMED: this run executes the plan.
    CANCELLED: the execution was cancelled before its start.
    WAITING: the user's concurrency limit is reached; the execution stays queued and is started
    again when a slot is free.
    LOST: another generation has the execution, or it has ended.
    """

    CLAIMED = "claimed"
    CANCELLED = "cancelled"
    WAITING = "waiting"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """The result of a claim. path: CURRENT_PATH of the version that claimed the run."""

    outcome: ClaimOutcome
    jobs: tuple[StepJob, ...] = ()
    path: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelInput:
    execution: ExecutionRef
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishInput:
    """The end of a run. failure: that of the step that stopped the plan, or the cancel.

    attempts_webhook: the caller makes the first attempt to deliver the webhook if the outcome asks
    for it; otherwise a delivery is started.
    """

    execution: ExecutionRef
    status: ExecutionStatus
    failure: Failure | None = None
    attempts_webhook: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOutcome:
    """The workflow's result, which Temporal's Web UI shows to operators.

    attempt_webhook: the workflow makes the first attempt to deliver the event. webhook: the result
    of that attempt. poster_of: the finished video, if it is to have a poster.
    """

    status: ExecutionStatus | None
    spent_nano_usd: int = 0
    event_id: EventId | None = None
    failure: Failure | None = None
    attempt_webhook: bool = False
    webhook: AttemptOutcome | None = None
    poster_of: AssetId | None = None
