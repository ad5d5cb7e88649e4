"""Unfinished work of all users for the reconciler: queued executions and open bills. As system."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from core.domain.ids import ExecutionId, JobId, ProviderJobId, UserId
from core.domain.messages.executions import ExecutionOrder, ExecutionRef
from core.domain.messages.jobs import JobRef
from core.domain.plans import plan_from_json, prompt_of
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.jobs.jobs import lock_job

# Round-robin over users: the first queued execution of each, then the second of each, within each
# user's free slots. Executions that will only be ended need no slot and come first. A queued
# execution is late by the queue limit: its deadline begins with its claim.
LIST_QUEUED = """
WITH queue AS (
    SELECT execution_id, queued_at, late,
           CASE WHEN ending THEN 0
                ELSE row_number() OVER (PARTITION BY user_id, ending ORDER BY queued_at, execution_id) END AS place,
           coalesce(u.running_limit, $4::bigint) - coalesce(c.running_executions, 0) AS free
    FROM executions
    CROSS JOIN LATERAL (SELECT queued_at < now() - make_interval(secs => $6) AS late) AS waited
    CROSS JOIN LATERAL (SELECT late OR cancel_requested_at IS NOT NULL AS ending) AS decided
    JOIN users AS u USING (user_id) LEFT JOIN concurrency_counters AS c USING (user_id)
    WHERE status = 'queued'
)
SELECT execution_id, e.user_id, e.generation, e.plan, e.request, queue.late, queue.place
FROM queue JOIN executions AS e USING (execution_id)
WHERE (queue.free IS NULL OR queue.place <= queue.free)
  AND queue.queued_at < now() - make_interval(secs => $1)
  AND (queue.place, execution_id) > ($2::bigint, $3::text)
ORDER BY queue.place, execution_id LIMIT $5
"""
# The execution to start after another one has ended. Those before it in the queue were started when
# their slots became free.
FIND_NEXT = """
WITH slots AS (
    SELECT coalesce(u.running_limit, $2::bigint) - c.running_executions AS free
    FROM users AS u JOIN concurrency_counters AS c ON c.user_id = u.user_id WHERE u.user_id = $1
)
SELECT e.execution_id, e.user_id, e.generation, e.plan, e.request FROM executions AS e
WHERE e.user_id = $1 AND e.status = 'queued'
ORDER BY e.queued_at, e.execution_id
OFFSET (SELECT greatest(max(free) - 1, 0) FROM slots) LIMIT (SELECT count(*) FROM slots WHERE free > 0)
"""
GET_ORDER = "SELECT execution_id, user_id, generation, plan, request FROM executions WHERE execution_id = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A position in the order of list_queued."""

    number: int
    execution_id: ExecutionId


FRONT = Place(number=-1, execution_id=ExecutionId(""))
"""Before the first position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """The stored arguments of an execution's workflow.

    Reading the plan is a separate step that can fail.
    """

    ref: ExecutionRef
    plan: Mapping[str, object]
    request: Mapping[str, object]
    late: bool = False
    place: Place = FRONT

    @property
    def prompt(self) -> str:
        return prompt_of(self.request)

    def order(self) -> ExecutionOrder:
        """Return the workflow's input.

        Raises LookupError, TypeError or ValueError for an invalid plan.
        """
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
    conn: Connection,
    limits: ConcurrencyLimits,
    *,
    older_than_seconds: float,
    after: Place,
    limit: int,
) -> list[StoredOrder]:
    """List a page of queued executions that should have been started, in turns by user.

    They have a free slot, are past the queue limit (late), or are to be cancelled.
    """
    rows = await conn.fetch(
        LIST_QUEUED,
        older_than_seconds,
        after.number,
        after.execution_id,
        limits.running_executions,
        limit,
        limits.queue_seconds,
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


async def find_next(
    conn: Connection, user_id: UserId, limits: ConcurrencyLimits
) -> StoredOrder | None:
    """Return the queued execution of a user to start after another one has ended.

    None: no queued execution, or no free slot. Exact in the transaction that ended the other one,
    which holds the lock of the user's counters.
    """
    row = await conn.fetchrow(FIND_NEXT, user_id, limits.running_executions)
    return (
        StoredOrder(ref=_ref(row), plan=row["plan"], request=row["request"])
        if row is not None
        else None
    )


async def get_order(conn: Connection, execution_id: ExecutionId) -> StoredOrder:
    """Return the stored order of an execution. Raises LookupError if it does not exist."""
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
    """Return whether this generation is open and was queued before that time."""
    return bool(await conn.fetchval(IS_OPEN, ref.execution_id, ref.generation, queued_before))


# Held charges, except those of jobs that their workflow still works on. Almost all are of such
# jobs, which two partial indexes list. OFFSET 0: without it, PostgreSQL joins all jobs there
# ever were, because it cannot estimate that few bills are left.
HELD_WITHOUT_WORK: Final = """
worked_on AS MATERIALIZED (
    SELECT j.job_id FROM jobs AS j JOIN executions AS e ON e.execution_id = j.execution_id
    WHERE j.state IN ('waiting', 'submitting', 'unknown', 'submitted') AND NOT j.orphan
      AND e.status IN ('queued', 'running')
), held AS MATERIALIZED (
    SELECT c.job_id, c.execution_id FROM charges AS c LEFT JOIN worked_on ON worked_on.job_id = c.job_id
    WHERE c.state = 'held' AND worked_on.job_id IS NULL
), bills AS (
    SELECT j.*, e.status AS execution_status, e.ended_at AS execution_ended_at
    FROM held,
         LATERAL (SELECT job_id, provider, send_number, orphan, state, created_at, ended_at, updated_at
                  FROM jobs WHERE jobs.job_id = held.job_id OFFSET 0) AS j,
         LATERAL (SELECT status, ended_at FROM executions WHERE execution_id = held.execution_id OFFSET 0) AS e
)"""
# Each bill is due in every round for ten minutes, then once a minute. The time of the look is
# stored with the selection, so that bills that cannot be settled do not block others. The order
# within a page is random, so that a bill without a response is not first in every round.
TAKE_OPEN_BILLS = f"""
WITH {HELD_WITHOUT_WORK}, oldest AS (
    SELECT job_id FROM bills
    WHERE send_number > 0
      AND (coalesce(ended_at, CASE WHEN orphan THEN created_at END, execution_ended_at) > now() - interval '10 minutes'
           OR updated_at < now() - interval '1 minute')
    ORDER BY updated_at, random() LIMIT $1
), due AS (
    SELECT jobs.job_id FROM jobs WHERE jobs.job_id = ANY (ARRAY(SELECT job_id FROM oldest))
    FOR UPDATE SKIP LOCKED  -- a retry or a response is changing it
), looked_at AS (
    UPDATE jobs SET updated_at = now() FROM due WHERE jobs.job_id = due.job_id
)
SELECT j.job_id, j.user_id, j.execution_id, j.generation, j.provider
FROM due JOIN jobs AS j ON j.job_id = due.job_id
ORDER BY j.updated_at, random()
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBill:
    ref: JobRef
    provider: str


async def take_open_bills(conn: Connection, *, limit: int) -> list[OpenBill]:
    """Select jobs with an open bill and no workflow: given up, timed out, terminated, orphans.

    Least recently selected first; the selection is stored.
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
    """Return whether an execution has ended. The lock prevents a retry until COMMIT."""
    return await conn.fetchval(LOCK_ENDED, execution_id) is not None


LIST_KNOWN_IDS = """
SELECT send_number, provider_job_id FROM callbacks WHERE job_id = $1
UNION
SELECT number, provider_job_id FROM sends WHERE job_id = $1 AND provider_job_id IS NOT NULL
"""


async def list_known_ids(conn: Connection, job_id: JobId) -> list[tuple[int, ProviderJobId]]:
    """List the sends of a job with a known provider id, from a callback or a late response."""
    rows = await conn.fetch(LIST_KNOWN_IDS, job_id)
    return [(row["send_number"], ProviderJobId(row["provider_job_id"])) for row in rows]


WAS_REFUSED = """
SELECT s.outcome = 'not_accepted' AND j.provider_job_id IS NULL
FROM jobs AS j JOIN sends AS s ON s.job_id = j.job_id AND s.number = j.send_number
WHERE j.job_id = $1
"""


async def was_refused(conn: Connection, job_id: JobId) -> bool:
    """Return whether a response after the job was given up shows that the send was not accepted."""
    await lock_job(conn, job_id)
    return bool(await conn.fetchval(WAS_REFUSED, job_id))


LIST_RUNNING = """
SELECT execution_id, user_id, generation, cancel_reason, ends_at < now() AS late,
       ends_at < now() - make_interval(secs => $4) AS overdue
FROM executions
CROSS JOIN LATERAL (
    SELECT CASE WHEN waiting_since IS NULL THEN deadline_at
                ELSE greatest(deadline_at, queued_at + make_interval(secs => $5)) END AS ends_at
) AS waits
WHERE status = 'running' AND started_at < now() - make_interval(secs => $1) AND execution_id > $2
ORDER BY execution_id LIMIT $3
"""
LIST_ENDING = """
WITH ending AS (
    SELECT execution_id FROM executions WHERE status = 'running' AND deadline_at < now()
    UNION
    SELECT execution_id FROM executions WHERE status = 'running' AND cancel_requested_at IS NOT NULL
)
SELECT e.execution_id, e.user_id, e.generation, e.cancel_reason, ends_at < now() AS late,
       ends_at < now() - make_interval(secs => $4) AS overdue
FROM ending JOIN executions AS e ON e.execution_id = ending.execution_id
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.waiting_since IS NULL THEN e.deadline_at
                ELSE greatest(e.deadline_at, e.queued_at + make_interval(secs => $5)) END AS ends_at
) AS waits
WHERE e.status = 'running' AND e.started_at < now() - make_interval(secs => $1) AND e.execution_id > $2
  AND (ends_at < now() OR e.cancel_requested_at IS NOT NULL)
ORDER BY e.execution_id LIMIT $3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningExecution:
    """A running execution.

    late: past its deadline, and while a job waits for a provider's slot past the queue limit too.
    overdue: for so long that its workflow cannot progress.
    """

    ref: ExecutionRef
    cancel_reason: str | None
    late: bool
    overdue: bool


async def list_running(
    conn: Connection,
    limits: ConcurrencyLimits,
    *,
    older_than_seconds: float,
    overdue_seconds: float,
    after: str,
    limit: int,
    ending: bool = False,
) -> list[RunningExecution]:
    """List running executions in id order, one page at a time, for the reconciler.

    ending: only those that are past their deadline or have a requested cancel.
    """
    rows = await conn.fetch(
        LIST_ENDING if ending else LIST_RUNNING,
        older_than_seconds,
        after,
        limit,
        overdue_seconds,
        limits.queue_seconds,
    )
    return [
        RunningExecution(
            ref=ExecutionRef(
                user_id=row["user_id"],
                execution_id=row["execution_id"],
                generation=row["generation"],
            ),
            cancel_reason=row["cancel_reason"],
            late=row["late"],
            overdue=row["overdue"],
        )
        for row in rows
    ]
