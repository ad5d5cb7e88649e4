"""Positions of executions that wait: for a slot of their user, or for a slot of a provider."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.domain.ids import ExecutionId, JobId, UserId
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits

MAX_AHEAD: Final = 1_000
"""Rows of a user's queue that a read examines. An execution further behind has no position, and no
job at a provider has one while more jobs of the user wait.
"""

# The order is that in which find_next starts them. A cancelled one needs no slot.
READ_QUEUE = f"""
SELECT queue.execution_id, queue.place
FROM (
    SELECT execution_id, row_number() OVER (ORDER BY queued_at, execution_id) AS place
    FROM (SELECT execution_id, queued_at, cancel_requested_at FROM executions
          WHERE user_id = $1 AND status = 'queued' ORDER BY queued_at, execution_id LIMIT {MAX_AHEAD}) AS first
    WHERE cancel_requested_at IS NULL
) AS queue
WHERE queue.execution_id = ANY($2::text[])
"""  # noqa: S608 - a constant
# An execution that only waits for its user has no slot.
READ_SLOTS = f"""
SELECT coalesce(u.running_limit, $2::bigint) AS running_limit, coalesce(c.running_executions, 0) AS running,
       c.recent_run_seconds,
       (SELECT coalesce(jsonb_agg(r.age ORDER BY r.age DESC), '[]') FROM (
           SELECT extract(epoch FROM now() - started_at - paused)::float8 AS age FROM executions
           WHERE user_id = $1 AND status = 'running' AND paused_at IS NULL LIMIT {MAX_AHEAD}
       ) AS r) AS ages
FROM users AS u LEFT JOIN concurrency_counters AS c ON c.user_id = u.user_id WHERE u.user_id = $1
"""  # noqa: S608 - a constant
# Within a user, `read_capacity` orders waiting jobs in this way; between users it shares the slots.
# A job without a worker slot keeps its row and its order.
READ_WAITERS = f"""
WITH own AS (
    SELECT w.job_id, w.provider, w.continuing, w.since
    FROM submit_queue AS w JOIN jobs AS j ON j.job_id = w.job_id
    WHERE w.user_id = $1 AND j.state = 'waiting' LIMIT {MAX_AHEAD} + 1
)
SELECT o.job_id, split_part(o.provider, '/', 1) AS provider, o.ahead
FROM (
    SELECT job_id, provider,
           row_number() OVER (PARTITION BY provider ORDER BY NOT continuing, since, job_id) - 1 AS ahead
    FROM own
) AS o
WHERE o.job_id = ANY($2::text[]) AND (SELECT count(*) FROM own) <= {MAX_AHEAD}
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class UserQueue:
    """The queue of a user. places: 1 for the first execution; those beyond MAX_AHEAD are missing.

    running_ages: of each running execution in seconds, the oldest first. recent_run_seconds: the
    average run of the user's recent executions.
    """

    places: Mapping[ExecutionId, int]
    running_limit: int | None
    running: int
    recent_run_seconds: float | None
    running_ages: Sequence[float]

    def position(self, execution_id: ExecutionId) -> int | None:
        """Return 1 for the execution that gets the next slot that is freed.

        0: it has a slot and is being started. None: not known.
        """
        place = self.places.get(execution_id)
        if place is None:
            return None
        if self.running_limit is None:
            return 0
        return max(place - max(self.running_limit - self.running, 0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """A job in the queue of a provider. ahead: the jobs of the same user before it."""

    provider: str
    ahead: int


async def read_user_queue(
    conn: Connection,
    user_id: UserId,
    limits: ConcurrencyLimits,
    execution_ids: Collection[ExecutionId],
) -> UserQueue:
    """Return the queue of a user with the places of these executions: two bounded reads."""
    places = {
        ExecutionId(row["execution_id"]): row["place"]
        for row in await conn.fetch(READ_QUEUE, user_id, list(execution_ids))
    }
    row = await conn.fetchrow(READ_SLOTS, user_id, limits.running_executions)
    if row is None:
        raise LookupError(f"no user {user_id}")
    return UserQueue(
        places=places,
        running_limit=row["running_limit"],
        running=row["running"],
        recent_run_seconds=row["recent_run_seconds"],
        running_ages=row["ages"],
    )


async def read_waiting_jobs(
    conn: Connection, user_id: UserId, job_ids: Collection[JobId]
) -> dict[JobId, WaitingJob]:
    """Return those of these jobs that are in the queue of their provider."""
    rows = await conn.fetch(READ_WAITERS, user_id, list(job_ids))
    return {
        JobId(row["job_id"]): WaitingJob(provider=row["provider"], ahead=row["ahead"])
        for row in rows
    }
