"""Retries: a failed or cancelled execution is queued again, with the jobs that it still has to buy.

A retry is one transaction under the lock of the execution's row. The reconciler takes the same lock
to change jobs of ended executions, so it runs either before the retry or sees an open execution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asyncpg import Record

from core.domain.alternatives import Alternative, alternatives_from_json, alternatives_to_json
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, KeyId, UserId, new_job_id
from core.domain.messages.jobs import Output
from core.domain.money import NanoUsd
from core.domain.plans import (
    Parameters,
    Plan,
    Step,
    parameters_from_json,
    plan_from_json,
    prompt_of,
)
from core.domain.prices import Quote
from core.domain.retries import Purchase, RetryAction, StepRetry
from core.domain.states import ExecutionStatus, JobState
from core.platform.observability import tracing
from core.store.database import Connection
from core.store.executions.executions import NO_LIMITS, failure_to_json
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.limits.deadlines import RUN_LENGTH
from core.store.executions.limits.media_seconds import check_media_seconds
from core.store.jobs.reports import report_from_json
from core.store.money.budget_admission import admit_execution
from core.store.money.charges import Hold, get_money, insert_charges

GET_EXECUTION = """
SELECT execution_id, user_id, status, generation, plan, request, error ->> 'code' AS error, max_cost_nano_usd,
       traceparent
FROM executions WHERE execution_id = $1 AND user_id = $2 AND deleted_at IS NULL
"""
LOCK_EXECUTION = f"{GET_EXECUTION} FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriedExecution:
    """An execution to retry.

    error: of its last generation. max_cost_nano_usd: the limit for the cost of all generations
    together. traceparent: of the request that ordered or last retried it.
    """

    execution_id: ExecutionId
    user_id: UserId
    status: ExecutionStatus
    generation: int
    plan: Plan
    prompt: str
    error: FailureCode | None
    max_cost_nano_usd: NanoUsd | None = None
    traceparent: str | None = None


class MaxCostExceededError(Exception):
    """The retry could exceed the execution's maximum cost. Roll back.

    before_nano_usd: the amount already spent and held.
    """

    def __init__(self, max_cost_nano_usd: NanoUsd, before_nano_usd: NanoUsd) -> None:
        super().__init__(max_cost_nano_usd, before_nano_usd)
        self.max_cost_nano_usd = max_cost_nano_usd
        self.before_nano_usd = before_nano_usd


async def lock_execution(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> RetriedExecution | None:
    """Return the execution, locked until COMMIT.

    None: it does not exist, or belongs to another user.
    """
    return _execution(await conn.fetchrow(LOCK_EXECUTION, execution_id, user_id))


async def get_retried_execution(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> RetriedExecution | None:
    """Return the execution as lock_execution does, without a lock."""
    return _execution(await conn.fetchrow(GET_EXECUTION, execution_id, user_id))


def _execution(row: Record | None) -> RetriedExecution | None:
    if row is None:
        return None
    request: Mapping[str, object] = row["request"]
    return RetriedExecution(
        execution_id=row["execution_id"],
        user_id=row["user_id"],
        status=ExecutionStatus(row["status"]),
        generation=row["generation"],
        plan=plan_from_json(row["plan"]),
        prompt=prompt_of(request),
        error=FailureCode(row["error"]) if row["error"] is not None else None,
        max_cost_nano_usd=row["max_cost_nano_usd"],
        traceparent=row["traceparent"],
    )


LIST_PURCHASES = """
SELECT j.job_id, j.step_name, j.state, j.orphan, j.send_number > 0 AS sent,
       j.provider_job_id IS NOT NULL AS has_provider_id, j.cancel_sent_at IS NOT NULL AS cancel_sent,
       j.report ->> 'state' AS report, jsonb_array_length(coalesce(j.report -> 'outputs', '[]')) AS outputs,
       (SELECT count(*) FROM assets AS a WHERE a.job_id = j.job_id) AS assets,
       j.failure ->> 'code' AS failure, coalesce(c.state = 'held', false) AS bill_open,
       j.reused_from,
       CASE WHEN c.state IS DISTINCT FROM 'held' THEN coalesce(c.settled_nano_usd, 0)
            WHEN NOT j.orphan THEN c.held_nano_usd
            ELSE (SELECT max(o.held_nano_usd) FROM jobs AS other JOIN charges AS o ON o.job_id = other.job_id
                  WHERE other.execution_id = j.execution_id AND other.step_name = j.step_name)
       END AS cost_nano_usd
FROM jobs AS j LEFT JOIN charges AS c ON c.job_id = j.job_id
WHERE j.execution_id = $1
ORDER BY j.generation, j.job_id
"""
# These jobs stay locked until COMMIT: a late response of a provider waits and then sees the
# decision.
LOCK_PURCHASES = f"{LIST_PURCHASES} FOR UPDATE OF j"


async def lock_purchases(conn: Connection, execution_id: ExecutionId) -> list[Purchase]:
    """List and lock every job of an execution, the latest job of a step last."""
    return [_purchase(row) for row in await conn.fetch(LOCK_PURCHASES, execution_id)]


async def list_purchases(conn: Connection, execution_id: ExecutionId) -> list[Purchase]:
    """List the jobs as lock_purchases does, without a lock."""
    return [_purchase(row) for row in await conn.fetch(LIST_PURCHASES, execution_id)]


def _purchase(row: Record) -> Purchase:
    return Purchase(
        job_id=row["job_id"],
        step=row["step_name"],
        state=JobState(row["state"]),
        orphan=row["orphan"],
        sent=row["sent"],
        has_provider_id=row["has_provider_id"],
        cancel_sent=row["cancel_sent"],
        report=JobState(row["report"]) if row["report"] is not None else None,
        produced=row["outputs"] > 0,
        stored=0 < row["outputs"] <= row["assets"],
        failure=FailureCode(row["failure"]) if row["failure"] is not None else None,
        bill_open=row["bill_open"],
        reused_from=row["reused_from"],
        cost_nano_usd=NanoUsd(row["cost_nano_usd"]),
    )


LIST_REPORTS = "SELECT job_id, report FROM jobs WHERE job_id = ANY($1)"


async def list_outputs(
    conn: Connection, job_ids: Sequence[JobId]
) -> dict[JobId, tuple[Output, ...]]:
    """Return the files that the provider reported for each of these jobs."""
    reports = {
        row["job_id"]: report_from_json(row["report"])
        for row in await conn.fetch(LIST_REPORTS, job_ids)
    }
    return {job_id: report.outputs for job_id, report in reports.items() if report is not None}


LIST_PARAMETERS = "SELECT name, parameters FROM steps WHERE execution_id = $1"


async def list_parameters(conn: Connection, execution_id: ExecutionId) -> dict[str, Parameters]:
    """Return the parameters of each step, by name; prices are computed from them."""
    rows = await conn.fetch(LIST_PARAMETERS, execution_id)
    return {row["name"]: parameters_from_json(row["parameters"]) for row in rows}


LIST_ALTERNATIVES = """
SELECT DISTINCT ON (step_name) step_name, alternatives FROM jobs
WHERE execution_id = $1 AND NOT orphan ORDER BY step_name, generation, job_id
"""


async def list_alternatives(
    conn: Connection, execution_id: ExecutionId
) -> dict[str, tuple[Alternative, ...]]:
    """Return the alternatives of each step as they were ordered, by name."""
    rows = await conn.fetch(LIST_ALTERNATIVES, execution_id)
    return {row["step_name"]: alternatives_from_json(row["alternatives"]) for row in rows}


# Time in the queue does not lengthen the next deadline.
QUEUE_AGAIN = f"""
UPDATE executions
SET status = 'queued', generation = generation + 1, progress = 0, result = NULL, error = NULL,
    cancel_requested_at = NULL, cancel_reason = NULL,
    deadline_at = now() + {RUN_LENGTH}, waited = '0', waiting_since = NULL, paused = '0',
    queued_at = now(), started_at = NULL, ended_at = NULL, updated_at = now(),
    budget_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date, traceparent = $3
WHERE execution_id = $1 AND generation = $2 AND status IN ('failed', 'cancelled')
RETURNING generation
"""  # noqa: S608 - a constant
SET_ESTIMATE = "UPDATE executions SET estimated_nano_usd = $2 WHERE execution_id = $1"

KEEP_JOB = """
UPDATE jobs SET state = 'completed', failure = NULL, orphan = false, generation = $2, updated_at = now()
WHERE job_id = $1 AND (orphan OR state IN ('failed', 'cancelled'))
"""

# A job that was given up but has a provider id is polled again. The deadline of a job that is not
# sent yet starts with its send.
CONTINUE_JOB = """
UPDATE jobs AS j
SET state = CASE WHEN j.state IN ('failed', 'cancelled') THEN 'submitted' ELSE j.state END,
    failure = CASE WHEN j.state = 'waiting' THEN j.failure END, ended_at = NULL, updated_at = now(),
    deadline_at = CASE WHEN j.state = 'waiting' THEN NULL
                       ELSE least(e.deadline_at, now() + make_interval(secs => s.deadline_seconds)) END
FROM executions AS e, steps AS s
WHERE j.job_id = $1 AND e.execution_id = j.execution_id
  AND s.execution_id = j.execution_id AND s.name = j.step_name
"""

CLOSE_JOB = """
UPDATE jobs
SET state = coalesce(report ->> 'state', 'cancelled'), ended_at = now(), updated_at = now(),
    failure = CASE WHEN report IS NULL THEN $2::jsonb ELSE nullif(report -> 'failure', 'null') END
WHERE job_id = $1 AND state = 'submitted'
"""

INSERT_JOB = """
INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, supersedes, alternatives)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


async def _begin_generation(conn: Connection, execution: RetriedExecution) -> int:
    """Queue the execution with the trace of this request, which is linked to the last one."""
    tracing.note(execution_id=execution.execution_id, generation=execution.generation + 1)
    tracing.link(execution.traceparent)
    generation: int | None = await conn.fetchval(
        QUEUE_AGAIN, execution.execution_id, execution.generation, tracing.traceparent()
    )
    if generation is None:
        raise ValueError(f"{execution.execution_id} has not ended, or was not locked")
    return generation


NO_ALTERNATIVES: Final[Mapping[str, tuple[Alternative, ...]]] = {}


async def queue_again(
    conn: Connection,
    execution: RetriedExecution,
    steps: Sequence[StepRetry],
    quotes: Mapping[str, Quote],
    limits: ConcurrencyLimits = NO_LIMITS,
    *,
    alternatives: Mapping[str, tuple[Alternative, ...]] = NO_ALTERNATIVES,
    key_id: KeyId | None = None,
) -> bool:
    """Queue the next generation of an execution that the caller has locked, and hold its money.

    quotes, alternatives: of each step that is bought again; the worst price is held. key_id: the
    key that orders the retry; what is held now counts for its spend limit. If nothing is bought,
    budgets are not checked, so that a budget never blocks results that are paid for. Return whether
    the execution can run at once. Raises MaxCostExceededError, OpenLimitReachedError,
    QueueFullError, MediaSecondsExceededError, BudgetExceededError, KeySpendLimitReachedError,
    ServiceBudgetExceededError: roll back.
    """
    execution_id = execution.execution_id
    generation = await _begin_generation(conn, execution)
    holds: list[Hold] = []
    for item in steps:
        if item.action is RetryAction.LEFT:
            await _close(conn, item.last)
            continue
        if item.action is RetryAction.BOUGHT:
            name = item.step.name
            others = alternatives_to_json(alternatives.get(name, ()))
            job_id = await _insert_job(conn, execution, item, generation, others)
            holds.append(_hold(item.step, job_id, quotes[name]))
            continue
        if item.action is RetryAction.MADE:
            await _insert_job(conn, execution, item, generation, None)
            continue
        if item.job is not None and item.action is RetryAction.CONTINUED:
            await conn.execute(CONTINUE_JOB, item.job.job_id)
        elif item.job is not None:
            await _close(conn, item.last)
            await conn.execute(KEEP_JOB, item.job.job_id, generation)
    money = await get_money(conn, execution_id)
    before = NanoUsd(money.settled_nano_usd + money.held_nano_usd)
    added = await insert_charges(conn, execution.user_id, execution_id, holds, key_id=key_id)
    most = execution.max_cost_nano_usd
    if holds and most is not None and before + added > most:
        raise MaxCostExceededError(most, before)
    await conn.execute(SET_ESTIMATE, execution_id, before + added)
    if any(step.is_media for step in execution.plan.steps):
        await check_media_seconds(conn, execution.user_id, execution_id, limits)
    return await admit_execution(
        conn,
        execution.user_id,
        limits,
        added,
        key_id=key_id,
        usual_seconds=sum(step.usual_seconds for step in execution.plan.steps),
        check_budgets=bool(holds),
    )


async def _insert_job(
    conn: Connection,
    execution: RetriedExecution,
    item: StepRetry,
    generation: int,
    alternatives: object,
) -> JobId:
    await _close(conn, item.last)
    job_id: JobId = new_job_id()
    step = item.step
    arguments: tuple[Any, ...] = (
        execution.user_id,
        generation,
        step.provider,
        step.model,
        item.last.job_id,
        alternatives,
    )
    await conn.execute(INSERT_JOB, job_id, execution.execution_id, step.name, *arguments)
    return job_id


def _hold(step: Step, job_id: JobId, quote: Quote) -> Hold:
    return Hold.at(quote, job_id=job_id, provider=step.provider, model=step.model)


async def _close(conn: Connection, last: Purchase) -> None:
    """Close a job that has ended or been cancelled at its provider.

    The reconciler settles its bill.
    """
    if last.state is JobState.SUBMITTED:
        await conn.execute(
            CLOSE_JOB, last.job_id, failure_to_json(Failure.of(FailureCode.CANCELLED))
        )
