"""Executions: accept with steps, jobs and held money in one transaction; claim, cancel and end."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.domain.failures import Failure, FailureCode
from core.domain.ids import EventId, ExecutionId, JobId, UserId, new_job_id
from core.domain.messages.executions import ClaimOutcome, ClaimResult, ExecutionRef, StepJob
from core.domain.money import NanoUsd
from core.domain.plans import (
    Parameters,
    Plan,
    Step,
    StepProgress,
    parameters_to_json,
    plan_to_json,
    progress_percent,
)
from core.domain.prices import Quote
from core.domain.states import ExecutionStatus, JobState
from core.store.database import Connection
from core.store.executions.concurrency_counters import (
    ConcurrencyLimits,
    release_slots,
    take_running_slot,
)
from core.store.money.budget_admission import admit_execution
from core.store.money.charges import Hold, insert_charges
from core.store.secrets.secrets import StoredSecret, insert_secret

NO_LIMITS = ConcurrencyLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStep:
    """A step with its parameters and the price of its job. The worst price is held."""

    step: Step
    parameters: Parameters
    quote: Quote

    @property
    def held_nano_usd(self) -> NanoUsd:
        return self.quote.worst_nano_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExecution:
    """An execution to accept.

    request: the validated request. webhook_url: None means the user's default endpoint.
    webhook_secret: the request's own signing secret; None means the endpoint's or the user's.

    max_cost_nano_usd: the user's limit for the cost of all generations together.
    """

    execution_id: ExecutionId
    user_id: UserId
    plan: Plan
    steps: Sequence[NewStep]
    request: Mapping[str, object]
    metadata: Mapping[str, object]
    webhook_url: str | None
    webhook_secret: StoredSecret | None
    deadline_seconds: int
    max_cost_nano_usd: NanoUsd | None = None


# Without a webhook URL, events go to the endpoint that is the user's default now.
INSERT_EXECUTION = """
INSERT INTO executions
    (execution_id, user_id, type, status, plan, request, metadata, estimated_nano_usd, webhook_url,
     deadline_at, max_cost_nano_usd)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7,
        coalesce($8, (SELECT url FROM endpoints WHERE user_id = $2 AND is_default)),
        now() + make_interval(secs => $9), $10)
"""

INSERT_STEP = """
INSERT INTO steps
    (execution_id, name, user_id, position, kind, provider, model, parameters, usual_seconds, deadline_seconds)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

INSERT_JOB = """
INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


async def insert_execution(
    conn: Connection,
    new: NewExecution,
    limits: ConcurrencyLimits = NO_LIMITS,
    *,
    read: Callable[[], Awaitable[None]] | None = None,
) -> bool:
    """Accept an execution: its row, steps and jobs, and the held money.

    read: reads the new rows before the counters are locked, which all orders of the user wait for.

    Return whether it can run at once. Raises OpenLimitReachedError, QueueFullError,
    BudgetExceededError, ServiceBudgetExceededError: roll back.
    """
    await conn.execute(
        INSERT_EXECUTION,
        new.execution_id,
        new.user_id,
        new.plan.type,
        plan_to_json(new.plan),
        dict(new.request),
        dict(new.metadata),
        sum(step.held_nano_usd for step in new.steps),
        new.webhook_url,
        float(new.deadline_seconds),
        new.max_cost_nano_usd,
    )
    if new.webhook_secret is not None:
        await insert_secret(conn, new.webhook_secret)
    jobs = [new_job_id() for _ in new.steps]
    await conn.executemany(
        INSERT_STEP, [_step_row(new, place, item) for place, item in enumerate(new.steps)]
    )
    await conn.executemany(
        INSERT_JOB,
        [
            (
                job_id,
                new.execution_id,
                item.step.name,
                new.user_id,
                1,
                item.step.provider,
                item.step.model,
            )
            for job_id, item in zip(jobs, new.steps, strict=True)
        ],
    )
    holds = [
        Hold.at(item.quote, job_id=job_id, provider=item.step.provider, model=item.step.model)
        for job_id, item in zip(jobs, new.steps, strict=True)
    ]
    total = await insert_charges(conn, new.user_id, new.execution_id, holds)
    usual_seconds = sum(item.step.usual_seconds for item in new.steps)
    if read is not None:
        await read()
    return await admit_execution(conn, new.user_id, limits, total, usual_seconds=usual_seconds)


def _step_row(new: NewExecution, position: int, item: NewStep) -> tuple[object, ...]:
    step = item.step
    return (
        new.execution_id,
        step.name,
        new.user_id,
        position,
        step.kind,
        step.provider,
        step.model,
        parameters_to_json(item.parameters),
        step.usual_seconds,
        step.deadline_seconds,
    )


LOCK_QUEUED = """
SELECT cancel_requested_at FROM executions
WHERE execution_id = $1 AND generation = $2 AND status = 'queued'
FOR NO KEY UPDATE
"""
# The deadline counts from the claim, so that time in the queue does not shorten the execution.
CLAIM_EXECUTION = """
UPDATE executions
SET status = 'running', started_at = now(), deadline_at = now() + (deadline_at - queued_at), updated_at = now()
WHERE execution_id = $1
"""

GET_STATUS = (
    "SELECT status, generation, cancel_requested_at FROM executions WHERE execution_id = $1"
)

# The job of a step is the latest job of the latest generation: a retry may move an older job into a
# new generation.
LIST_STEP_JOBS = """
SELECT DISTINCT ON (s.position) s.name, j.job_id, j.state,
       (SELECT count(*) FROM assets AS a WHERE a.job_id = j.job_id)
           >= jsonb_array_length(coalesce(j.report -> 'outputs', '[]')) AS stored,
       EXISTS (SELECT FROM provider_keys AS k WHERE k.user_id = j.user_id AND k.provider = j.provider
               AND k.replaced_at IS NULL AND k.deleted_at IS NULL) AS own_key
FROM steps AS s JOIN jobs AS j ON j.execution_id = s.execution_id AND j.step_name = s.name
WHERE s.execution_id = $1 AND NOT j.orphan
ORDER BY s.position, j.generation DESC, j.job_id DESC
"""


async def claim_execution(
    conn: Connection, ref: ExecutionRef, limits: ConcurrencyLimits = NO_LIMITS
) -> ClaimResult:
    """Claim a queued execution for a workflow run if its user may run one more.

    Repeating the claim returns the same and counts once. An execution with a cancel request needs
    no slot: it ends from the queue.
    """
    queued = await conn.fetchrow(LOCK_QUEUED, ref.execution_id, ref.generation)
    if queued is None:
        row = await conn.fetchrow(GET_STATUS, ref.execution_id)
        if (
            row is None
            or row["generation"] != ref.generation
            or row["status"] != ExecutionStatus.RUNNING
        ):
            return ClaimResult(outcome=ClaimOutcome.LOST)
        cancelled = row["cancel_requested_at"] is not None
    else:
        cancelled = queued["cancel_requested_at"] is not None
        if not cancelled:
            if not await take_running_slot(conn, ref.user_id, limits):
                return ClaimResult(outcome=ClaimOutcome.WAITING)
            await conn.execute(CLAIM_EXECUTION, ref.execution_id)
    jobs = tuple(
        StepJob(
            step=row["name"],
            job_id=JobId(row["job_id"]),
            state=JobState(row["state"]),
            stored=row["stored"],
            own_key=row["own_key"],
        )
        for row in await conn.fetch(LIST_STEP_JOBS, ref.execution_id)
    )
    return ClaimResult(
        outcome=ClaimOutcome.CANCELLED if cancelled else ClaimOutcome.CLAIMED, jobs=jobs
    )


REQUEST_CANCEL = """
UPDATE executions
SET cancel_requested_at = coalesce(cancel_requested_at, now()), cancel_reason = coalesce(cancel_reason, $2),
    updated_at = now()
WHERE execution_id = $1 AND generation = $3 AND status IN ('queued', 'running')
RETURNING execution_id
"""


async def mark_cancel_requested(
    conn: Connection, execution_id: ExecutionId, reason: str, *, generation: int
) -> bool:
    """Request a cancel; after the commit no new send begins. Repeating is safe.

    generation: the generation to cancel, so that an earlier request does not cancel a retry. False:
    it has ended.
    """
    return await conn.fetchval(REQUEST_CANCEL, execution_id, reason, generation) is not None


LOCK_OPEN_EXECUTION = """
SELECT execution_id, user_id, type, generation, estimated_nano_usd, webhook_url, metadata,
       coalesce(delivered_generation = generation, false) AS delivered
FROM executions
WHERE execution_id = $1 AND generation = $2 AND status IN ('queued', 'running')
FOR NO KEY UPDATE
"""

END_EXECUTION = """
UPDATE executions AS e
SET status = $2, progress = $3, result = $4, error = $5, ended_at = now(), updated_at = now()
FROM executions AS before
WHERE e.execution_id = $1 AND e.status IN ('queued', 'running') AND before.execution_id = e.execution_id
RETURNING e.user_id, CASE WHEN before.status = 'running'
                          THEN extract(epoch FROM e.ended_at - before.started_at)::float8 END AS run_seconds
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenExecution:
    """An execution that has not ended, its row locked.

    delivered: its receiver accepted the webhook before the database was restored from a backup.
    """

    execution_id: ExecutionId
    user_id: UserId
    type: str
    generation: int
    estimated_nano_usd: NanoUsd
    webhook_url: str | None
    metadata: Mapping[str, object]
    delivered: bool


async def lock_open_execution(conn: Connection, ref: ExecutionRef) -> OpenExecution | None:
    """Return the execution, locked until COMMIT; None if this generation has ended."""
    row = await conn.fetchrow(LOCK_OPEN_EXECUTION, ref.execution_id, ref.generation)
    return OpenExecution(**dict(row)) if row is not None else None


async def mark_ended(
    conn: Connection,
    execution_id: ExecutionId,
    status: ExecutionStatus,
    *,
    progress: int,
    result: Mapping[str, object] | None,
    error: Mapping[str, object] | None,
) -> None:
    """End an execution that the caller has locked (lock_open_execution), and release its slot."""
    before = await conn.fetchrow(END_EXECUTION, execution_id, status, progress, result, error)
    if before is None:
        raise ValueError(f"{execution_id} has ended before")
    await release_slots(conn, before["user_id"], run_seconds=before["run_seconds"])


FIND_ENDED = """
SELECT e.status, e.type, e.created_at, e.ended_at, e.error ->> 'code' AS error_code, w.event_id AS pending_event_id
FROM executions AS e
LEFT JOIN webhooks AS w
    ON w.execution_id = e.execution_id AND w.generation = e.generation AND w.state = 'pending'
WHERE e.execution_id = $1 AND e.generation = $2 AND e.status IN ('completed', 'failed', 'cancelled')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedExecution:
    """The end of a generation. pending_event_id: its webhook, while it is not delivered."""

    status: ExecutionStatus
    type: str
    created_at: datetime
    ended_at: datetime
    error_code: str | None
    pending_event_id: EventId | None


async def find_ended(conn: Connection, ref: ExecutionRef) -> EndedExecution | None:
    """Return the end of a generation; None if it has not ended, or is not the latest."""
    row = await conn.fetchrow(FIND_ENDED, ref.execution_id, ref.generation)
    if row is None:
        return None
    return EndedExecution(
        status=ExecutionStatus(row["status"]),
        type=row["type"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        error_code=row["error_code"],
        pending_event_id=row["pending_event_id"],
    )


LIST_STEP_PROGRESS = """
SELECT DISTINCT ON (s.position) s.name, s.usual_seconds, j.state, now() AS now,
       least(j.submitted_at, (SELECT min(o.submitted_at) FROM jobs AS o WHERE o.supersedes = j.job_id AND o.orphan))
           AS submitted_at
FROM steps AS s JOIN jobs AS j ON j.execution_id = s.execution_id AND j.step_name = s.name
WHERE s.execution_id = $1 AND NOT j.orphan
ORDER BY s.position, j.generation DESC, j.job_id DESC
"""


async def get_progress(conn: Connection, execution_id: ExecutionId) -> int:
    """Return the progress of an open execution in percent."""
    rows = await conn.fetch(LIST_STEP_PROGRESS, execution_id)
    steps = [
        StepProgress(
            name=row["name"],
            usual_seconds=row["usual_seconds"],
            state=JobState(row["state"]),
            submitted_at=row["submitted_at"],
        )
        for row in rows
    ]
    return progress_percent(steps, rows[0]["now"]) if rows else 0


def failure_to_json(failure: Failure | None) -> dict[str, Any] | None:
    return {"code": failure.code, "message": failure.message} if failure is not None else None


def failure_from_json(plain: Mapping[str, str] | None) -> Failure | None:
    return (
        Failure(code=FailureCode(plain["code"]), message=plain["message"])
        if plain is not None
        else None
    )
