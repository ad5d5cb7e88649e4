"""Executions: accept with steps, jobs and held money in one transaction; claim, cancel and end."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.domain.alternatives import Alternative, alternatives_to_json
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, KeyId, UserId, new_job_id
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
from core.domain.states import ExecutionStatus, JobState, Surface
from core.platform.observability import tracing
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.limits.media_seconds import check_media_seconds
from core.store.money.budget_admission import admit_execution
from core.store.money.charges import Hold, insert_charges
from core.store.secrets.secrets import StoredSecret, insert_secret

NO_LIMITS = ConcurrencyLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStep:
    """A step with its parameters and the price of its job. The worst price is held.

    alternatives: models to continue with if the job cost nothing; the quote's worst covers them.
    """

    step: Step
    parameters: Parameters
    quote: Quote
    alternatives: tuple[Alternative, ...] = ()

    @property
    def providers(self) -> tuple[str, ...]:
        """Return the providers of its models in their order."""
        return (self.step.provider, *(item.provider for item in self.alternatives))

    @property
    def held_nano_usd(self) -> NanoUsd:
        return self.quote.worst_nano_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExecution:
    """An execution to accept.

    request: the validated request. webhook_url: None means the user's default endpoint.
    webhook_secret: the request's own signing secret; None means the endpoint's or the user's.

    max_cost_nano_usd: the user's limit for the cost of all generations together. key_id: the key
    that orders, for whose spend limit it counts; None: a token. surface: where it was ordered.
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
    surface: Surface | None = None
    key_id: KeyId | None = None


# Without a webhook URL, events go to the endpoint that is the user's default now.
INSERT_EXECUTION = """
INSERT INTO executions
    (execution_id, user_id, type, status, plan, request, metadata, estimated_nano_usd, webhook_url,
     deadline_at, max_cost_nano_usd, surface, traceparent)
VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7,
        coalesce($8, (SELECT url FROM endpoints WHERE user_id = $2 AND is_default)),
        now() + make_interval(secs => $9), $10, $11, $12)
"""

# Each step with its job of the first generation.
INSERT_STEPS = """
WITH new AS (
    SELECT * FROM jsonb_to_recordset($3)
        AS s (name text, position int, kind text, provider text, model text, parameters jsonb, usual_seconds int,
              deadline_seconds int, job_id text, alternatives jsonb)
), made AS (
    INSERT INTO steps
        (execution_id, name, user_id, position, kind, provider, model, parameters, usual_seconds, deadline_seconds)
    SELECT $1, name, $2, position, kind, provider, model, parameters, usual_seconds, deadline_seconds FROM new
)
INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, alternatives)
SELECT job_id, $1, name, $2, 1, provider, model, alternatives FROM new
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
    MediaSecondsExceededError, BudgetExceededError, KeySpendLimitReachedError,
    ServiceBudgetExceededError: roll back.
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
        new.surface,
        tracing.traceparent(),
    )
    if new.webhook_secret is not None:
        await insert_secret(conn, new.webhook_secret)
    jobs = [new_job_id() for _ in new.steps]
    await _insert_steps(conn, new, jobs)
    holds = [
        Hold.at(item.quote, job_id=job_id, provider=item.step.provider, model=item.step.model)
        for job_id, item in zip(jobs, new.steps, strict=True)
        if not item.step.is_free
    ]
    total = await insert_charges(conn, new.user_id, new.execution_id, holds, key_id=new.key_id)
    usual_seconds = sum(item.step.usual_seconds for item in new.steps)
    if read is not None:
        await read()
    if any(item.step.is_media for item in new.steps):
        await check_media_seconds(conn, new.user_id, new.execution_id, limits)
    return await admit_execution(
        conn, new.user_id, limits, total, key_id=new.key_id, usual_seconds=usual_seconds
    )


async def _insert_steps(conn: Connection, new: NewExecution, jobs: Sequence[JobId]) -> None:
    await conn.execute(
        INSERT_STEPS,
        new.execution_id,
        new.user_id,
        [
            {
                "name": item.step.name,
                "position": position,
                "kind": item.step.kind,
                "provider": item.step.provider,
                "model": item.step.model,
                "parameters": parameters_to_json(item.parameters),
                "usual_seconds": item.step.usual_seconds,
                "deadline_seconds": item.step.deadline_seconds,
                "job_id": job_id,
                "alternatives": alternatives_to_json(item.alternatives),
            }
            for position, (item, job_id) in enumerate(zip(new.steps, jobs, strict=True))
        ],
    )


# Locks the execution, then takes a slot unless it is cancelled, then claims it. The deadline counts
# from the claim, so that time in the queue does not shorten the execution.
CLAIM_EXECUTION = """
WITH queued AS (
    SELECT execution_id, user_id, cancel_requested_at IS NOT NULL AS cancelled FROM executions
    WHERE execution_id = $1 AND generation = $2 AND status = 'queued'
    FOR NO KEY UPDATE
), slot AS (
    UPDATE concurrency_counters AS c SET running_executions = c.running_executions + 1
    FROM queued AS q, users AS u
    WHERE c.user_id = q.user_id AND u.user_id = q.user_id AND NOT q.cancelled
      AND c.running_executions < coalesce(u.running_limit, $3::bigint, 9223372036854775807)
    RETURNING q.execution_id
), claimed AS (
    UPDATE executions AS e
    SET status = 'running', started_at = now(), deadline_at = now() + (deadline_at - queued_at), updated_at = now()
    FROM slot WHERE e.execution_id = slot.execution_id
)
SELECT cancelled, EXISTS (SELECT FROM slot) AS has_slot FROM queued
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
               AND k.replaced_at IS NULL AND k.deleted_at IS NULL) AS own_key,
       (j.provider, j.model) <> (s.provider, s.model) AS elsewhere, j.provider, j.model
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
    claimed = await conn.fetchrow(
        CLAIM_EXECUTION, ref.execution_id, ref.generation, limits.running_executions
    )
    if claimed is None:
        row = await conn.fetchrow(GET_STATUS, ref.execution_id)
        if (
            row is None
            or row["generation"] != ref.generation
            or row["status"] != ExecutionStatus.RUNNING
        ):
            return ClaimResult(outcome=ClaimOutcome.LOST)
        cancelled = row["cancel_requested_at"] is not None
    else:
        cancelled = claimed["cancelled"]
        if not cancelled and not claimed["has_slot"]:
            return ClaimResult(outcome=ClaimOutcome.WAITING)
    jobs = tuple(
        StepJob(
            step=row["name"],
            job_id=JobId(row["job_id"]),
            state=JobState(row["state"]),
            stored=row["stored"],
            own_key=row["own_key"],
            provider=row["provider"] if row["elsewhere"] else "",
            model=row["model"] if row["elsewhere"] else "",
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


LIST_STEP_PROGRESS = """
SELECT DISTINCT ON (s.position) s.name, s.usual_seconds, j.state, now() AS now,
       (SELECT min(o.submitted_at) FROM jobs AS o
        WHERE o.execution_id = j.execution_id AND o.step_name = j.step_name AND o.generation = j.generation)
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
