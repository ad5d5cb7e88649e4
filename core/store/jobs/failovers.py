"""Failover: the job that replaces a job that certainly cost nothing, at another model.

Each job keeps its own provider, model, price and sends for good, so a late answer of an earlier
send is settled at the model that it was sent to.
"""

from core.domain.alternatives import Alternative, alternatives_to_json, worst_of
from core.domain.ids import ExecutionId, JobId, following_job_id
from core.domain.messages.jobs import NextJob
from core.store.database import Connection
from core.store.jobs.jobs import JobRecord
from core.store.money.charges import Hold, hold_as_before

LOCK_FIRST = "SELECT FROM executions WHERE execution_id = $1 FOR NO KEY UPDATE"


async def lock_before_end(conn: Connection, job: JobRecord) -> None:
    """Lock the execution of a job that may be followed by another.

    Call it before the job's row is changed: a cancel locks both rows in this order.
    """
    if job.alternatives:
        await conn.execute(LOCK_FIRST, job.execution_id)


# An end of the execution, a cancel, a send and a retry wait for this lock, or are visible here.
LOCK_RUNNING = """
SELECT deadline_at - coalesce(waiting_since, now()) >= make_interval(secs => $3) FROM executions
WHERE execution_id = $1 AND generation = $2 AND status = 'running' AND cancel_requested_at IS NULL
FOR NO KEY UPDATE
"""


async def lock_running(
    conn: Connection, execution_id: ExecutionId, generation: int, *, seconds: float
) -> bool:
    """Lock the row of an execution; return whether this generation still buys.

    seconds: the time that must be left until its deadline.
    """
    return bool(await conn.fetchval(LOCK_RUNNING, execution_id, generation, seconds))


# An orphan that is or may be billed rules out another purchase of its step.
HAS_PURCHASE = """
SELECT EXISTS (
    SELECT FROM jobs AS o JOIN charges AS c ON c.job_id = o.job_id
    WHERE o.execution_id = $1 AND o.step_name = $2 AND o.generation = $3 AND o.orphan
      AND (c.state = 'held' OR c.settled_nano_usd + c.refunded_nano_usd > 0)
)
"""


async def has_purchase(conn: Connection, job: JobRecord, *, generation: int) -> bool:
    """Return whether the step has a purchase besides this job that is or may be billed."""
    return bool(await conn.fetchval(HAS_PURCHASE, job.execution_id, job.step_name, generation))


INSERT_NEXT = """
INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, supersedes, alternatives,
                  parameter_changes)
SELECT $2, j.execution_id, j.step_name, j.user_id, $3, $4, $5, j.job_id, $6, $7
FROM jobs AS j
WHERE j.job_id = $1 AND NOT j.orphan AND ($8 OR j.state = 'failed'
  AND (j.provider_job_id IS NULL AND j.report IS NULL
       OR j.report ->> 'state' = 'failed' AND j.report ->> 'charged' = 'false' AND j.report ->> 'billed_units' IS NULL)
  AND EXISTS (SELECT FROM charges AS c WHERE c.job_id = j.job_id AND c.state <> 'held'
              AND c.settled_nano_usd + c.refunded_nano_usd = 0))
ON CONFLICT DO NOTHING
RETURNING job_id
"""


async def insert_next(
    conn: Connection, job: JobRecord, *, generation: int, recovered: bool = False
) -> bool:
    """Insert the job at the first alternative of an ended job, and hold its money.

    Its hold replaces that of the ended job and is not higher, so no limit is checked. Return False
    if the job did not certainly cost nothing, or was replaced before. recovered: it was replaced
    before the database was restored from an older backup, whatever its rows contain.
    """
    following, *rest = job.alternatives
    job_id = following_job_id(job.job_id)
    arguments = (following.provider, following.model, *_of_row(following, rest), recovered)
    if await conn.fetchval(INSERT_NEXT, job.job_id, job_id, generation, *arguments) is None:
        return False
    await hold_as_before(conn, job.job_id, _hold(job_id, following, rest))
    return True


def _of_row(item: Alternative, rest: list[Alternative]) -> tuple[object, object]:
    changes = {"values": dict(item.values), "without": list(item.without)}
    return alternatives_to_json(rest), changes


def _hold(job_id: JobId, item: Alternative, rest: list[Alternative]) -> Hold:
    return Hold(
        job_id=job_id,
        provider=item.provider,
        model=item.model,
        held_nano_usd=worst_of(item.worst_nano_usd, rest),
        price=item.price,
    )


FIND_NEXT = """
SELECT j.job_id, j.provider, j.model,
       EXISTS (SELECT FROM provider_keys AS k WHERE k.user_id = j.user_id AND k.provider = j.provider
               AND k.replaced_at IS NULL AND k.deleted_at IS NULL) AS own_key
FROM jobs AS j WHERE j.job_id = $1 AND j.supersedes = $2 AND j.generation = $3
"""


async def find_next(conn: Connection, job_id: JobId, *, generation: int) -> NextJob | None:
    """Return the job at an alternative that replaced this job in this generation."""
    row = await conn.fetchrow(FIND_NEXT, following_job_id(job_id), job_id, generation)
    return NextJob(**dict(row)) if row is not None else None
