"""Orphans: purchases that no step uses, each stored as a job row with its own charge.

An orphan arises when an earlier send of a job turns out to have been accepted, when one send was
accepted twice, or when a send failed at no cost and its job is sent again.
"""

from core.domain.failures import Failure
from core.domain.ids import JobId, new_charge_id, new_job_id
from core.domain.messages.jobs import JobReport, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, JobState
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.store.database import Connection
from core.store.executions.executions import failure_to_json
from core.store.jobs.jobs import mark_job_ended, mark_reported
from core.store.money.adjustments import drop_assumed
from core.store.money.settlement import settle_charge

log = get_logger(__name__)

INSERT_ORPHAN = """
INSERT INTO jobs
    (job_id, execution_id, step_name, user_id, generation, provider, model, state, orphan, supersedes, send_number,
     provider_job_id, provider_urls, submitted_at, provider_key_id)
SELECT $2, j.execution_id, j.step_name, j.user_id, j.generation, j.provider, j.model, 'submitted', true, j.job_id, $3,
       $4, $5, s.sent_at, s.provider_key_id
FROM jobs AS j JOIN sends AS s ON s.job_id = j.job_id AND s.number = $3
WHERE j.job_id = $1
ON CONFLICT (provider, provider_job_id) DO NOTHING
RETURNING execution_id
"""
COPY_SEND = """
INSERT INTO sends (job_id, number, user_id, request, inputs, sent_at, answered_at, outcome, provider_job_id,
                   provider_key_id)
SELECT $2, number, user_id, request, inputs, sent_at, now(), 'accepted', $4, provider_key_id
FROM sends WHERE job_id = $1 AND number = $3
"""
# An orphan has no hold; its cost counts against the month and the key of its step's hold.
INSERT_CHARGE = """
INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd, price, budget_month,
                     key_id)
SELECT $3, $2, execution_id, user_id, provider, model, 0, price, budget_month, key_id FROM charges WHERE job_id = $1
"""


async def record_orphan(
    conn: Connection, job_id: JobId, number: int, handle: ProviderHandle
) -> JobId | None:
    """Record a purchase of a send that its job will not use.

    The reconciler ends and settles it with the key of that send. A cost that an operator assumed
    for the send is reversed, because the orphan has the real bill. Return None if the provider's id
    already belongs to a job (also after a repeat), or if the send does not exist.
    """
    orphan_id, name = new_job_id(), handle.provider_job_id
    execution_id = await _insert_orphan(conn, job_id, orphan_id, number, handle)
    if execution_id is None:
        log.warning("orphan.rejected", job_id=job_id, send=number, provider_job_id=name)
        return None
    await drop_assumed(conn, job_id, number)
    metrics.ORPHAN_JOBS.labels(handle.provider).inc()
    log.error(
        "orphan.recorded",
        execution_id=execution_id,
        job_id=job_id,
        send=number,
        orphan_job_id=orphan_id,
        provider=handle.provider,
        provider_job_id=name,
    )
    return orphan_id


async def _insert_orphan(
    conn: Connection, job_id: JobId, orphan_id: JobId, number: int, handle: ProviderHandle
) -> str | None:
    """Insert the rows of an orphan; return its execution, or None if nothing was inserted."""
    name = handle.provider_job_id
    execution_id: str | None = await conn.fetchval(
        INSERT_ORPHAN, job_id, orphan_id, number, name, dict(handle.urls)
    )
    if execution_id is not None:
        await conn.execute(COPY_SEND, job_id, orphan_id, number, name)
        await conn.execute(INSERT_CHARGE, job_id, orphan_id, new_charge_id())
    return execution_id


# Its deadline stays, so that all sends of the job together have no more time than one.
RETURN_TO_WAITING = """
UPDATE jobs
SET state = 'waiting', provider_job_id = NULL, provider_urls = '{}', report = NULL, failure = $3,
    submitted_at = NULL, callback_at = NULL, updated_at = now()
WHERE job_id = $1 AND send_number = $2 AND state = 'submitted' AND cancel_sent_at IS NULL AND NOT orphan
RETURNING job_id
"""
COUNT_SENT_AGAIN = "SELECT count(*)::int FROM jobs WHERE supersedes = $1 AND orphan"


async def return_to_waiting(
    conn: Connection, job_id: JobId, number: int, failure: Failure | None
) -> bool:
    """Make a submitted job sendable again, without the id of this send, which the caller keeps.

    Return False if the job has another state or send, or a cancel was sent.
    """
    arguments = (job_id, number, failure_to_json(failure))
    return await conn.fetchval(RETURN_TO_WAITING, *arguments) is not None


async def retire_send(
    conn: Connection, job_id: JobId, number: int, handle: ProviderHandle, report: JobReport
) -> bool:
    """Return a job to waiting whose send failed at no cost; its hold stays.

    The send becomes an ended orphan, settled with nothing: the provider's id keeps an owner, so
    late answers, callbacks and look-ups never take it for a later send. Return False if the job
    has changed meanwhile.
    """
    if not await return_to_waiting(conn, job_id, number, report.failure):
        return False
    orphan_id = new_job_id()
    if await _insert_orphan(conn, job_id, orphan_id, number, handle) is None:
        raise LookupError(f"job {job_id} has no send {number}")
    await mark_reported(conn, orphan_id, report)
    await mark_job_ended(
        conn, orphan_id, JobState.FAILED, report.failure, expected=(JobState.SUBMITTED,)
    )
    await settle_charge(conn, orphan_id, NanoUsd(0), CostBasis.COMPUTED)
    return True


async def count_sent_again(conn: Connection, job_id: JobId) -> int:
    """Return how many sends of a job became orphans: at least those that failed at no cost."""
    return await conn.fetchval(COUNT_SENT_AGAIN, job_id)
