"""Callbacks from providers: stored, applied to their job and announced in one transaction."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg

from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId
from core.domain.messages.jobs import JobReport, ProviderHandle
from core.store.database import Connection
from core.store.jobs.jobs import mark_late_handle
from core.store.jobs.looks import HEAD_START
from core.store.jobs.orphans import record_orphan
from core.store.jobs.reports import report_to_json
from core.store.jobs.sends import mark_submitted

MAX_ORPHANS: Final = 10
"""The limit of orphans that callbacks may create for one job. A user with an own key can sign any
id, and each orphan is looked up at the provider.
"""
CHANNEL = "job_callbacks"
"""A PostgreSQL channel whose payload is a job id. Workers listen and read the job's row."""
ENDS_CHANNEL = "job_ends"
"""The same for what ends the wait within a submit: the job is settled, or is to be cancelled."""


class CallbackOutcome(StrEnum):
    """What a callback changed.

    ADOPTED: it supplied the provider id of a send whose result was unknown.
    RECORDED: the job already had this id.
    LATE: it supplied the id of a job that had been given up; the job's state stays, and its bill
    can be settled.
    ORPHAN: it belongs to a superseded send, or its id differs from the id of the send; the purchase
    is billed as an orphan.
    REFUSED: the id belongs to another job, the send does not exist, or the job has too many
    orphans; the callback is kept as evidence.
    UNKNOWN_JOB: the job does not exist at this provider.
    """

    ADOPTED = "adopted"
    RECORDED = "recorded"
    LATE = "late"
    ORPHAN = "orphan"
    REFUSED = "refused"
    UNKNOWN_JOB = "unknown_job"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCallback:
    """A verified callback about one send.

    delivery_id: the provider's id of this delivery. report: the end of the job, if it cannot be
    read at the provider.
    """

    provider: str
    delivery_id: str
    job_id: JobId
    send_number: int
    provider_job_id: ProviderJobId
    report: JobReport | None = None


LOCK_JOB = """
SELECT user_id, provider, model, provider_job_id FROM jobs WHERE job_id = $1 FOR UPDATE
"""
IS_OWNED = "SELECT EXISTS (SELECT FROM jobs WHERE provider = $1 AND provider_job_id = $2)"
COUNT_ORPHANS = """
SELECT count(*)::int FROM jobs
WHERE execution_id = (SELECT execution_id FROM jobs WHERE job_id = $1) AND supersedes = $1 AND orphan
"""
IS_OWN_ORPHAN = "SELECT EXISTS (SELECT FROM jobs WHERE provider = $1 AND provider_job_id = $2 AND supersedes = $3)"
# A look becomes due, and the workers are notified when the transaction commits.
STORE = f"""
WITH stored AS (
    INSERT INTO callbacks (provider, delivery_id, job_id, user_id, send_number, provider_job_id, adopted)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
), called AS (
    UPDATE jobs SET
        callback_at = CASE WHEN $8 THEN now() ELSE callback_at END,
        updated_at = CASE WHEN $8 THEN now() ELSE updated_at END,
        next_look_at = CASE WHEN state = 'submitted' AND NOT orphan THEN now() - {HEAD_START} ELSE next_look_at END
    WHERE job_id = $3 AND ($8 OR state = 'submitted' AND NOT orphan)
)
SELECT pg_notify($9, $3)
"""  # noqa: S608 - constants
# The first report stays. Of an orphan, the reconciler settles it.
STORE_REPORT = """
UPDATE jobs SET report = $3, updated_at = now()
WHERE provider = $1 AND provider_job_id = $2 AND report IS NULL
"""
NOTIFY = f"""
WITH due AS (
    UPDATE jobs SET next_look_at = now() - {HEAD_START} WHERE job_id = $2 AND state = 'submitted' AND NOT orphan
)
SELECT pg_notify($1, $2)
"""  # noqa: S608 - constants


async def notify_job(conn: Connection, job_id: JobId) -> None:
    """Make a look at this job due, and notify the workers when the transaction commits."""
    await conn.execute(NOTIFY, CHANNEL, job_id)


NOTIFY_OPEN = f"""
WITH due AS (
    UPDATE jobs SET next_look_at = now() - {HEAD_START} WHERE execution_id = $1 AND state = 'submitted' AND NOT orphan
)
SELECT pg_notify($2, job_id), pg_notify($3, job_id) FROM jobs
WHERE execution_id = $1 AND state IN ('submitting', 'unknown', 'submitted') AND NOT orphan
"""  # noqa: S608 - constants


async def notify_open_jobs(conn: Connection, execution_id: ExecutionId) -> None:
    """Notify the workers of any open job of an execution, because it is cancelled.

    Submitted jobs are looked at at once: a job that has ended needs no cancel.
    The notification is sent when the transaction commits.
    """
    await conn.execute(NOTIFY_OPEN, execution_id, CHANNEL, ENDS_CHANNEL)


async def notify_end(conn: Connection, job_id: JobId) -> None:
    """Notify the submit that waits for this job's end, when the transaction commits."""
    await conn.execute("SELECT pg_notify($1, $2)", ENDS_CHANNEL, job_id)


GET_TRACEPARENT = """
SELECT e.traceparent FROM jobs AS j JOIN executions AS e ON e.execution_id = j.execution_id WHERE j.job_id = $1
"""


async def find_traceparent(conn: Connection, job_id: JobId) -> str | None:
    """Return the trace of the request that a job was ordered with. Call it as system."""
    return await conn.fetchval(GET_TRACEPARENT, job_id)


GET_SEND_KEY = """
SELECT s.provider_key_id FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id
WHERE s.job_id = $1 AND s.number = $2 AND j.provider = $3
"""


async def find_send_key(
    conn: Connection, job_id: JobId, send_number: int, provider: str
) -> ProviderKeyId | None:
    """Return the user's own key of a send, with which its callbacks are verified.

    Return None if the send used the service's key or does not exist at this provider. Call it as
    system.
    """
    return await conn.fetchval(GET_SEND_KEY, job_id, send_number, provider)


async def record_callback(conn: Connection, new: NewCallback) -> CallbackOutcome:
    """Store a verified callback and apply it to its job. Repeating is safe.

    Call it as system, because a callback carries no user.
    """
    job = await conn.fetchrow(LOCK_JOB, new.job_id)
    if job is None or job["provider"] != new.provider:
        return CallbackOutcome.UNKNOWN_JOB
    outcome = await _apply(conn, new, job)
    if new.report is not None and outcome is not CallbackOutcome.REFUSED:
        report = report_to_json(new.report)
        await conn.execute(STORE_REPORT, new.provider, new.provider_job_id, report)
        await notify_end(conn, new.job_id)
    is_own = outcome is CallbackOutcome.ADOPTED or job["provider_job_id"] == new.provider_job_id
    await conn.execute(
        STORE,
        new.provider,
        new.delivery_id,
        new.job_id,
        job["user_id"],
        new.send_number,
        new.provider_job_id,
        outcome is CallbackOutcome.ADOPTED,
        is_own,
        CHANNEL,
    )
    return outcome


async def _apply(conn: Connection, new: NewCallback, job: asyncpg.Record) -> CallbackOutcome:
    """Apply the callback to its job, whose row is locked."""
    if job["provider_job_id"] == new.provider_job_id:
        return CallbackOutcome.RECORDED
    handle = ProviderHandle(
        provider=new.provider, model=job["model"], provider_job_id=new.provider_job_id
    )
    if await conn.fetchval(IS_OWNED, new.provider, new.provider_job_id):
        # Either a repeated callback of the job's own orphan, or the URL does not match the body.
        repeated = await conn.fetchval(IS_OWN_ORPHAN, new.provider, new.provider_job_id, new.job_id)
        return CallbackOutcome.RECORDED if repeated else CallbackOutcome.REFUSED
    if job["provider_job_id"] is None and await mark_submitted(
        conn, new.job_id, new.send_number, handle
    ):
        return CallbackOutcome.ADOPTED
    if await mark_late_handle(conn, new.job_id, handle, number=new.send_number):
        return CallbackOutcome.LATE
    if await conn.fetchval(COUNT_ORPHANS, new.job_id) >= MAX_ORPHANS:
        return CallbackOutcome.REFUSED
    orphan = await record_orphan(conn, new.job_id, new.send_number, handle)
    return CallbackOutcome.ORPHAN if orphan is not None else CallbackOutcome.REFUSED
