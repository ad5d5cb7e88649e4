"""Orphans: purchases that nobody waits for, each a job row with a charge of its own.

An earlier send of a job turned out to have been accepted after all, or one send was accepted twice.
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
# Nothing was held for it; what it cost counts against the month that held the money of its step.
INSERT_CHARGE = """
INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd, price, budget_month)
SELECT $3, $2, execution_id, user_id, provider, model, 0, price, budget_month FROM charges WHERE job_id = $1
"""


async def record_orphan(
    conn: Connection, job_id: JobId, number: int, handle: ProviderHandle
) -> JobId | None:
    """Write down that a send bought something which its job will not use. The sweep ends and
    settles it, with the key of that send.

    What was assumed for that send by hand goes back: its real bill is the orphan's. None: the
    provider's id has an owner already (a repeat, or the id is another job's), or there is no such
    send.
    """
    orphan_id, name = new_job_id(), handle.provider_job_id
    execution_id = await conn.fetchval(
        INSERT_ORPHAN, job_id, orphan_id, number, name, dict(handle.urls)
    )
    if execution_id is None:
        log.warning(
            "a late id has an owner, or no send", job_id=job_id, send=number, provider_job_id=name
        )
        return None
    await conn.execute(COPY_SEND, job_id, orphan_id, number, name)
    await conn.execute(INSERT_CHARGE, job_id, orphan_id, new_charge_id())
    await drop_assumed(conn, job_id, number)
    metrics.ORPHAN_JOBS.labels(handle.provider).inc()
    log.error(
        "a send was bought that its job does not use",
        execution_id=execution_id,
        job_id=job_id,
        send=number,
        orphan_job_id=orphan_id,
        provider=handle.provider,
        provider_job_id=name,
    )
    return orphan_id
