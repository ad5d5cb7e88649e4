"""Ages and numbers of open work, over all users. Read by the reconciler as system."""

from dataclasses import dataclass

import asyncpg

from core.domain.ids import ExecutionId
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.unfinished import HELD_WITHOUT_WORK

STARTABLE_LIMIT = 1_000
"""The oldest startable executions that are compared between two rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A number of items, and the age of the oldest: 0 without items."""

    number: int = 0
    oldest_seconds: float = 0.0


NONE_WAITING = Waiting()

MEASURE_OPEN_EXECUTIONS = """
SELECT status AS name, count(*) AS number, extract(epoch FROM now() - min(queued_at))::float8 AS oldest_seconds
FROM executions WHERE status IN ('queued', 'running') GROUP BY status
"""
# As in LIST_ENDING: while a job waits for a provider, the deadline is at least the queue limit.
MEASURE_OVERDUE = """
SELECT count(*) AS number, coalesce(max(extract(epoch FROM now() - ends_at)), 0)::float8 AS oldest_seconds
FROM executions
CROSS JOIN LATERAL (
    SELECT CASE WHEN waiting_since IS NULL THEN deadline_at
                ELSE greatest(deadline_at, queued_at + make_interval(secs => $1)) END AS ends_at
) AS waits
WHERE status = 'running' AND deadline_at < now() AND ends_at < now()
"""
# As in LIST_QUEUED: the queued executions that fit into the free slots of their users.
LIST_STARTABLE = """
WITH queue AS (
    SELECT execution_id, queued_at,
           row_number() OVER (PARTITION BY user_id ORDER BY queued_at, execution_id) AS place,
           coalesce(u.running_limit, $1::bigint) - coalesce(c.running_executions, 0) AS free
    FROM executions JOIN users AS u USING (user_id) LEFT JOIN concurrency_counters AS c USING (user_id)
    WHERE status = 'queued'
)
SELECT execution_id FROM queue WHERE free IS NULL OR place <= free ORDER BY queued_at, execution_id LIMIT $2
"""
MEASURE_UNKNOWN = """
SELECT j.provider AS name, count(*) AS number,
       extract(epoch FROM now() - min(coalesce(s.sent_at, j.created_at)))::float8 AS oldest_seconds
FROM jobs AS j LEFT JOIN sends AS s ON s.job_id = j.job_id AND s.number = j.send_number
WHERE j.state = 'unknown' GROUP BY j.provider
"""
MEASURE_OPEN_BILLS = f"""
WITH {HELD_WITHOUT_WORK}
SELECT provider AS name, count(*) AS number,
       extract(epoch FROM now() - min(coalesce(ended_at, CASE WHEN orphan THEN created_at END, execution_ended_at)))
           ::float8 AS oldest_seconds
FROM bills
WHERE orphan OR execution_status IN ('failed', 'cancelled', 'completed')
GROUP BY provider
"""  # noqa: S608 - constants
MEASURE_PENDING_WEBHOOKS = """
SELECT type AS name, count(*) AS number, extract(epoch FROM now() - min(pending_since))::float8 AS oldest_seconds
FROM webhooks WHERE state = 'pending' GROUP BY type
"""


async def measure_open_executions(conn: Connection) -> dict[str, Waiting]:
    """Return the open executions by status, with the age since they were queued."""
    return _by_name(await conn.fetch(MEASURE_OPEN_EXECUTIONS))


async def measure_overdue(conn: Connection, limits: ConcurrencyLimits) -> Waiting:
    """Return the number of running executions past their deadline, and the longest time since."""
    (row,) = await conn.fetch(MEASURE_OVERDUE, limits.queue_seconds)
    return _waiting(row)


async def list_startable(conn: Connection, limits: ConcurrencyLimits) -> list[ExecutionId]:
    """List the oldest queued executions for which their users have a free slot."""
    rows = await conn.fetch(LIST_STARTABLE, limits.running_executions, STARTABLE_LIMIT)
    return [ExecutionId(row["execution_id"]) for row in rows]


async def measure_unknown(conn: Connection) -> dict[str, Waiting]:
    """Return the jobs with an unknown outcome by provider, with the age of the send."""
    return _by_name(await conn.fetch(MEASURE_UNKNOWN))


async def measure_open_bills(conn: Connection) -> dict[str, Waiting]:
    """Return the held charges of orphans and ended executions by provider, with the time since."""
    return _by_name(await conn.fetch(MEASURE_OPEN_BILLS))


async def measure_pending_webhooks(conn: Connection) -> dict[str, Waiting]:
    """Return the deliveries that have not ended by type of event, with the age of the oldest."""
    return _by_name(await conn.fetch(MEASURE_PENDING_WEBHOOKS))


def _by_name(rows: list[asyncpg.Record]) -> dict[str, Waiting]:
    return {row["name"]: _waiting(row) for row in rows}


def _waiting(row: asyncpg.Record) -> Waiting:
    return Waiting(number=row["number"], oldest_seconds=row["oldest_seconds"])
