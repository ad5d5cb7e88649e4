"""Looks at jobs: which are due, who makes them, and when the next one is due.

A submitted job is looked at until it has ended at its provider. A job that the poller settled keeps
its schedule until Temporal has the end of its wait, so a lost completion is repeated.

`jobs.next_look_at` is the schedule and the lease in one: a process that takes a due job moves the
time ahead, and only while the time is still its own does it write the next one. So a callback that
arrives during a look is not lost, and a stopped process changes nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.domain.ids import JobId
from core.domain.messages.jobs import key_scope
from core.store.database import Connection
from core.store.jobs.jobs import JOB_COLUMNS, OF_JOB, JobRecord, job_record

HEAD_START: Final = "interval '1 day'"
"""How far a look is dated back that a callback or a cancel asks for.

When many scheduled looks are overdue, for example because a provider's rate limits them, a job that
is known to have ended would wait behind all of them.
"""
# A row that another transaction has locked is being changed and is taken in the next round.
LIST_DUE = f"""
SELECT job_id, provider, provider_key_id,
       extract(epoch FROM now() - next_look_at
               - CASE WHEN next_look_at <= now() - {HEAD_START} THEN {HEAD_START} ELSE '0' END)::float8
           AS late_seconds,
       state = 'submitted' AND report IS NULL AS is_read
FROM jobs
WHERE NOT orphan AND next_look_at <= now()
  AND (state <> 'submitted' OR report IS NOT NULL
       OR provider || coalesce('/' || provider_key_id, '') <> ALL ($2::text[]))
ORDER BY next_look_at LIMIT $1
FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants
TAKE_READS = "SELECT granted, next_seconds FROM take_provider_reads($1, $2, $3)"
LEASE = f"""
UPDATE jobs AS j SET next_look_at = now() + make_interval(secs => $2)
FROM steps AS s, executions AS e
WHERE {OF_JOB} AND j.job_id = ANY($1::text[])
RETURNING {JOB_COLUMNS}
"""  # noqa: S608 - constants
GET_NEXT_DUE = """
SELECT extract(epoch FROM min(next_look_at) - now())::float8 FROM jobs
WHERE NOT orphan AND next_look_at IS NOT NULL
  AND (state <> 'submitted' OR report IS NOT NULL
       OR provider || coalesce('/' || provider_key_id, '') <> ALL ($1::text[]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A leased job. lease: its next_look_at while no other process has taken or changed it."""

    job: JobRecord
    lease: datetime
    late_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Looks that were due.

    limited: by scope, the time after which its rate allows the next read. next_seconds: until the
    next job of another scope is due; None: none is.
    """

    looks: Sequence[Look]
    limited: Mapping[str, float]
    next_seconds: float | None


async def claim_looks(
    conn: Connection,
    *,
    limit: int,
    lease_seconds: float,
    without: Sequence[str],
    reads_per_minute: Mapping[str, int],
) -> Claim:
    """Lease due jobs within the rate of their providers' keys. Call it as system.

    A job with a report is not read, so no rate applies to it. without: scopes whose jobs are not
    read. reads_per_minute: by provider; all its keys have this rate.
    """
    due = await conn.fetch(LIST_DUE, limit, list(without))
    scopes = {
        row["job_id"]: key_scope(row["provider"], row["provider_key_id"])
        for row in due
        if row["is_read"]
    }
    numbers, limited, left = Counter(scopes.values()), dict[str, float](), dict[str, int]()
    for scope in sorted(numbers):  # one order of locks for all processes
        rate = reads_per_minute[scope.split("/")[0]]
        for taken in await conn.fetch(TAKE_READS, scope, numbers[scope], rate):
            left[scope] = taken["granted"]
            if taken["granted"] < numbers[scope]:
                limited[scope] = taken["next_seconds"]
    claimed: dict[JobId, float] = {}
    for row in due:
        scope = scopes.get(row["job_id"])
        if scope is None or left[scope] > 0:
            if scope is not None:
                left[scope] -= 1
            claimed[JobId(row["job_id"])] = row["late_seconds"]
    looks: Sequence[Look] = ()
    if claimed:
        looks = [
            Look(
                job=job_record(row), lease=row["next_look_at"], late_seconds=claimed[row["job_id"]]
            )
            for row in await conn.fetch(LEASE, list(claimed), lease_seconds)
        ]
    return Claim(
        looks=looks,
        limited=limited,
        next_seconds=await conn.fetchval(GET_NEXT_DUE, [*without, *limited]),
    )


SCHEDULE = """
UPDATE jobs SET next_look_at = now() + make_interval(secs => $3), failed_looks = $4
WHERE job_id = $1 AND next_look_at = $2 RETURNING job_id
"""
END_LOOKS = """
UPDATE jobs AS j SET next_look_at = NULL FROM unnest($1::text[], $2::text[]) AS look (job_id, lease)
WHERE j.job_id = look.job_id AND j.next_look_at = look.lease::timestamptz
"""
RELEASE = "UPDATE jobs SET next_look_at = now() WHERE job_id = $1 AND next_look_at = $2"
START_LOOKS = """
UPDATE jobs SET next_look_at = now() WHERE job_id = $1 AND state = 'submitted' AND next_look_at IS NULL
"""
COMPLETE_LATER = """
UPDATE jobs SET next_look_at = now() + make_interval(secs => $2), failed_looks = 0
WHERE job_id = $1 AND state <> 'submitted' AND next_look_at IS NULL
"""


async def schedule_look(
    conn: Connection, job_id: JobId, lease: datetime, *, seconds: float, failed_looks: int
) -> bool:
    """Schedule the next look. Return False if the lease is lost: another process did. As system."""
    return await conn.fetchval(SCHEDULE, job_id, lease, seconds, failed_looks) is not None


async def end_looks(conn: Connection, leases: Sequence[tuple[JobId, datetime]]) -> None:
    """Make no further looks at these jobs: no workflow waits for them. As system."""
    times = [at.isoformat() for _, at in leases]  # as text, see core/store/database.py
    await conn.execute(END_LOOKS, [job_id for job_id, _ in leases], times)


async def release_look(conn: Connection, job_id: JobId, lease: datetime) -> None:
    """Make the job due again at once, for another process. As system."""
    await conn.execute(RELEASE, job_id, lease)


async def start_looks(conn: Connection, job_id: JobId) -> None:
    """Make a job due that is not looked at, for example after a retry. Repeating is safe."""
    await conn.execute(START_LOOKS, job_id)


async def complete_later(conn: Connection, job_id: JobId, seconds: float) -> None:
    """Let a poller complete the wait for an ended job after this time. Repeating is safe."""
    await conn.execute(COMPLETE_LATER, job_id, seconds)
