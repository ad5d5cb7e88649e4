"""The breaker of each provider: one that refuses us altogether is left alone, but for one send now
and then that tries.

Each key has a breaker of its own: `provider` in the rows is a scope
(core.domain.messages.jobs.key_scope).

Nothing here is part of a purchase: what is held back is asked again, and is certainly not sent.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.domain.failures import FailureCode
from core.domain.ids import JobId
from core.store.database import Connection, among_all_users

FIRST_PAUSE_SECONDS: Final = 60
LONGEST_PAUSE_SECONDS: Final = 900
"""A tripped breaker lets one send try after the first pause; each that is refused, too, doubles it,
up to this.
"""
PROBE_SECONDS: Final = 60
"""How long the answer of the one that tries is waited for before another one may."""
PROBE_AGAIN_SECONDS: Final = 5
"""After an answer that says neither."""

CLAIM_PROBE = """
UPDATE provider_states SET probe_job_id = $2, probe_at = clock_timestamp() + make_interval(secs => $3)
WHERE provider = (
    SELECT provider FROM provider_states
    WHERE provider = $1 AND tripped_at IS NOT NULL AND probe_at <= clock_timestamp() FOR UPDATE SKIP LOCKED
)
RETURNING provider
"""
# The first refusal trips it; one of a send that was out by then says nothing new. Who tried makes
# the pause longer.
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


async def trip(
    conn: Connection, scope: str, job_id: JobId, code: FailureCode, status: int | None
) -> Tripped:
    """The provider refuses us: nothing more is sent there but one try now and then. As system."""
    done = await conn.fetchrow(
        TRIP, scope, job_id, code, status, float(FIRST_PAUSE_SECONDS), float(LONGEST_PAUSE_SECONDS)
    )
    seconds: float | None = await conn.fetchval(PAUSE_LEFT, scope)
    return Tripped(fresh=done is not None, seconds=seconds or 0.0)


async def close(conn: Connection, scope: str, job_id: JobId) -> bool:
    """The send that tried was accepted. False: this job's was not the one, or it was closed. As
    system.
    """
    return await conn.fetchval(CLOSE, scope, job_id) is not None


async def probe_said_neither(conn: Connection, scope: str, job_id: JobId) -> None:
    """The send that tried was not accepted, for a reason of its own: another one tries soon. As
    system.
    """
    await conn.execute(PROBE_SAID_NEITHER, scope, job_id, float(PROBE_AGAIN_SECONDS))


async def claim_probe(conn: Connection, scope: str, job_id: JobId) -> bool:
    """Be the one send that tries. False: another one is, or the pause is not over. As system."""
    return await conn.fetchval(CLAIM_PROBE, scope, job_id, float(PROBE_SECONDS)) is not None


async def try_no_more(conn: Connection, scope: str, job_id: JobId) -> None:
    """In the transaction of `take_room`: it passed to try, and is not sent after all."""
    async with among_all_users(conn):
        await conn.execute(PROBE_SAID_NEITHER, scope, job_id, 0.0)


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
    """provider: the scope. seconds: until one send may try."""

    provider: str
    code: str
    since: datetime
    seconds: float


async def list_tripped(conn: Connection, scopes: Collection[str]) -> list[OpenBreaker]:
    """Which of these refuse us now."""
    return [OpenBreaker(**dict(row)) for row in await conn.fetch(LIST_TRIPPED, list(scopes))]


async def admit(conn: Connection, scope: str) -> bool:
    """Whether one request may be accepted although the provider refuses us: somebody has to try. As
    system.
    """
    return await conn.fetchval(ADMIT, scope, float(PROBE_SECONDS)) is not None


async def admit_within(conn: Connection, scope: str) -> bool:
    """Like `admit`, in the transaction in which the request of a user is accepted."""
    async with among_all_users(conn):
        return await admit(conn, scope)
