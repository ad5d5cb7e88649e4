"""What the sweep reads and moves, over all users: everything here is called as system."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from contracts.executions import ExecutionOrder, ExecutionRef
from contracts.ids import ExecutionId, JobId, ProviderJobId
from contracts.jobs import JobRef
from contracts.plans import plan_from_json
from store.database import Connection
from store.jobs import lock_job

LIST_QUEUED = """
SELECT execution_id, user_id, generation, plan, request, deadline_at < now() AS late FROM executions
WHERE status = 'queued' AND queued_at < now() - make_interval(secs => $1) AND execution_id > $2
ORDER BY execution_id LIMIT $3
"""
GET_ORDER = "SELECT execution_id, user_id, generation, plan, request FROM executions WHERE execution_id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """What starts an execution's workflow, as it lies in the row: reading it is a step of its own, that can fail."""

    ref: ExecutionRef
    plan: Mapping[str, object]
    request: Mapping[str, object]
    late: bool = False

    @property
    def prompt(self) -> str:
        return str(self.request.get("prompt", ""))

    def order(self) -> ExecutionOrder:
        """Raises LookupError, TypeError, ValueError: the plan in the row is not one."""
        return ExecutionOrder(
            execution_id=self.ref.execution_id,
            user_id=self.ref.user_id,
            generation=self.ref.generation,
            plan=plan_from_json(self.plan),
        )


def _ref(row: asyncpg.Record) -> ExecutionRef:
    return ExecutionRef(user_id=row["user_id"], execution_id=row["execution_id"], generation=row["generation"])


async def list_queued(conn: Connection, *, older_than_seconds: float, after: str, limit: int) -> list[StoredOrder]:
    """What is queued and should have been started by now, in id order, a page at a time. late: past its deadline."""
    rows = await conn.fetch(LIST_QUEUED, older_than_seconds, after, limit)
    return [StoredOrder(ref=_ref(row), plan=row["plan"], request=row["request"], late=row["late"]) for row in rows]


async def get_order(conn: Connection, execution_id: ExecutionId) -> StoredOrder:
    """Raises LookupError: no such execution."""
    row = await conn.fetchrow(GET_ORDER, execution_id)
    if row is None:
        raise LookupError(f"no execution {execution_id}")
    return StoredOrder(ref=_ref(row), plan=row["plan"], request=row["request"])


IS_OPEN = """
SELECT EXISTS (
    SELECT FROM executions
    WHERE execution_id = $1 AND generation = $2 AND status IN ('queued', 'running')
      AND ($3::timestamptz IS NULL OR queued_at < $3)
)
"""


async def is_open(conn: Connection, ref: ExecutionRef, *, queued_before: datetime | None = None) -> bool:
    """Whether this generation has not ended, and was queued before that time."""
    return bool(await conn.fetchval(IS_OPEN, ref.execution_id, ref.generation, queued_before))


# Each is looked at in every round for ten minutes, then once a minute. To be looked at is written down with the choice,
# so that those that cannot be settled keep no others from it. A page that was looked at together is shuffled the next
# time: one that its provider never answers for is not first in every round.
TAKE_OPEN_BILLS = """
WITH due AS (
    SELECT j.job_id
    FROM charges AS c
    JOIN jobs AS j ON j.job_id = c.job_id
    JOIN executions AS e ON e.execution_id = j.execution_id
    WHERE c.state = 'held' AND j.send_number > 0
      AND (j.orphan OR j.state IN ('failed', 'cancelled', 'completed')
           OR e.status IN ('failed', 'cancelled', 'completed'))
      AND (coalesce(j.ended_at, CASE WHEN j.orphan THEN j.created_at END, e.ended_at) > now() - interval '10 minutes'
           OR j.updated_at < now() - interval '1 minute')
    ORDER BY j.updated_at, random() LIMIT $1
    FOR UPDATE OF j SKIP LOCKED  -- somebody moves it: a retry, an answer
), looked_at AS (
    UPDATE jobs SET updated_at = now() FROM due WHERE jobs.job_id = due.job_id
)
SELECT j.job_id, j.user_id, j.execution_id, j.generation, j.provider
FROM due JOIN jobs AS j ON j.job_id = due.job_id
ORDER BY j.updated_at, random()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBill:
    ref: JobRef
    provider: str


async def take_open_bills(conn: Connection, *, limit: int) -> list[OpenBill]:
    """Jobs whose real cost is not known, and that nobody waits for: given up, timed out, terminated, orphans.

    The longest not looked at come first; the answer counts as the look.
    """
    return [
        OpenBill(
            ref=JobRef(
                user_id=row["user_id"],
                execution_id=row["execution_id"],
                job_id=row["job_id"],
                generation=row["generation"],
            ),
            provider=row["provider"],
        )
        for row in await conn.fetch(TAKE_OPEN_BILLS, limit)
    ]


LOCK_ENDED = """
SELECT execution_id FROM executions
WHERE execution_id = $1 AND status IN ('failed', 'cancelled', 'completed')
FOR SHARE
"""


async def lock_ended(conn: Connection, execution_id: ExecutionId) -> bool:
    """Whether an execution has ended; if so it stays ended until COMMIT: nobody retries it meanwhile."""
    return await conn.fetchval(LOCK_ENDED, execution_id) is not None


LIST_KNOWN_IDS = """
SELECT send_number, provider_job_id FROM callbacks WHERE job_id = $1
UNION
SELECT number, provider_job_id FROM sends WHERE job_id = $1 AND provider_job_id IS NOT NULL
"""


async def list_known_ids(conn: Connection, job_id: JobId) -> list[tuple[int, ProviderJobId]]:
    """Sends of a job, each with an id that the provider gave it: in a callback, or in an answer that came too late."""
    rows = await conn.fetch(LIST_KNOWN_IDS, job_id)
    return [(row["send_number"], ProviderJobId(row["provider_job_id"])) for row in rows]


WAS_REFUSED = """
SELECT s.outcome = 'not_accepted' AND j.provider_job_id IS NULL
FROM jobs AS j JOIN sends AS s ON s.job_id = j.job_id AND s.number = j.send_number
WHERE j.job_id = $1
"""


async def was_refused(conn: Connection, job_id: JobId) -> bool:
    """Whether the current send was certainly not accepted: an answer that came after the job was given up."""
    await lock_job(conn, job_id)
    return bool(await conn.fetchval(WAS_REFUSED, job_id))


COUNT_UNKNOWN = "SELECT provider, count(*) AS number FROM jobs WHERE state = 'unknown' GROUP BY provider"
COUNT_OPEN_BILLS = """
SELECT j.provider, count(*) AS number
FROM charges AS c
JOIN jobs AS j ON j.job_id = c.job_id
JOIN executions AS e ON e.execution_id = j.execution_id
WHERE c.state = 'held' AND (j.orphan OR e.status IN ('failed', 'cancelled', 'completed'))
GROUP BY j.provider
"""


async def count_unknown(conn: Connection) -> dict[str, int]:
    """Jobs whose create request has an unknown fate, by provider."""
    return {row["provider"]: row["number"] for row in await conn.fetch(COUNT_UNKNOWN)}


async def count_open_bills(conn: Connection) -> dict[str, int]:
    """Charges of orphans and of ended executions that are still held, by provider."""
    return {row["provider"]: row["number"] for row in await conn.fetch(COUNT_OPEN_BILLS)}
