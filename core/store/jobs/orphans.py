"""Orphans: purchases that no step uses, each stored as a job row with its own charge.

An orphan arises when an earlier send of a job turns out to have been accepted, or when one send was
accepted twice.
"""

from core.domain.ids import JobId, new_charge_id, new_job_id
from core.domain.messages.jobs import ProviderHandle
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.store.database import Connection
from core.store.money.adjustments import drop_assumed

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
# An orphan has no hold; its cost counts against the month of its step's hold.
INSERT_CHARGE = """
INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd, price, budget_month)
SELECT $3, $2, execution_id, user_id, provider, model, 0, price, budget_month FROM charges WHERE job_id = $1
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
    execution_id = await conn.fetchval(
        INSERT_ORPHAN, job_id, orphan_id, number, name, dict(handle.urls)
    )
    if execution_id is None:
        log.warning("orphan.rejected", job_id=job_id, send=number, provider_job_id=name)
        return None
    await conn.execute(COPY_SEND, job_id, orphan_id, number, name)
    await conn.execute(INSERT_CHARGE, job_id, orphan_id, new_charge_id())
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
