"""What a provider lets us do, in rows that all processes share: its room, its pauses, and the breaker.

Nothing here is part of a purchase: what is held back is asked again, and is certainly not sent.
"""

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import asyncpg

from contracts.failures import FailureCode
from contracts.ids import JobId, UserId
from store.database import APP_ROLE, SET_SYSTEM, Connection

WAITS_LIFE_SECONDS: Final = 3.0
"""A wait that was not asked again for so long has no say: its submit has ended, or its worker has."""
FIRST_PAUSE_SECONDS: Final = 60
LONGEST_PAUSE_SECONDS: Final = 900
"""A tripped breaker lets one send try after the first pause; each that is refused, too, doubles it, up to this."""
PROBE_SECONDS: Final = 60
"""How long the answer of the one that tries is waited for before another one may."""
PROBE_AGAIN_SECONDS: Final = 5
"""After an answer that says neither."""
LOWER_EVERY_SECONDS: Final = 5
"""What was sent together is refused together: that is one refusal."""
OVERDUE_SECONDS: Final = 300
"""A job so long past its deadline runs no more, whatever its row says."""


class HeldBy(StrEnum):
    """ROOM: as much is in flight as may be, or others come first. QUIET: a Retry-After. BREAKER: it refuses us."""

    ROOM = "room"
    QUIET = "quiet"
    BREAKER = "breaker"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """seconds: how long it is of no use to ask again; 0: at any moment."""

    by: HeldBy
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """probes: this send is the one that may try while the breaker is open. learned: its answer teaches something."""

    probes: bool = False
    learned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAsked:
    """Who asks for room. max_in_flight: what the settings allow at this provider, over all workers."""

    provider: str
    job_id: JobId
    user_id: UserId
    continuing: bool
    max_in_flight: int


SET_APP = f"SET LOCAL ROLE {APP_ROLE}"
# Who asks leaves a mark first, then counts the marks of others, then the rows, each in a statement of
# its own: whoever passes is seen by all who count later, as a mark or as a row. Nobody waits for anybody, so one that
# stands still takes no more than its own place.
LEAVE_MARK = "SELECT pg_advisory_xact_lock(hashtext('room/' || $1), pg_backend_pid())"
COUNT_MARKS = """
SELECT count(*)::int FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND classid = (hashtext('room/' || $1)::bigint & 4294967295)::oid
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()
"""
# In flight is what may run there. Among those that wait now, who has the fewest in flight comes first, then what stands
# on a paid step, then who has waited longest.
ASK = """
WITH flying AS (
    SELECT user_id, count(*)::int AS number FROM jobs
    WHERE provider = $1 AND state IN ('submitting', 'unknown', 'submitted')
      AND deadline_at > now() - make_interval(secs => $6)
    GROUP BY user_id
), mine AS (
    SELECT coalesce((SELECT number FROM flying WHERE user_id = $3), 0) AS number,
           coalesce((SELECT since FROM room_waits WHERE job_id = $2), 'infinity') AS since
)
SELECT s.tripped_at, extract(epoch FROM s.probe_at - clock_timestamp())::float8 AS probe_seconds,
       extract(epoch FROM s.quiet_until - clock_timestamp())::float8 AS quiet_seconds, s.max_in_flight,
       coalesce((SELECT sum(number) FROM flying), 0)::int AS in_flight,
       (SELECT count(*)::int FROM room_waits AS w LEFT JOIN flying AS f ON f.user_id = w.user_id
        WHERE w.provider = $1 AND w.job_id <> $2 AND w.seen_at > clock_timestamp() - make_interval(secs => $5)
          AND (coalesce(f.number, 0), NOT w.continuing, w.since, w.job_id)
            < (mine.number, NOT $4::boolean, mine.since, $2)) AS before,
       mine.since < 'infinity' AS waited
FROM mine LEFT JOIN provider_states AS s ON s.provider = $1
"""
KEEP_WAITING = """
INSERT INTO room_waits (job_id, provider, user_id, continuing) VALUES ($1, $2, $3, $4)
ON CONFLICT (job_id) DO UPDATE SET seen_at = clock_timestamp()
"""
WAIT_NO_MORE = "DELETE FROM room_waits WHERE job_id = $1"
CLAIM_PROBE = """
UPDATE provider_states SET probe_job_id = $2, probe_at = clock_timestamp() + make_interval(secs => $3)
WHERE provider = (
    SELECT provider FROM provider_states
    WHERE provider = $1 AND tripped_at IS NOT NULL AND probe_at <= clock_timestamp() FOR UPDATE SKIP LOCKED
)
RETURNING provider
"""


@asynccontextmanager
async def _among_all_users(conn: Connection) -> AsyncGenerator[None]:
    """Within a user's transaction: room is shared with those whose rows this user does not see."""
    await conn.execute(SET_SYSTEM)
    yield
    await conn.execute(SET_APP)  # after an error there is nothing to go back to: the transaction is over


async def take_room(conn: Connection, asked: RoomAsked) -> Passed | HeldBack:
    """Ask, and keep the answer true until COMMIT: commit the intent in this transaction, or nothing.

    Some may be held back that would have had room, where many ask at once; never does one pass too many.
    """
    async with _among_all_users(conn):
        await conn.execute(LEAVE_MARK, asked.provider)
        marks: int = await conn.fetchval(COUNT_MARKS, asked.provider)
        row = await _ask(conn, asked)
        answer = _decide(row, asked, marks)
        if isinstance(answer, Passed) and answer.probes:
            claimed = await conn.fetchval(CLAIM_PROBE, asked.provider, asked.job_id, float(PROBE_SECONDS))
            answer = answer if claimed is not None else HeldBack(by=HeldBy.BREAKER, seconds=1.0)
        if isinstance(answer, HeldBack):
            await _note_wait(conn, asked, answer)
        elif row["waited"]:
            await conn.execute(WAIT_NO_MORE, asked.job_id)
    return answer


async def ask_again(conn: Connection, asked: RoomAsked) -> HeldBack | None:
    """Look without taking anything, and keep the place in the order. None: try now. As system."""
    answer = _decide(await _ask(conn, asked), asked, 0)
    if isinstance(answer, Passed):
        return None
    await _note_wait(conn, asked, answer)
    return answer


async def try_no_more(conn: Connection, provider: str, job_id: JobId) -> None:
    """In the transaction of `take_room`: it passed to try, and is not sent after all."""
    async with _among_all_users(conn):
        await conn.execute(PROBE_SAID_NEITHER, provider, job_id, 0.0)


async def _ask(conn: Connection, asked: RoomAsked) -> asyncpg.Record:
    row = await conn.fetchrow(
        ASK,
        asked.provider,
        asked.job_id,
        asked.user_id,
        asked.continuing,
        WAITS_LIFE_SECONDS,
        float(OVERDUE_SECONDS),
    )
    if row is None:
        raise LookupError(asked.provider)  # a SELECT over one row has one
    return row


async def _note_wait(conn: Connection, asked: RoomAsked, answer: HeldBack) -> None:
    """Only who could go at any moment keeps others waiting."""
    if answer.by is HeldBy.ROOM:
        await conn.execute(KEEP_WAITING, asked.job_id, asked.provider, asked.user_id, asked.continuing)


def _decide(row: asyncpg.Record, asked: RoomAsked, marks: int) -> Passed | HeldBack:
    if row["tripped_at"] is not None:
        if row["probe_seconds"] > 0:
            return HeldBack(by=HeldBy.BREAKER, seconds=row["probe_seconds"])
        return Passed(probes=True, learned=True)
    if row["quiet_seconds"] is not None and row["quiet_seconds"] > 0:
        return HeldBack(by=HeldBy.QUIET, seconds=row["quiet_seconds"])
    learned: int | None = row["max_in_flight"]
    allowed = asked.max_in_flight if learned is None else min(learned, asked.max_in_flight)
    if row["in_flight"] + row["before"] + marks >= allowed:
        return HeldBack(by=HeldBy.ROOM)
    return Passed(learned=learned is not None)


# The first refusal trips it; one of a send that was out by then says nothing new. Who tried makes the pause longer.
TRIP = """
INSERT INTO provider_states AS s (provider, tripped_at, tripped_code, tripped_status, trips, probe_at)
VALUES ($1, now(), $3, $4, 1, clock_timestamp() + make_interval(secs => $5))
ON CONFLICT (provider) DO UPDATE
SET tripped_at = coalesce(s.tripped_at, now()), tripped_code = excluded.tripped_code,
    tripped_status = excluded.tripped_status, trips = s.trips + 1, probe_job_id = NULL,
    probe_at = clock_timestamp() + make_interval(secs => least($6, $5 * 2.0 ^ least(s.trips, 10)))
WHERE s.tripped_at IS NULL OR s.probe_job_id = $2
RETURNING tripped_at, trips
"""
CLOSE = """
UPDATE provider_states
SET tripped_at = NULL, tripped_code = NULL, tripped_status = NULL, trips = 0, probe_at = NULL, probe_job_id = NULL,
    admitted_at = NULL
WHERE provider = $1 AND probe_job_id = $2 AND tripped_at IS NOT NULL
RETURNING provider
"""
PROBE_SAID_NEITHER = """
UPDATE provider_states SET probe_job_id = NULL, probe_at = clock_timestamp() + make_interval(secs => $3)
WHERE provider = $1 AND probe_job_id = $2 AND tripped_at IS NOT NULL
"""
PAUSE_LEFT = """
SELECT greatest(extract(epoch FROM probe_at - clock_timestamp()), 0)::float8 FROM provider_states
WHERE provider = $1 AND tripped_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """fresh: by this answer. seconds: until one may try."""

    fresh: bool
    seconds: float


async def trip(conn: Connection, provider: str, job_id: JobId, code: FailureCode, status: int | None) -> Tripped:
    """The provider refuses us: nothing more is sent there but one try now and then. As system."""
    done = await conn.fetchrow(
        TRIP, provider, job_id, code, status, float(FIRST_PAUSE_SECONDS), float(LONGEST_PAUSE_SECONDS)
    )
    seconds: float | None = await conn.fetchval(PAUSE_LEFT, provider)
    return Tripped(fresh=done is not None, seconds=seconds or 0.0)


async def close(conn: Connection, provider: str, job_id: JobId) -> bool:
    """The send that tried was accepted. False: this job's was not the one, or it was closed. As system."""
    return await conn.fetchval(CLOSE, provider, job_id) is not None


async def probe_said_neither(conn: Connection, provider: str, job_id: JobId) -> None:
    """The send that tried was not accepted, for a reason of its own: another one tries soon. As system."""
    await conn.execute(PROBE_SAID_NEITHER, provider, job_id, float(PROBE_AGAIN_SECONDS))


# Half of what ran when it refused. It is its own count, so that one that is far from the setting is heard, too.
LOWER = """
WITH running AS (
    SELECT count(*)::int AS number FROM jobs
    WHERE provider = $1 AND state IN ('submitting', 'unknown', 'submitted')
      AND deadline_at > now() - make_interval(secs => $5)
)
INSERT INTO provider_states AS s (provider, max_in_flight, lowered_at, quiet_until)
SELECT $1, greatest(1, least($2, number) / 2), clock_timestamp(), clock_timestamp() + make_interval(secs => $3)
FROM running
ON CONFLICT (provider) DO UPDATE
SET quiet_until = greatest(s.quiet_until, excluded.quiet_until),
    max_in_flight = CASE WHEN s.lowered_at > clock_timestamp() - make_interval(secs => $4) THEN s.max_in_flight
                         ELSE greatest(1, least(s.max_in_flight, excluded.max_in_flight * 2) / 2) END,
    lowered_at = CASE WHEN s.lowered_at > clock_timestamp() - make_interval(secs => $4) THEN s.lowered_at
                      ELSE excluded.lowered_at END
RETURNING max_in_flight
"""
RAISE = """
UPDATE provider_states SET max_in_flight = nullif(least(max_in_flight + 1, $2), $2)
WHERE provider = $1 AND max_in_flight IS NOT NULL
"""


async def lower(conn: Connection, provider: str, max_in_flight: int, retry_after_seconds: float) -> int | None:
    """The provider answered 429: fewer at once from now on, and nobody before what it asked for. As system.

    Returns how many may be in flight now; None: as many as the setting says.
    """
    return await conn.fetchval(
        LOWER, provider, max_in_flight, retry_after_seconds, float(LOWER_EVERY_SECONDS), float(OVERDUE_SECONDS)
    )


async def raise_again(conn: Connection, provider: str, max_in_flight: int) -> None:
    """It accepted one: one more at once, up to the setting. As system."""
    await conn.execute(RAISE, provider, max_in_flight)


LIST_TRIPPED = """
SELECT provider, tripped_code AS code, tripped_at AS since,
       greatest(extract(epoch FROM probe_at - clock_timestamp()), 0)::float8 AS seconds
FROM provider_states WHERE provider = ANY($1::text[]) AND tripped_at IS NOT NULL ORDER BY provider
"""
ADMIT = """
UPDATE provider_states SET admitted_at = clock_timestamp()
WHERE provider = $1 AND tripped_at IS NOT NULL AND probe_job_id IS NULL AND probe_at <= clock_timestamp()
  AND (admitted_at IS NULL OR admitted_at < greatest(probe_at, clock_timestamp() - make_interval(secs => $2)))
RETURNING provider
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBreaker:
    """seconds: until one send may try."""

    provider: str
    code: str
    since: datetime
    seconds: float


async def list_tripped(conn: Connection, providers: Collection[str]) -> list[OpenBreaker]:
    """Which of these refuse us now."""
    return [OpenBreaker(**dict(row)) for row in await conn.fetch(LIST_TRIPPED, list(providers))]


async def admit(conn: Connection, provider: str) -> bool:
    """Whether one request may be accepted although the provider refuses us: somebody has to try. As system."""
    return await conn.fetchval(ADMIT, provider, float(PROBE_SECONDS)) is not None


async def admit_within(conn: Connection, provider: str) -> bool:
    """Like `admit`, in the transaction in which the request of a user is accepted."""
    async with _among_all_users(conn):
        return await admit(conn, provider)


LIST_STATES = """
WITH flying AS (
    SELECT provider, count(*)::int AS number FROM jobs
    WHERE state IN ('submitting', 'unknown', 'submitted') AND deadline_at > now() - make_interval(secs => $1)
    GROUP BY provider
), waiting AS (
    SELECT provider, count(*)::int AS number FROM room_waits
    WHERE seen_at > clock_timestamp() - make_interval(secs => $2) GROUP BY provider
)
SELECT provider, coalesce(f.number, 0) AS in_flight, coalesce(w.number, 0) AS waiting_for_room, s.max_in_flight,
       s.lowered_at, s.quiet_until, s.tripped_at, s.tripped_code, s.tripped_status, coalesce(s.trips, 0) AS trips,
       s.probe_at, s.probe_job_id
FROM provider_states AS s FULL JOIN flying AS f USING (provider) FULL JOIN waiting AS w USING (provider)
ORDER BY provider
"""
RESET = "DELETE FROM provider_states WHERE provider = $1 RETURNING tripped_code, max_in_flight, quiet_until"
FORGET_WAITS = "DELETE FROM room_waits WHERE seen_at < now() - interval '10 minutes'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """max_in_flight: what 429s have left of the setting; None: all of it."""

    provider: str
    in_flight: int
    waiting_for_room: int
    max_in_flight: int | None
    lowered_at: datetime | None
    quiet_until: datetime | None
    tripped_at: datetime | None
    tripped_code: str | None
    tripped_status: int | None
    trips: int
    probe_at: datetime | None
    probe_job_id: str | None


async def list_states(conn: Connection) -> list[ProviderState]:
    """Every provider that has jobs in flight, or of which something was learned. As system."""
    rows = await conn.fetch(LIST_STATES, float(OVERDUE_SECONDS), WAITS_LIFE_SECONDS)
    return [ProviderState(**dict(row)) for row in rows]


async def reset(conn: Connection, provider: str) -> Mapping[str, Any] | None:
    """Forget what was learned of a provider: its breaker is closed, nothing is lowered. As system.

    Returns what was forgotten; None: nothing was known.
    """
    row = await conn.fetchrow(RESET, provider)
    return dict(row) if row is not None else None


async def forget_waits(conn: Connection) -> None:
    """Those whose job went another way. As system."""
    await conn.execute(FORGET_WAITS)
