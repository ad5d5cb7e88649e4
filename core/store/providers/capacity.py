"""Provider capacity: slots and pauses per provider key, shared by all processes through rows.

`provider` in provider_states and submit_queue is a scope (`core.domain.messages.jobs.key_scope`):
the provider's name for the service's own key, with a slash and the key's id for a user's key.

Nothing here is part of a purchase: a deferred job was certainly not sent and tries again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import asyncpg

from core.domain.ids import JobId, UserId
from core.store.database import Connection, among_all_users
from core.store.providers.circuit_breaker import claim_probe

WAITER_LIFE_SECONDS: Final = 3.0
"""A waiting job without a new request for this long loses its position: its worker has ended."""
OVERDUE_SECONDS: Final = 300
"""A job this long past its deadline takes no slot, whatever state its row has."""
MIN_PAUSE_SECONDS: Final = 2.0
"""The pause after a 429 without a usable Retry-After."""


PAUSE_PROBE_SECONDS: Final = 30.0
"""The pause after a 429 in which nothing is sent. A longer Retry-After may be absurd, so from then
on single sends probe the provider.
"""
PROBE_ANSWER_SECONDS: Final = 10.0
"""When to look again while such a probe is out."""


class DeferredBy(StrEnum):
    """Why a job is deferred.

    CAPACITY: all slots are taken, or other jobs come first. RATE: the sends of the next seconds are
    reserved. RETRY_AFTER: the provider requested a pause. BREAKER: the circuit breaker is open.
    """

    CAPACITY = "capacity"
    RATE = "rate"
    RETRY_AFTER = "retry_after"
    BREAKER = "breaker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """The job is not sent now. seconds: the delay after which a retry can succeed; 0: any time."""

    by: DeferredBy
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The job has a slot. is_probe: its send probes an open circuit breaker or a long pause."""

    is_probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRequest:
    """A job that needs a slot. max_in_flight: the limit of its key over all workers."""

    scope: str
    job_id: JobId
    user_id: UserId
    continuing: bool
    max_in_flight: int


READ_CAPACITY = "SELECT * FROM read_capacity($1, $2, $3, $4, $5, $6, $7)"
UPSERT_WAITER = """
INSERT INTO submit_queue (job_id, provider, user_id, continuing) VALUES ($1, $2, $3, $4)
ON CONFLICT (job_id) DO UPDATE SET seen_at = clock_timestamp()
"""
DELETE_WAITER = "DELETE FROM submit_queue WHERE job_id = $1"


async def take_slot(conn: Connection, request: SlotRequest) -> Admitted | Deferral:
    """Admit a job or defer it; the result is valid until COMMIT.

    Commit the intent in the same transaction, or nothing. Under concurrency a job may be deferred
    although a slot was free, but never more jobs are admitted than there are slots.
    """
    row = await _read_capacity(conn, request, announce=True)
    decision = _decide(row, request)
    if decision == Admitted() and not row["waited"]:
        return decision
    async with among_all_users(conn):
        if isinstance(decision, Admitted) and decision.is_probe:
            claimed = await claim_probe(conn, request.scope, request.job_id)
            by = DeferredBy.BREAKER if row["tripped_at"] is not None else DeferredBy.RETRY_AFTER
            decision = decision if claimed else Deferral(by=by, seconds=1.0)
        if isinstance(decision, Deferral):
            await _keep_queue_position(conn, request, decision)
        elif row["waited"]:
            await conn.execute(DELETE_WAITER, request.job_id)
    return decision


async def check_slot(conn: Connection, request: SlotRequest) -> Deferral | None:
    """Check for a slot without taking it, and keep the job's position in the queue.

    Return None if a slot can be taken now. Call it as system.
    """
    decision = _decide(await _read_capacity(conn, request, announce=False), request)
    if isinstance(decision, Admitted):
        return None
    await _keep_queue_position(conn, request, decision)
    return decision


# No transaction of a send holds this row: a stalled one delays no other.
RESERVE_SEND = """
INSERT INTO rate_limits AS r (subject, class, arrival_at)
VALUES ('provider/' || $1, 'writes', clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (subject, class) DO UPDATE
SET arrival_at = make_interval(secs => $2) + CASE
    -- left by a lower rate, or by a clock that was ahead
    WHEN r.arrival_at > clock_timestamp() + make_interval(secs => 2 * $3 + $2) THEN clock_timestamp()
    ELSE greatest(r.arrival_at, clock_timestamp())
END
WHERE r.arrival_at <= clock_timestamp() + make_interval(secs => $3)
   OR r.arrival_at > clock_timestamp() + make_interval(secs => 2 * $3 + $2)
RETURNING extract(epoch FROM arrival_at - clock_timestamp())::float8 - $2
"""


async def reserve_send(
    conn: Connection, scope: str, per_second: float, *, within_seconds: float
) -> float | None:
    """Reserve the next send of a key, and return in how many seconds it is due. As system.

    None: the sends of this time are reserved. within_seconds: the same in every call, because a
    reservation much further ahead counts as left by a lower rate. Commit it before the send's own
    transaction begins.
    """
    seconds: float | None = await conn.fetchval(RESERVE_SEND, scope, 1 / per_second, within_seconds)
    return seconds


async def _read_capacity(
    conn: Connection, request: SlotRequest, *, announce: bool
) -> asyncpg.Record:
    (row,) = await conn.fetch(
        READ_CAPACITY,
        announce,
        request.scope,
        request.job_id,
        request.user_id,
        request.continuing,
        WAITER_LIFE_SECONDS,
        float(OVERDUE_SECONDS),
    )
    return row


async def _keep_queue_position(conn: Connection, request: SlotRequest, decision: Deferral) -> None:
    """Keep the job's position in the queue, which only jobs that wait for capacity have."""
    if decision.by is DeferredBy.CAPACITY:
        await conn.execute(
            UPSERT_WAITER, request.job_id, request.scope, request.user_id, request.continuing
        )


def _decide(row: asyncpg.Record, request: SlotRequest) -> Admitted | Deferral:
    if row["tripped_at"] is not None:
        if row["probe_seconds"] > 0:
            return Deferral(by=DeferredBy.BREAKER, seconds=row["probe_seconds"])
        return Admitted(is_probe=True)
    if row["pause_seconds"] is not None and row["pause_seconds"] > 0:
        return _decide_in_pause(row)
    if row["in_flight"] + row["before_"] + row["announced"] >= request.max_in_flight:
        return Deferral(by=DeferredBy.CAPACITY)
    return Admitted()


def _decide_in_pause(row: asyncpg.Record) -> Admitted | Deferral:
    seconds: float = row["pause_seconds"]
    if row["probe_seconds"] is None:
        return Deferral(by=DeferredBy.RETRY_AFTER, seconds=seconds)
    if row["probe_seconds"] <= 0:
        return Admitted(is_probe=True)
    soonest = min(seconds, row["probe_seconds"])
    if row["is_probed"]:
        soonest = min(soonest, PROBE_ANSWER_SECONDS)
    return Deferral(by=DeferredBy.RETRY_AFTER, seconds=soonest)


# The answer to a probe is the newest and replaces the pause. Answers to sends that were already out
# only lengthen it, and leave the time of the next probe. An open breaker has probes of its own.
PAUSE = """
INSERT INTO provider_states AS s (provider, quiet_until, probe_at)
VALUES ($1, clock_timestamp() + make_interval(secs => $2),
        CASE WHEN $2 > $4 THEN clock_timestamp() + make_interval(secs => $4) END)
ON CONFLICT (provider) DO UPDATE
SET quiet_until = CASE WHEN s.probe_job_id = $3 AND s.tripped_at IS NULL THEN excluded.quiet_until
                       ELSE greatest(s.quiet_until, excluded.quiet_until) END,
    probe_at = CASE WHEN s.tripped_at IS NOT NULL THEN s.probe_at
                    WHEN s.probe_job_id = $3 OR s.quiet_until <= clock_timestamp() THEN excluded.probe_at
                    ELSE coalesce(s.probe_at, excluded.probe_at) END,
    probe_job_id = CASE WHEN s.tripped_at IS NOT NULL OR (s.probe_job_id <> $3 AND s.quiet_until > clock_timestamp())
                        THEN s.probe_job_id END
"""


async def pause_scope(
    conn: Connection, scope: str, retry_after_seconds: float, job_id: JobId | None = None
) -> float:
    """Pause sends with a key after a 429; return the seconds. Call it as system.

    A pause above PAUSE_PROBE_SECONDS admits single probes from then on. job_id: the job whose send
    was answered.
    """
    seconds = max(retry_after_seconds, MIN_PAUSE_SECONDS)
    await conn.execute(PAUSE, scope, seconds, job_id or "", PAUSE_PROBE_SECONDS)
    return seconds


LIST_STATES = """
WITH in_flight AS (
    SELECT provider || coalesce('/' || provider_key_id, '') AS provider, count(*)::int AS number FROM jobs
    WHERE state IN ('submitting', 'unknown', 'submitted') AND deadline_at > now() - make_interval(secs => $1)
    GROUP BY 1
), waiting AS (
    SELECT provider, count(*)::int AS number FROM submit_queue
    WHERE seen_at > clock_timestamp() - make_interval(secs => $2) GROUP BY provider
)
SELECT provider, coalesce(f.number, 0) AS in_flight, coalesce(w.number, 0) AS waiting,
       s.quiet_until, s.tripped_at, s.tripped_code, s.tripped_status,
       coalesce(s.trips, 0) AS trips, s.probe_at, s.probe_job_id
FROM provider_states AS s FULL JOIN in_flight AS f USING (provider) FULL JOIN waiting AS w USING (provider)
ORDER BY provider
"""
RESET = """
DELETE FROM provider_states WHERE provider = $1
RETURNING tripped_code, quiet_until
"""
DELETE_OLD_WAITERS = "DELETE FROM submit_queue WHERE seen_at < now() - interval '10 minutes'"
DELETE_ERASED_KEYS = """
DELETE FROM provider_states AS s USING provider_keys AS k
WHERE s.provider LIKE '%/%' AND k.provider_key_id = split_part(s.provider, '/', 2) AND k.erased_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """The state of one key. provider: its scope. quiet_until: the end of a Retry-After pause."""

    provider: str
    in_flight: int
    waiting: int
    quiet_until: datetime | None
    tripped_at: datetime | None
    tripped_code: str | None
    tripped_status: int | None
    trips: int
    probe_at: datetime | None
    probe_job_id: str | None


async def list_states(conn: Connection) -> list[ProviderState]:
    """List keys with jobs in flight, a pause or a tripped breaker. Call it as system."""
    rows = await conn.fetch(LIST_STATES, float(OVERDUE_SECONDS), WAITER_LIFE_SECONDS)
    return [ProviderState(**dict(row)) for row in rows]


async def reset(conn: Connection, scope: str) -> Mapping[str, Any] | None:
    """Close the breaker of a key and end its pause. Call it as system.

    Return the old state, or None if neither was active.
    """
    row = await conn.fetchrow(RESET, scope)
    return dict(row) if row is not None else None


async def delete_stale_capacity(conn: Connection) -> None:
    """Delete abandoned waiters and the states of erased keys. Call it as system."""
    await conn.execute(DELETE_OLD_WAITERS)
    await conn.execute(DELETE_ERASED_KEYS)
