"""What the sweep reads and moves, over all users: everything here is called as system."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from core.domain.ids import ExecutionId, JobId, ProviderJobId, UserId
from core.domain.messages.executions import ExecutionOrder, ExecutionRef
from core.domain.messages.jobs import JobRef
from core.domain.plans import plan_from_json
from core.store.database import Connection
from core.store.executions.concurrency_counters import LoadLimits
from core.store.jobs.jobs import lock_job

# A turn for every user: the first in line of each, then the second of each, as far as each has
# room. What is to be ended needs no room, and comes before them.
LIST_QUEUED = """
WITH line AS (
    SELECT execution_id, queued_at, deadline_at < now() AS late,
           CASE WHEN deadline_at < now() OR cancel_requested_at IS NOT NULL THEN 0
                ELSE row_number() OVER (PARTITION BY user_id ORDER BY queued_at, execution_id) END AS place,
           coalesce(u.running_limit, $4::bigint) - coalesce(l.running_executions, 0) AS room
    FROM executions JOIN users AS u USING (user_id) LEFT JOIN concurrency_counters AS l USING (user_id)
    WHERE status = 'queued'
)
SELECT execution_id, e.user_id, e.generation, e.plan, e.request, line.late, line.place
FROM line JOIN executions AS e USING (execution_id)
WHERE (line.room IS NULL OR line.place <= line.room)
  AND line.queued_at < now() - make_interval(secs => $1)
  AND (line.place, execution_id) > ($2::bigint, $3::text)
ORDER BY line.place, execution_id LIMIT $5
"""
# Who is started when one has ended: those before it in the line were started when room was made for
# them.
FIND_NEXT = """
WITH room AS (
    SELECT coalesce(u.running_limit, $2::bigint) - l.running_executions AS free
    FROM users AS u JOIN concurrency_counters AS l ON l.user_id = u.user_id WHERE u.user_id = $1
)
SELECT e.execution_id, e.user_id, e.generation, e.plan, e.request FROM executions AS e
WHERE e.user_id = $1 AND e.status = 'queued'
ORDER BY e.queued_at, e.execution_id
OFFSET (SELECT greatest(max(free) - 1, 0) FROM room) LIMIT (SELECT count(*) FROM room WHERE free > 0)
"""
GET_ORDER = "SELECT execution_id, user_id, generation, plan, request FROM executions WHERE execution_id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the order of list_queued."""

    number: int
    execution_id: ExecutionId


FRONT = Place(number=-1, execution_id=ExecutionId(""))
"""Before everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """What starts an execution's workflow, as it lies in the row: reading it is a step of its own,
    that can fail.
    """

    ref: ExecutionRef
    plan: Mapping[str, object]
    request: Mapping[str, object]
    late: bool = False
    place: Place = FRONT

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
    return ExecutionRef(
        user_id=row["user_id"], execution_id=row["execution_id"], generation=row["generation"]
    )


async def list_queued(
    conn: Connection, limits: LoadLimits, *, older_than_seconds: float, after: Place, limit: int
) -> list[StoredOrder]:
    """What is queued, should have been started by now, and may run: a page at a time, in turns by
    user.

    Late, or to be cancelled: whatever runs. late: past its deadline.
    """
    default = limits.running_executions
    rows = await conn.fetch(
        LIST_QUEUED, older_than_seconds, after.number, after.execution_id, default, limit
    )
    return [
        StoredOrder(
            ref=_ref(row),
            plan=row["plan"],
            request=row["request"],
            late=row["late"],
            place=Place(number=row["place"], execution_id=row["execution_id"]),
        )
        for row in rows
    ]


async def find_next(conn: Connection, user_id: UserId, limits: LoadLimits) -> StoredOrder | None:
    """Which of a user's queued executions is to be started now that one has ended; None: none, or
    no room.

    Exact in the transaction that ended it: the row of the user's load is locked.
    """
    row = await conn.fetchrow(FIND_NEXT, user_id, limits.running_executions)
    return (
        StoredOrder(ref=_ref(row), plan=row["plan"], request=row["request"])
        if row is not None
        else None
    )


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


async def is_open(
    conn: Connection, ref: ExecutionRef, *, queued_before: datetime | None = None
) -> bool:
    """Whether this generation has not ended, and was queued before that time."""
    return bool(await conn.fetchval(IS_OPEN, ref.execution_id, ref.generation, queued_before))


# Each is looked at in every round for ten minutes, then once a minute. To be looked at is written
# down with the choice, so that those that cannot be settled keep no others from it. A page that was
# looked at together is shuffled the next time: one that its provider never answers for is not first
# in every round.
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
    """Jobs whose real cost is not known, and that nobody waits for: given up, timed out,
    terminated, orphans.

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
    """Whether an execution has ended; if so it stays ended until COMMIT: nobody retries it
    meanwhile.
    """
    return await conn.fetchval(LOCK_ENDED, execution_id) is not None


LIST_KNOWN_IDS = """
SELECT send_number, provider_job_id FROM callbacks WHERE job_id = $1
UNION
SELECT number, provider_job_id FROM sends WHERE job_id = $1 AND provider_job_id IS NOT NULL
"""


async def list_known_ids(conn: Connection, job_id: JobId) -> list[tuple[int, ProviderJobId]]:
    """Sends of a job, each with an id that the provider gave it: in a callback, or in an answer
    that came too late.
    """
    rows = await conn.fetch(LIST_KNOWN_IDS, job_id)
    return [(row["send_number"], ProviderJobId(row["provider_job_id"])) for row in rows]


WAS_REFUSED = """
SELECT s.outcome = 'not_accepted' AND j.provider_job_id IS NULL
FROM jobs AS j JOIN sends AS s ON s.job_id = j.job_id AND s.number = j.send_number
WHERE j.job_id = $1
"""


async def was_refused(conn: Connection, job_id: JobId) -> bool:
    """Whether the current send was certainly not accepted: an answer that came after the job was
    given up.
    """
    await lock_job(conn, job_id)
    return bool(await conn.fetchval(WAS_REFUSED, job_id))


COUNT_UNKNOWN = (
    "SELECT provider, count(*) AS number FROM jobs WHERE state = 'unknown' GROUP BY provider"
)
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
