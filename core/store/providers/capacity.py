"""What a provider lets us do, in rows that all processes share: its room, its rate, its pauses.

For each key by itself: `provider` in provider_states and submit_queue is a scope
(core.domain.messages.jobs.key_scope), the name of the provider for the service's own key, and with
a slash and its id for a user's.

Nothing here is part of a purchase: what is held back is asked again, and is certainly not sent.
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

WAITS_LIFE_SECONDS: Final = 3.0
"""A wait that was not asked again for so long has no say: its submit has ended, or its worker has.
"""
LOWER_EVERY_SECONDS: Final = 5
"""What was sent together is refused together: that is one refusal."""
SLOWEST_PER_SECOND: Final = 1.0
"""So that something is sent from which to learn that it goes again; what a provider wants beyond,
it says itself.
"""
FASTER_PER_SECOND: Final = 0.2
"""What an accepted create call gives back: from one a second to ten within about 12 s."""
FASTEST_PER_SECOND: Final = 100.0
"""Where the setting has no limit: as fast as this is free again."""
OVERDUE_SECONDS: Final = 300
"""A job so long past its deadline runs no more, whatever its row says."""


class HeldBy(StrEnum):
    """ROOM: as much is in flight as may be, or others come first. RATE: too soon after the last
    send, since its 429s. QUIET: a Retry-After. BREAKER: it refuses us.
    """

    ROOM = "room"
    RATE = "rate"
    QUIET = "quiet"
    BREAKER = "breaker"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """seconds: how long it is of no use to ask again; 0: at any moment."""

    by: HeldBy
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """probes: this send is the one that may try while the breaker is open. learned: its answer
    teaches something.
    """

    probes: bool = False
    learned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """submits_per_second: None: no limit."""

    max_in_flight: int
    submits_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAsked:
    """Who asks for room, and with whose key. pace: what the settings allow for one key at this
    provider, over all workers.
    """

    scope: str
    job_id: JobId
    user_id: UserId
    continuing: bool
    pace: Pace


# Who asks leaves a mark first, then counts the marks of others, then the rows, each in a statement
# of its own: whoever passes is seen by all who count later, as a mark or as a row. Nobody waits for
# anybody, so one that stands still takes no more than its own place.
LEAVE_MARK = "SELECT pg_advisory_xact_lock(hashtext('room/' || $1), pg_backend_pid())"
COUNT_MARKS = """
SELECT count(*)::int FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND classid = (hashtext('room/' || $1)::bigint & 4294967295)::oid
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()
"""
# In flight is what may run there. Among those that wait now, who has the fewest in flight comes
# first, then what stands on a paid step, then who has waited longest.
ASK = """
WITH flying AS (
    SELECT user_id, count(*)::int AS number FROM jobs
    WHERE provider = split_part($1, '/', 1) AND provider_key_id IS NOT DISTINCT FROM nullif(split_part($1, '/', 2), '')
      AND state IN ('submitting', 'unknown', 'submitted')
      AND deadline_at > now() - make_interval(secs => $6)
    GROUP BY user_id
), mine AS (
    SELECT coalesce((SELECT number FROM flying WHERE user_id = $3), 0) AS number,
           coalesce((SELECT since FROM submit_queue WHERE job_id = $2), 'infinity') AS since
)
SELECT s.tripped_at, extract(epoch FROM s.probe_at - clock_timestamp())::float8 AS probe_seconds,
       extract(epoch FROM s.quiet_until - clock_timestamp())::float8 AS quiet_seconds, s.max_in_flight,
       s.submits_per_second, extract(epoch FROM s.next_send_at - clock_timestamp())::float8 AS turn_seconds,
       coalesce((SELECT sum(number) FROM flying), 0)::int AS in_flight,
       (SELECT count(*)::int FROM submit_queue AS w LEFT JOIN flying AS f ON f.user_id = w.user_id
        WHERE w.provider = $1 AND w.job_id <> $2 AND w.seen_at > clock_timestamp() - make_interval(secs => $5)
          AND (coalesce(f.number, 0), NOT w.continuing, w.since, w.job_id)
            < (mine.number, NOT $4::boolean, mine.since, $2)) AS before,
       mine.since < 'infinity' AS waited
FROM mine LEFT JOIN provider_states AS s ON s.provider = $1
"""
KEEP_WAITING = """
INSERT INTO submit_queue (job_id, provider, user_id, continuing) VALUES ($1, $2, $3, $4)
ON CONFLICT (job_id) DO UPDATE SET seen_at = clock_timestamp()
"""
# One at a time; who finds the row locked comes again: nobody waits for anybody here either.
CLAIM_TURN = """
UPDATE provider_states SET next_send_at = clock_timestamp() + make_interval(secs => 1 / submits_per_second)
WHERE provider = (
    SELECT provider FROM provider_states
    WHERE provider = $1 AND (next_send_at IS NULL OR next_send_at <= clock_timestamp()) FOR UPDATE SKIP LOCKED
)
RETURNING provider
"""
WAIT_NO_MORE = "DELETE FROM submit_queue WHERE job_id = $1"


async def take_room(conn: Connection, asked: RoomAsked) -> Passed | HeldBack:
    """Ask, and keep the answer true until COMMIT: commit the intent in this transaction, or
    nothing.

    Some may be held back that would have had room, where many ask at once; never does one pass too
    many.
    """
    async with among_all_users(conn):
        await conn.execute(LEAVE_MARK, asked.scope)
        marks: int = await conn.fetchval(COUNT_MARKS, asked.scope)
        row = await _ask(conn, asked)
        answer = _decide(row, asked, marks)
        if isinstance(answer, Passed) and answer.probes:
            claimed = await claim_probe(conn, asked.scope, asked.job_id)
            answer = answer if claimed else HeldBack(by=HeldBy.BREAKER, seconds=1.0)
        elif isinstance(answer, Passed) and row["submits_per_second"] is not None:
            claimed = await conn.fetchval(CLAIM_TURN, asked.scope) is not None
            answer = answer if claimed else HeldBack(by=HeldBy.RATE)
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


async def _ask(conn: Connection, asked: RoomAsked) -> asyncpg.Record:
    row = await conn.fetchrow(
        ASK,
        asked.scope,
        asked.job_id,
        asked.user_id,
        asked.continuing,
        WAITS_LIFE_SECONDS,
        float(OVERDUE_SECONDS),
    )
    if row is None:
        raise LookupError(asked.scope)  # a SELECT over one row has one
    return row


async def _note_wait(conn: Connection, asked: RoomAsked, answer: HeldBack) -> None:
    """Only who could go at any moment keeps others waiting."""
    if answer.by in (HeldBy.ROOM, HeldBy.RATE):
        await conn.execute(KEEP_WAITING, asked.job_id, asked.scope, asked.user_id, asked.continuing)


def _decide(row: asyncpg.Record, asked: RoomAsked, marks: int) -> Passed | HeldBack:
    if row["tripped_at"] is not None:
        if row["probe_seconds"] > 0:
            return HeldBack(by=HeldBy.BREAKER, seconds=row["probe_seconds"])
        return Passed(probes=True, learned=True)
    if row["quiet_seconds"] is not None and row["quiet_seconds"] > 0:
        return HeldBack(by=HeldBy.QUIET, seconds=row["quiet_seconds"])
    most: int | None = row["max_in_flight"]
    allowed = asked.pace.max_in_flight if most is None else min(most, asked.pace.max_in_flight)
    if row["in_flight"] + row["before"] + marks >= allowed:
        return HeldBack(by=HeldBy.ROOM)
    slowed = row["submits_per_second"] is not None
    if slowed and row["before"]:  # the next turn is of who comes first
        return HeldBack(by=HeldBy.RATE)
    if slowed and row["turn_seconds"] is not None and row["turn_seconds"] > 0:
        return HeldBack(by=HeldBy.RATE, seconds=row["turn_seconds"])
    return Passed(learned=most is not None or slowed)


# Half of what ran when it refused, and half as often as was sent in the seconds before. They are
# counts of their own, so that one that is far from the setting is heard, too.
LOWER = """
WITH running AS (
    SELECT count(*)::int AS number FROM jobs
    WHERE provider = split_part($1, '/', 1) AND provider_key_id IS NOT DISTINCT FROM nullif(split_part($1, '/', 2), '')
      AND state IN ('submitting', 'unknown', 'submitted')
      AND deadline_at > now() - make_interval(secs => $5)
), sent AS (
    SELECT count(*) / $4::float8 AS per_second
    FROM (SELECT job_id, sent_at, provider_key_id FROM sends ORDER BY serial DESC LIMIT 1000) AS s
    JOIN jobs AS j ON j.job_id = s.job_id AND j.provider = split_part($1, '/', 1)
    WHERE s.provider_key_id IS NOT DISTINCT FROM nullif(split_part($1, '/', 2), '')
      AND s.sent_at > clock_timestamp() - make_interval(secs => $4)
)
INSERT INTO provider_states AS s (provider, max_in_flight, submits_per_second, lowered_at, quiet_until)
SELECT $1, greatest(1, least($2, number) / 2), greatest($7::float8, least($6::float8, per_second) / 2),
       clock_timestamp(), clock_timestamp() + make_interval(secs => $3)
FROM running, sent
ON CONFLICT (provider) DO UPDATE
SET quiet_until = greatest(s.quiet_until, excluded.quiet_until),
    max_in_flight = CASE WHEN s.lowered_at > clock_timestamp() - make_interval(secs => $4) THEN s.max_in_flight
                         ELSE greatest(1, least(s.max_in_flight, excluded.max_in_flight * 2) / 2) END,
    submits_per_second = CASE
        WHEN s.lowered_at > clock_timestamp() - make_interval(secs => $4) THEN s.submits_per_second
        ELSE greatest($7::float8, least(s.submits_per_second / 2, excluded.submits_per_second)) END,
    lowered_at = CASE WHEN s.lowered_at > clock_timestamp() - make_interval(secs => $4) THEN s.lowered_at
                      ELSE excluded.lowered_at END
RETURNING max_in_flight, submits_per_second
"""
RAISE = """
UPDATE provider_states
SET max_in_flight = nullif(least(max_in_flight + 1, $2), $2),
    submits_per_second = nullif(least(submits_per_second + $4::float8, $3::float8), $3::float8)
WHERE provider = $1 AND (max_in_flight IS NOT NULL OR submits_per_second IS NOT NULL)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """What a provider is asked from now on; None: as much as the setting says."""

    max_in_flight: int | None
    submits_per_second: float | None


async def lower(conn: Connection, scope: str, pace: Pace, retry_after_seconds: float) -> Lowered:
    """The provider answered 429: with this key fewer at once and more slowly from now on, and
    nobody before what it asked for. As system.
    """
    fastest = pace.submits_per_second or FASTEST_PER_SECOND
    (row,) = await conn.fetch(
        LOWER,
        scope,
        pace.max_in_flight,
        retry_after_seconds,
        float(LOWER_EVERY_SECONDS),
        float(OVERDUE_SECONDS),
        fastest,
        min(SLOWEST_PER_SECOND, fastest / 2),
    )
    return Lowered(**dict(row))


async def raise_again(conn: Connection, scope: str, pace: Pace) -> None:
    """It accepted one: one more at once and a little faster, up to the setting. As system."""
    fastest = pace.submits_per_second or FASTEST_PER_SECOND
    await conn.execute(RAISE, scope, pace.max_in_flight, fastest, FASTER_PER_SECOND)


LIST_STATES = """
WITH flying AS (
    SELECT provider || coalesce('/' || provider_key_id, '') AS provider, count(*)::int AS number FROM jobs
    WHERE state IN ('submitting', 'unknown', 'submitted') AND deadline_at > now() - make_interval(secs => $1)
    GROUP BY 1
), waiting AS (
    SELECT provider, count(*)::int AS number FROM submit_queue
    WHERE seen_at > clock_timestamp() - make_interval(secs => $2) GROUP BY provider
)
SELECT provider, coalesce(f.number, 0) AS in_flight, coalesce(w.number, 0) AS waiting_for_room, s.max_in_flight,
       s.submits_per_second, s.lowered_at, s.quiet_until, s.tripped_at, s.tripped_code, s.tripped_status,
       coalesce(s.trips, 0) AS trips, s.probe_at, s.probe_job_id
FROM provider_states AS s FULL JOIN flying AS f USING (provider) FULL JOIN waiting AS w USING (provider)
ORDER BY provider
"""
RESET = """
DELETE FROM provider_states WHERE provider = $1
RETURNING tripped_code, max_in_flight, submits_per_second, quiet_until
"""
FORGET_WAITS = "DELETE FROM submit_queue WHERE seen_at < now() - interval '10 minutes'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderState:
    """Of one key. provider: its scope. max_in_flight, submits_per_second: what 429s have left of
    the settings; None: all of it.
    """

    provider: str
    in_flight: int
    waiting_for_room: int
    max_in_flight: int | None
    submits_per_second: float | None
    lowered_at: datetime | None
    quiet_until: datetime | None
    tripped_at: datetime | None
    tripped_code: str | None
    tripped_status: int | None
    trips: int
    probe_at: datetime | None
    probe_job_id: str | None


async def list_states(conn: Connection) -> list[ProviderState]:
    """Every key with which jobs are in flight, or of which something was learned. As system."""
    rows = await conn.fetch(LIST_STATES, float(OVERDUE_SECONDS), WAITS_LIFE_SECONDS)
    return [ProviderState(**dict(row)) for row in rows]


async def reset(conn: Connection, scope: str) -> Mapping[str, Any] | None:
    """Forget what was learned of a provider, or of one key there: its breaker is closed, nothing is
    lowered. As system.

    Returns what was forgotten; None: nothing was known.
    """
    row = await conn.fetchrow(RESET, scope)
    return dict(row) if row is not None else None


FORGET_KEYS = """
DELETE FROM provider_states AS s USING provider_keys AS k
WHERE s.provider LIKE '%/%' AND k.provider_key_id = split_part(s.provider, '/', 2) AND k.erased_at IS NOT NULL
"""


async def forget_waits(conn: Connection) -> None:
    """Those whose job went another way, and what was learned of keys that are gone. As system."""
    await conn.execute(FORGET_WAITS)
    await conn.execute(FORGET_KEYS)
