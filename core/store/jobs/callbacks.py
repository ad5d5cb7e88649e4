"""Callbacks in rows: a provider called us.

Stored, adopted if it answers an open question, the waiter woken; one transaction.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg

from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId
from core.domain.messages.jobs import ProviderHandle
from core.store.database import Connection
from core.store.jobs.jobs import mark_late_handle, mark_submitted
from core.store.jobs.orphans import record_orphan

MOST_ORPHANS: Final = 10
"""Of one job, by callbacks. Whoever pays with a key of their own can sign any id, and each would be
looked up for ever.
"""
CHANNEL = "job_callbacks"
"""The payload is a job id. Workers listen and look at the job's row."""


class CallbackOutcome(StrEnum):
    """ADOPTED: it brought the id of a send whose answer was not known. RECORDED: the id was known.

    LATE: it brought the id of a job that had been given up; its end stays, its bill can be settled.
    ORPHAN: of a superseded send, or another id than the one the send has; its bill is looked after
    by itself. REFUSED: nothing of it fits: the id is another job's, there was no such send, or it
    would be one orphan too many; kept as evidence.
    UNKNOWN_JOB: no such job.
    """

    ADOPTED = "adopted"
    RECORDED = "recorded"
    LATE = "late"
    ORPHAN = "orphan"
    REFUSED = "refused"
    UNKNOWN_JOB = "unknown_job"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCallback:
    provider: str
    delivery_id: str
    job_id: JobId
    send_number: int
    provider_job_id: ProviderJobId


LOCK_JOB = """
SELECT user_id, provider, model, provider_job_id FROM jobs WHERE job_id = $1 FOR UPDATE
"""
IS_OWNED = "SELECT EXISTS (SELECT FROM jobs WHERE provider = $1 AND provider_job_id = $2)"
COUNT_ORPHANS = """
SELECT count(*)::int FROM jobs
WHERE execution_id = (SELECT execution_id FROM jobs WHERE job_id = $1) AND supersedes = $1 AND orphan
"""
IS_OWN_ORPHAN = "SELECT EXISTS (SELECT FROM jobs WHERE provider = $1 AND provider_job_id = $2 AND supersedes = $3)"
TOUCH = "UPDATE jobs SET callback_at = now(), updated_at = now() WHERE job_id = $1"
INSERT_CALLBACK = """
INSERT INTO callbacks (provider, delivery_id, job_id, user_id, send_number, provider_job_id, adopted)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
NOTIFY = "SELECT pg_notify($1, $2)"


async def notify_job(conn: Connection, job_id: JobId) -> None:
    """Wake who waits for this job when the transaction commits."""
    await conn.execute(NOTIFY, CHANNEL, job_id)


NOTIFY_OPEN = """
SELECT pg_notify($2, job_id) FROM jobs
WHERE execution_id = $1 AND state IN ('submitting', 'unknown', 'submitted') AND NOT orphan
"""


async def notify_open_jobs(conn: Connection, execution_id: ExecutionId) -> None:
    """Wake who waits for any job of an execution when the transaction commits: a cancel was
    ordered.
    """
    await conn.execute(NOTIFY_OPEN, execution_id, CHANNEL)


GET_SEND_KEY = """
SELECT s.provider_key_id FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id
WHERE s.job_id = $1 AND s.number = $2 AND j.provider = $3
"""


async def find_send_key(
    conn: Connection, job_id: JobId, send_number: int, provider: str
) -> ProviderKeyId | None:
    """The user's own key that a send was made with, by which its callbacks are verified. As system.

    None: the service's, or this provider has had no such send.
    """
    return await conn.fetchval(GET_SEND_KEY, job_id, send_number, provider)


async def record_callback(conn: Connection, new: NewCallback) -> CallbackOutcome:
    """Store a verified callback. Repeats change nothing. As system: the provider does not know our
    users.
    """
    job = await conn.fetchrow(LOCK_JOB, new.job_id)
    if job is None or job["provider"] != new.provider:
        return CallbackOutcome.UNKNOWN_JOB
    outcome = await _take(conn, new, job)
    await conn.execute(
        INSERT_CALLBACK,
        new.provider,
        new.delivery_id,
        new.job_id,
        job["user_id"],
        new.send_number,
        new.provider_job_id,
        outcome is CallbackOutcome.ADOPTED,
    )
    await notify_job(conn, new.job_id)
    return outcome


async def _take(conn: Connection, new: NewCallback, job: asyncpg.Record) -> CallbackOutcome:
    """What the callback means for its job, whose row is locked."""
    if job["provider_job_id"] == new.provider_job_id:
        await conn.execute(TOUCH, new.job_id)
        return CallbackOutcome.RECORDED
    handle = ProviderHandle(
        provider=new.provider, model=job["model"], provider_job_id=new.provider_job_id
    )
    if await conn.fetchval(IS_OWNED, new.provider, new.provider_job_id):
        # Its own orphan called again; or the address and the body do not belong together.
        repeated = await conn.fetchval(IS_OWN_ORPHAN, new.provider, new.provider_job_id, new.job_id)
        return CallbackOutcome.RECORDED if repeated else CallbackOutcome.REFUSED
    if job["provider_job_id"] is None and await mark_submitted(
        conn, new.job_id, new.send_number, handle
    ):
        await conn.execute(TOUCH, new.job_id)
        return CallbackOutcome.ADOPTED
    if await mark_late_handle(conn, new.job_id, handle, number=new.send_number):
        return CallbackOutcome.LATE
    if await conn.fetchval(COUNT_ORPHANS, new.job_id) >= MOST_ORPHANS:
        return CallbackOutcome.REFUSED
    orphan = await record_orphan(conn, new.job_id, new.send_number, handle)
    return CallbackOutcome.ORPHAN if orphan is not None else CallbackOutcome.REFUSED
