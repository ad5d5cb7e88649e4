"""Callbacks in rows: a provider called us.

Stored, adopted if it answers an open question, the waiter woken; one transaction.
"""

from dataclasses import dataclass
from enum import StrEnum

from contracts.ids import JobId, ProviderJobId
from contracts.jobs import ProviderHandle
from contracts.states import JobState
from store.database import Connection
from store.jobs import mark_late_handle

CHANNEL = "job_callbacks"
"""The payload is a job id. Workers listen and look at the job's row."""


class CallbackOutcome(StrEnum):
    """ADOPTED: it brought the id of a send whose answer was not known. RECORDED: the id was known.

    LATE: it brought the id of a job that had been given up; its end stays, its bill can be settled.
    SUPERSEDED: of an earlier send, or another id than the job's; kept as evidence of a possible orphan charge.
    UNKNOWN_JOB: no such job.
    """

    ADOPTED = "adopted"
    RECORDED = "recorded"
    LATE = "late"
    SUPERSEDED = "superseded"
    UNKNOWN_JOB = "unknown_job"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCallback:
    provider: str
    delivery_id: str
    job_id: JobId
    send_number: int
    provider_job_id: ProviderJobId


LOCK_JOB = """
SELECT user_id, state, send_number, provider, model, provider_job_id FROM jobs WHERE job_id = $1 FOR UPDATE
"""
ADOPT = """
UPDATE jobs SET state = 'submitted', provider_job_id = $2, submitted_at = now(), callback_at = now(), updated_at = now()
WHERE job_id = $1 AND NOT EXISTS (SELECT FROM jobs WHERE provider = $3 AND provider_job_id = $2)
RETURNING job_id
"""
TOUCH = "UPDATE jobs SET callback_at = now(), updated_at = now() WHERE job_id = $1"
INSERT_CALLBACK = """
INSERT INTO callbacks (provider, delivery_id, job_id, user_id, send_number, provider_job_id, adopted)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
NOTIFY = "SELECT pg_notify($1, $2)"


async def notify_job(conn: Connection, job_id: JobId) -> None:
    """Wake who waits for this job when the transaction commits."""
    await conn.execute(NOTIFY, CHANNEL, job_id)


async def record_callback(conn: Connection, new: NewCallback) -> CallbackOutcome:
    """Store a verified callback. Repeats change nothing. As system: the provider does not know our users."""
    job = await conn.fetchrow(LOCK_JOB, new.job_id)
    if job is None or job["provider"] != new.provider:
        return CallbackOutcome.UNKNOWN_JOB
    open_question = job["state"] in (JobState.SUBMITTING, JobState.UNKNOWN)
    of_this_send = open_question and job["send_number"] == new.send_number
    # An id that another job owns already is not adopted: the address and the body do not belong together.
    if of_this_send and await conn.fetchval(ADOPT, new.job_id, new.provider_job_id, new.provider) is not None:
        outcome = CallbackOutcome.ADOPTED
    elif job["provider_job_id"] == new.provider_job_id:
        await conn.execute(TOUCH, new.job_id)
        outcome = CallbackOutcome.RECORDED
    elif await mark_late_handle(
        conn,
        new.job_id,
        ProviderHandle(provider=new.provider, model=job["model"], provider_job_id=new.provider_job_id),
        number=new.send_number,
    ):
        outcome = CallbackOutcome.LATE
    else:
        outcome = CallbackOutcome.SUPERSEDED
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
