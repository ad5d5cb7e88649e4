"""Circuit breakers: a provider that refuses a key receives only single probes.

A long pause after a 429 is probed in the same way (`capacity.pause_scope`). Each key has its own
breaker: `provider` in the rows is a scope (`core.domain.messages.jobs.key_scope`).

Nothing here is part of a purchase: a deferred job was certainly not sent and tries again.
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
"""An open breaker allows a probe after the first pause; each refused probe doubles the pause."""
PROBE_SECONDS: Final = 60
"""How long a probe may be out before another probe is allowed."""
PROBE_AGAIN_SECONDS: Final = 5
"""The pause after a probe whose answer neither accepts nor refuses the key."""

CLAIM_PROBE = """
UPDATE provider_states SET probe_job_id = $2, probe_at = clock_timestamp() + make_interval(secs => $3)
WHERE provider = (
    SELECT provider FROM provider_states
    WHERE provider = $1 AND (tripped_at IS NOT NULL OR quiet_until > clock_timestamp())
      AND probe_at <= clock_timestamp() FOR UPDATE SKIP LOCKED
)
RETURNING provider
"""
# The first refusal trips the breaker; a refused probe lengthens the pause. Refusals of sends that
# were already out change nothing.
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
WITH before AS (
    SELECT provider, tripped_at FROM provider_states WHERE provider = $1 AND probe_job_id = $2 FOR UPDATE
)
UPDATE provider_states AS s
SET tripped_at = NULL, tripped_code = NULL, tripped_status = NULL, trips = 0, probe_at = NULL, probe_job_id = NULL,
    admitted_at = NULL, quiet_until = NULL
FROM before WHERE s.provider = before.provider
RETURNING before.tripped_at IS NOT NULL
"""
RELEASE_PROBE = """
UPDATE provider_states SET probe_job_id = NULL, probe_at = clock_timestamp() + make_interval(secs => $3)
WHERE provider = $1 AND probe_job_id = $2
"""
PAUSE_LEFT = """
SELECT greatest(extract(epoch FROM probe_at - clock_timestamp()), 0)::float8 FROM provider_states
WHERE provider = $1 AND tripped_at IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """An open breaker. fresh: this answer tripped it. seconds: until the next probe."""

    fresh: bool
    seconds: float


async def trip(
    conn: Connection, scope: str, job_id: JobId, code: FailureCode, status: int | None
) -> Tripped:
    """Open the breaker of a key, or lengthen its pause. Call it as system."""
    done = await conn.fetchrow(
        TRIP, scope, job_id, code, status, float(FIRST_PAUSE_SECONDS), float(LONGEST_PAUSE_SECONDS)
    )
    seconds: float | None = await conn.fetchval(PAUSE_LEFT, scope)
    return Tripped(fresh=done is not None, seconds=seconds or 0.0)


async def close(conn: Connection, scope: str, job_id: JobId) -> bool | None:
    """Close the breaker and end any pause after an accepted probe.

    Return whether the breaker was open; None if this job was not the probe. Call it as system.
    """
    return await conn.fetchval(CLOSE, scope, job_id)


async def release_probe(conn: Connection, scope: str, job_id: JobId) -> None:
    """Allow another probe soon: this one failed for a reason of its own. Call it as system."""
    await conn.execute(RELEASE_PROBE, scope, job_id, float(PROBE_AGAIN_SECONDS))


async def claim_probe(conn: Connection, scope: str, job_id: JobId) -> bool:
    """Claim the probe. Return False during the pause, or while another probe is out.

    Call it as system.
    """
    return await conn.fetchval(CLAIM_PROBE, scope, job_id, float(PROBE_SECONDS)) is not None


async def withdraw_probe(conn: Connection, scope: str, job_id: JobId) -> None:
    """Return a claimed probe in the transaction of `take_slot`, because nothing is sent."""
    async with among_all_users(conn):
        await conn.execute(RELEASE_PROBE, scope, job_id, 0.0)


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
    """An open breaker. provider: the scope. seconds: until the next probe."""

    provider: str
    code: str
    since: datetime
    seconds: float


async def list_tripped(conn: Connection, scopes: Collection[str]) -> list[OpenBreaker]:
    """List the open breakers among these scopes."""
    return [OpenBreaker(**dict(row)) for row in await conn.fetch(LIST_TRIPPED, list(scopes))]


async def admit(conn: Connection, scope: str) -> bool:
    """Return whether a request may be accepted as the next probe. Call it as system."""
    return await conn.fetchval(ADMIT, scope, float(PROBE_SECONDS)) is not None


async def admit_within(conn: Connection, scope: str) -> bool:
    """Return the result of `admit`, within the transaction that accepts a user's request."""
    async with among_all_users(conn):
        return await admit(conn, scope)
