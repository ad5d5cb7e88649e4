"""Read models of executions, their jobs, money and webhooks. Use `reading_as` for one snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from core.domain.ids import EventId, ExecutionId, JobId, UserId
from core.domain.messages.webhooks import FailedReason, WebhookState
from core.domain.money import NanoUsd
from core.domain.states import ChargeState, CostBasis, ExecutionStatus, JobState
from core.store.approvals.waiting import WaitingApproval, list_waiting
from core.store.database import Connection
from core.store.webhooks.delivery_log import ATTEMPTS

NOTHING: Final = NanoUsd(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job with its step and money.

    send_number: the number of sends. held_nano_usd: the original hold.
    orphan: a purchase that its step does not use; only its cost counts. warnings: of a media step,
    see MadeFiles. reused_from: of an approval step, the job that was chosen. saved_nano_usd: what
    the files of `reused_from` cost. length: of an open job, the seconds of video or sound that its
    step requests, as text.
    """

    job_id: JobId
    step: str
    position: int
    usual_seconds: int
    state: JobState
    provider: str
    model: str
    send_number: int
    generation: int
    supersedes: JobId | None
    orphan: bool
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    failure: dict[str, Any] | None
    charge_state: ChargeState | None
    basis: CostBasis | None
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    warnings: Sequence[str] = ()
    reused_from: JobId | None = None
    saved_nano_usd: NanoUsd = NOTHING
    length: str | None = None

    @property
    def open_nano_usd(self) -> NanoUsd:
        """The amount that is still held."""
        return self.held_nano_usd if self.charge_state is ChargeState.HELD else NanoUsd(0)

    @property
    def released_nano_usd(self) -> NanoUsd:
        """The amount that was released."""
        if self.charge_state in (None, ChargeState.HELD):
            return NanoUsd(0)
        return NanoUsd(max(0, self.held_nano_usd - self.settled_nano_usd))


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookStatus:
    """The event of the last generation and its attempts, all deliveries together."""

    event_id: EventId
    state: WebhookState
    failed_reason: FailedReason | None
    ended_at: datetime | None
    attempts: int
    last_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStatusRecord:
    """An execution.

    jobs: in plan order, the current job of a step last. approvals: those that wait for a decision.
    template: the id of the stored plan that it was made from. prompt: also the text of a speech;
    None: a plan, or a transcript. progress: stays at its last value when the execution ends. needs:
    while it is open, the needs of each step, in plan order. waiting_since: since when a job of it
    waits for its provider; None: none does.
    """

    execution_id: ExecutionId
    type: str
    status: ExecutionStatus
    generation: int
    progress: int
    metadata: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    estimated_nano_usd: NanoUsd
    webhook_url: str | None
    created_at: datetime
    updated_at: datetime
    now: datetime
    template: str | None
    prompt: str | None
    needs: Sequence[Sequence[str]]
    cancel_requested: bool
    waiting_since: datetime | None
    jobs: Sequence[JobStatus]
    webhook: WebhookStatus | None
    approvals: Sequence[WaitingApproval] = ()

    @property
    def held_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(job.open_nano_usd for job in self.jobs))

    @property
    def settled_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(job.settled_nano_usd for job in self.jobs))

    @property
    def released_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(job.released_nano_usd for job in self.jobs))

    @property
    def held_by_step(self) -> dict[str, NanoUsd]:
        """Return what is held for the current job of each step."""
        return {job.step: job.open_nano_usd for job in self.jobs if not job.orphan}

    @property
    def saved_nano_usd(self) -> NanoUsd:
        """What its steps would have cost that use files of earlier purchases."""
        return NanoUsd(sum(job.saved_nano_usd for job in self.jobs))

    @property
    def final(self) -> bool:
        """Whether it has ended and no bill is open."""
        return self.status.ended and all(
            job.charge_state is not ChargeState.HELD for job in self.jobs
        )


def latest_jobs(jobs: Sequence[JobStatus]) -> list[JobStatus]:
    """Return the latest job of each step, in plan order."""
    return sorted(
        {job.step: job for job in jobs if not job.orphan}.values(), key=lambda job: job.position
    )


LIST_EXECUTIONS = """
SELECT execution_id, type, status, generation, progress, metadata, result, error, estimated_nano_usd, webhook_url,
       created_at, updated_at, now() AS now, request ->> 'template' AS template,
       coalesce(request ->> 'prompt', request ->> 'text') AS prompt, waiting_since,
       cancel_requested_at IS NOT NULL AS cancel_requested,
       CASE WHEN ended_at IS NULL THEN jsonb_path_query_array(plan, '$.steps[*].needs') ELSE '[]' END AS needs
FROM executions
WHERE execution_id = ANY($1::text[]) AND user_id = $2 AND deleted_at IS NULL
"""

LIST_JOBS = """
SELECT j.execution_id, j.job_id, s.name AS step, s.position, s.usual_seconds, j.state, j.provider, j.model,
       j.send_number, j.generation, j.supersedes, j.orphan, coalesce(j.warnings, '[]') AS warnings, j.reused_from,
       coalesce(j.saved_nano_usd, 0) AS saved_nano_usd,
       CASE WHEN j.ended_at IS NULL THEN s.parameters ->> 'duration_seconds' END AS length,
       j.created_at, j.submitted_at, j.ended_at, j.updated_at, j.failure, c.state AS charge_state, c.basis,
       coalesce(c.held_nano_usd, 0) AS held_nano_usd, coalesce(c.settled_nano_usd, 0) AS settled_nano_usd
FROM jobs AS j
JOIN steps AS s ON s.execution_id = j.execution_id AND s.name = j.step_name
LEFT JOIN charges AS c ON c.job_id = j.job_id
WHERE j.execution_id = ANY($1::text[])
ORDER BY j.execution_id, s.position, j.generation, j.job_id
"""

LIST_WEBHOOKS = f"""
SELECT DISTINCT ON (w.execution_id) w.execution_id, w.event_id, w.state, w.failed_reason, w.ended_at,
       a.attempts, a.last_attempt_at, l.status_code AS last_status_code, l.error AS last_error
FROM webhooks AS w
JOIN executions AS e ON e.execution_id = w.execution_id AND e.generation = w.generation
{ATTEMPTS}
WHERE w.execution_id = ANY($1::text[]) AND w.type <> 'execution.waiting_for_approval'
ORDER BY w.execution_id, w.event_id DESC
"""  # noqa: S608 - a constant


async def find_execution(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> ExecutionStatusRecord | None:
    """Return an execution. None: it does not exist, or belongs to another user."""
    records = await read_executions(conn, user_id, [execution_id])
    return records[0] if records else None


async def read_executions(
    conn: Connection, user_id: UserId, execution_ids: Sequence[ExecutionId]
) -> list[ExecutionStatusRecord]:
    """Return executions, newest first."""
    rows = {
        row["execution_id"]: row
        for row in await conn.fetch(LIST_EXECUTIONS, execution_ids, user_id)
    }
    ids = list(rows)
    jobs: dict[str, list[JobStatus]] = {execution_id: [] for execution_id in rows}
    for row in await conn.fetch(LIST_JOBS, ids):
        jobs[row["execution_id"]].append(_job_status(row))
    webhooks = {
        row["execution_id"]: _webhook_status(row) for row in await conn.fetch(LIST_WEBHOOKS, ids)
    }
    approvals = await list_waiting(
        conn, [item for item in ids if rows[item]["status"] == ExecutionStatus.RUNNING]
    )
    return [
        _execution_status(
            rows[execution_id],
            jobs[execution_id],
            webhooks.get(execution_id),
            approvals.get(execution_id, ()),
        )
        for execution_id in sorted(rows, reverse=True)
    ]


def _job_status(row: asyncpg.Record) -> JobStatus:
    plain = dict(row)
    del plain["execution_id"]
    plain["state"] = JobState(row["state"])
    plain["charge_state"] = (
        ChargeState(row["charge_state"]) if row["charge_state"] is not None else None
    )
    plain["basis"] = CostBasis(row["basis"]) if row["basis"] is not None else None
    return JobStatus(**plain)


def _webhook_status(row: asyncpg.Record) -> WebhookStatus:
    plain = dict(row)
    del plain["execution_id"]
    plain["state"] = WebhookState(row["state"])
    reason: str | None = row["failed_reason"]
    plain["failed_reason"] = FailedReason(reason) if reason is not None else None
    return WebhookStatus(**plain)


def _execution_status(
    row: asyncpg.Record,
    jobs: Sequence[JobStatus],
    webhook: WebhookStatus | None,
    approvals: Sequence[WaitingApproval],
) -> ExecutionStatusRecord:
    plain = dict(row)
    plain["status"] = ExecutionStatus(row["status"])
    # A change of a job is a change of its execution.
    plain["updated_at"] = max([row["updated_at"], *(job.updated_at for job in jobs)])
    return ExecutionStatusRecord(**plain, jobs=jobs, webhook=webhook, approvals=approvals)


GET_BUDGET = """
SELECT u.monthly_nano_usd_limit, u.monthly_videos_limit,
       coalesce(b.held_nano_usd + b.settled_nano_usd, 0) AS used_nano_usd,
       coalesce(b.held_videos + b.settled_videos, 0) AS used_videos
FROM users AS u
LEFT JOIN budgets AS b
    ON b.user_id = u.user_id AND b.budget_month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
WHERE u.user_id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLeft:
    """What can still be held this month, at least 0; None: no limit."""

    nano_usd: NanoUsd | None
    videos: int | None


async def get_budget_left(conn: Connection, user_id: UserId) -> BudgetLeft:
    row = await conn.fetchrow(GET_BUDGET, user_id)
    if row is None:
        raise LookupError(f"no user {user_id}")
    money: int | None = row["monthly_nano_usd_limit"]
    videos: int | None = row["monthly_videos_limit"]
    return BudgetLeft(
        nano_usd=None if money is None else NanoUsd(max(0, money - row["used_nano_usd"])),
        videos=None if videos is None else max(0, videos - row["used_videos"]),
    )


LIST_APPLIED_MIGRATIONS = "SELECT name FROM schema_migrations ORDER BY name"


async def list_applied_migrations(conn: Connection) -> list[str]:
    """List the applied migrations. Raises asyncpg.UndefinedTableError if none ever ran."""
    return [row["name"] for row in await conn.fetch(LIST_APPLIED_MIGRATIONS)]
