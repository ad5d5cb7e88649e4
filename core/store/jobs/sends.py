"""Sends of jobs: the rows by which a job is bought at most once.

Every change names the state it expects and the send it concerns. Changing no row is a valid result:
another process was faster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.domain.failures import Failure
from core.domain.ids import JobId, ProviderJobId, ProviderKeyId
from core.domain.look_times import (
    EARLY_SECONDS,
    LATE_SECONDS,
    LATE_SHARE,
    LEAST_SHARE,
    MIN_POLL_SECONDS,
    MOST_SHARE,
    SLOW_MARGIN,
)
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.platform.clock import ClockOffset, boot_seconds
from core.store.database import Connection
from core.store.executions.executions import failure_to_json
from core.store.executions.limits.deadlines import continue_deadline
from core.store.jobs.jobs import LockedJob, lock_job, locked_job
from core.store.jobs.submit_pauses import LOCK_KEY

# The pauses are locked after the rows, so that a pause never waits for what this waits for.
LOCK_EXECUTION = f"""
WITH locked AS (
    SELECT e.waiting_since IS NOT NULL AS stopped
    FROM executions AS e JOIN jobs AS j ON j.execution_id = e.execution_id
    WHERE e.execution_id = $1 AND e.generation = $2 AND e.status = 'running' AND e.cancel_requested_at IS NULL
      AND j.job_id = $3
    FOR NO KEY UPDATE OF e, j
)
SELECT stopped, pg_advisory_xact_lock_shared({LOCK_KEY}) FROM locked
"""  # noqa: S608 - constants

# Waits for no lock, so nothing that it reads is older than this statement.
BEGIN_SEND = """
WITH begun AS (
    UPDATE jobs AS j
    SET state = 'submitting', send_number = $2, provider_key_id = $7, failure = NULL, updated_at = now(),
        deadline_at = coalesce(j.deadline_at, least(e.deadline_at, now() + make_interval(secs => s.deadline_seconds))),
        calls_back = $8, next_look_at = NULL, failed_looks = 0
    FROM executions AS e, steps AS s
    WHERE j.job_id = $1 AND j.state = 'waiting' AND j.send_number = $2 - 1
      AND e.execution_id = j.execution_id AND s.execution_id = j.execution_id AND s.name = j.step_name
      AND NOT EXISTS (
          SELECT FROM submit_pauses
          WHERE scope IN ('all', 'database', 'provider/' || j.provider, 'model/' || j.model, 'user/' || j.user_id)
      )
    RETURNING j.job_id, j.send_number
)
INSERT INTO sends (job_id, number, user_id, request, inputs, sender, provider_key_id)
SELECT job_id, send_number, $3, $4, $5, $6, $7 FROM begun
RETURNING serial
"""


async def begin_send(
    conn: Connection,
    ref: JobRef,
    number: int,
    request: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    sender: str = "",
    provider_key_id: ProviderKeyId | None = None,
    calls_back: bool = False,
) -> int | None:
    """Record the intent to send; commit it before the first byte of the request leaves.

    Return the send's serial number, which is unique in the whole database. Return None if the job
    is cancelled, paused, of another generation, or another send of it is open.
    sender: identifies the call that sends, so that it recognizes its own send after a COMMIT
    without an answer. provider_key_id: the user's own key; all later requests about this send use
    the same key. calls_back: the request asks for a callback.

    The execution's row is locked: a concurrent cancel is either visible here or waits until the
    intent is committed. So does a pause. The execution's deadline runs again.
    """
    stopped = await conn.fetchval(LOCK_EXECUTION, ref.execution_id, ref.generation, ref.job_id)
    if stopped is None:
        return None
    if stopped:
        await continue_deadline(conn, ref.execution_id, ref.generation)
    arguments = (ref.user_id, dict(request), dict(inputs), sender, provider_key_id, calls_back)
    return await conn.fetchval(BEGIN_SEND, ref.job_id, number, *arguments)


COUNT_IN_FLIGHT = """
SELECT count(*) FROM jobs AS j JOIN sends AS s ON s.job_id = j.job_id AND s.number = j.send_number
WHERE j.state = 'submitting' AND s.sent_at > now() - make_interval(secs => $1)
"""


async def count_in_flight(conn: Connection, seconds: float) -> int:
    """Return the number of sends without a result that began this recently. As system."""
    return await conn.fetchval(COUNT_IN_FLIGHT, seconds)


WITHDRAW_SEND = """
UPDATE jobs AS j SET state = 'waiting', deadline_at = NULL, updated_at = now()
FROM sends AS s
WHERE j.job_id = $1 AND j.state IN ('submitting', 'unknown')
  AND s.job_id = j.job_id AND s.number = j.send_number AND s.sender = $2
RETURNING j.send_number
"""


async def withdraw_send(conn: Connection, job_id: JobId, sender: str) -> int | None:
    """Withdraw the caller's own intent after which certainly no byte has left.

    Return the number of the send, or None if the intent was not committed or is not the current
    send. Wait for an intent that is being committed.
    """
    await lock_job(conn, job_id)
    return await conn.fetchval(WITHDRAW_SEND, job_id, sender)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRecord:
    """A request to a provider. price: as it was quoted and stored (see `price_from_json`).

    sent_from, sent_until: the earliest and the latest possible time of the send.
    """

    number: int
    request: Mapping[str, Any]
    inputs: Mapping[str, Any]
    price: Mapping[str, Any]
    sent_from: datetime
    sent_until: datetime
    age_seconds: float


GET_SEND = """
SELECT s.number, s.request, s.inputs, c.price, s.sent_at AS sent_from,
       coalesce(s.sent_until, s.sent_at) AS sent_until,
       extract(epoch FROM now() - coalesce(s.sent_until, s.sent_at))::float8 AS age_seconds
FROM sends AS s JOIN charges AS c ON c.job_id = s.job_id WHERE s.job_id = $1 AND s.number = $2
"""


async def get_send(conn: Connection, job_id: JobId, number: int) -> SendRecord:
    """Return a send. Raises LookupError if it does not exist or belongs to another user."""
    row = await conn.fetchrow(GET_SEND, job_id, number)
    if row is None:
        raise LookupError(f"job {job_id} has no send {number}")
    return SendRecord(**dict(row))


async def read_clock(conn: Connection) -> ClockOffset:
    """Return the database's clock, by which sends are dated."""
    before = boot_seconds()
    at: datetime = await conn.fetchval("SELECT clock_timestamp()")
    return ClockOffset.measured(at, before=before, after=boot_seconds())


# Also in state waiting: a send that appeared to be absent may have been accepted after all. Not
# with an id that another job has: the send failed, and its id moved to an orphan.
ACCEPT_SEND = """
UPDATE jobs AS j
SET state = 'submitted', provider_job_id = $3, provider_urls = $4, failure = NULL, submitted_at = now(),
    updated_at = now(),
    deadline_at = coalesce(j.deadline_at, least(e.deadline_at, now() + make_interval(secs => s.deadline_seconds))),
    next_look_at = now() + make_interval(secs => CASE
        WHEN j.calls_back THEN $6::float8 + coalesce(
            (SELECT least(s.usual_seconds * $11::float8,
                          greatest(s.usual_seconds * $10::float8, d.slow_seconds * $9::float8))
             FROM model_durations AS d WHERE d.provider = j.provider AND d.model = j.model),
            s.usual_seconds * $5::float8)
        ELSE greatest($7::float8, least($8::float8, s.usual_seconds / 2.0)) END)
FROM executions AS e, steps AS s
WHERE j.job_id = $1 AND j.send_number = $2 AND j.state IN ('submitting', 'unknown', 'waiting')
  AND e.execution_id = j.execution_id AND s.execution_id = j.execution_id AND s.name = j.step_name
  AND NOT EXISTS (
      SELECT FROM jobs AS o WHERE o.provider = j.provider AND o.provider_job_id = $3 AND o.job_id <> j.job_id
  )
RETURNING j.job_id
"""
ADD_URLS = """
UPDATE jobs SET provider_urls = $3, updated_at = now()
WHERE job_id = $1 AND provider_job_id = $2 AND provider_urls = '{}'
"""
OWNS_PROVIDER_JOB = "SELECT job_id = $1 FROM jobs WHERE provider = $2 AND provider_job_id = $3"


async def mark_submitted(
    conn: Connection, job_id: JobId, number: int, handle: ProviderHandle
) -> bool:
    """Store the provider's job id for the current send, and schedule the first look at the job.

    Return True also if the id is already stored, for example by a callback. Return False for a late
    write: the send is not the current one, or the job has ended.
    """
    looks = (LATE_SHARE, LATE_SECONDS, MIN_POLL_SECONDS, EARLY_SECONDS)
    measured = (SLOW_MARGIN, LEAST_SHARE, MOST_SHARE)
    arguments = (handle.provider_job_id, dict(handle.urls), *looks, *measured)
    if await conn.fetchval(ACCEPT_SEND, job_id, number, *arguments) is not None:
        return True
    await conn.execute(ADD_URLS, job_id, handle.provider_job_id, dict(handle.urls))
    return bool(
        await conn.fetchval(OWNS_PROVIDER_JOB, job_id, handle.provider, handle.provider_job_id)
    )


HAS_IDENTICAL_OPEN_SEND = """
SELECT EXISTS (
    SELECT FROM sends AS mine
    JOIN jobs AS other ON other.model = (SELECT model FROM jobs WHERE job_id = $1)
        AND other.job_id <> $1 AND other.state IN ('submitting', 'unknown')
    JOIN sends AS theirs ON theirs.job_id = other.job_id AND theirs.number = other.send_number
    WHERE mine.job_id = $1 AND mine.number = $2 AND jsonb_strip_nulls(theirs.inputs) = jsonb_strip_nulls(mine.inputs)
)
"""


async def has_identical_open_send(conn: Connection, job_id: JobId, number: int) -> bool:
    """Return whether another send with an unknown result has the same inputs.

    A match in the provider's list could then belong to either. Keys are ignored, because two keys
    may belong to one account. Call it as system.
    """
    return bool(await conn.fetchval(HAS_IDENTICAL_OPEN_SEND, job_id, number))


HAS_LATER_SEND = """
SELECT EXISTS (
    SELECT FROM jobs AS other
    JOIN sends AS later ON later.job_id = other.job_id AND later.number = other.send_number
    JOIN sends AS mine ON mine.job_id = $1 AND mine.number = $2
    WHERE other.provider = $3 AND other.provider_job_id = ANY($4::text[])
      AND later.serial > mine.serial AND later.sent_at > coalesce(mine.sent_until, mine.sent_at)
)
"""


async def has_later_send(
    conn: Connection, job_id: JobId, number: int, provider: str, listed: Sequence[ProviderJobId]
) -> bool:
    """Return whether one of these listed jobs was sent after this send. Call it as system."""
    return bool(await conn.fetchval(HAS_LATER_SEND, job_id, number, provider, list(listed)))


MARK_UNKNOWN = """
UPDATE jobs SET state = 'unknown', updated_at = now()
WHERE job_id = $1 AND send_number = $2 AND state = 'submitting'
RETURNING job_id
"""
MARK_WAITING = """
UPDATE jobs SET state = 'waiting', deadline_at = NULL, failure = $3, updated_at = now()
WHERE job_id = $1 AND send_number = $2 AND state IN ('submitting', 'unknown')
RETURNING job_id
"""
# Every writer locks the job first and its send second.
ANSWER_SEND = """
WITH job AS (
    SELECT job_id, state, send_number, provider_key_id FROM jobs WHERE job_id = $1 FOR UPDATE
), answered AS (
    UPDATE sends AS s
    SET answered_at = clock_timestamp(), outcome = $3, status_code = $4, note = $5, provider_job_id = $6
    FROM job WHERE s.job_id = job.job_id AND s.number = $2
)
SELECT state, send_number, provider_key_id FROM job
"""


async def mark_unknown(conn: Connection, job_id: JobId, number: int) -> bool:
    """Record that the result of this send is unknown: it is looked up, never sent again."""
    return await conn.fetchval(MARK_UNKNOWN, job_id, number) is not None


async def mark_waiting(
    conn: Connection, job_id: JobId, number: int, failure: Failure | None = None
) -> bool:
    """Record that this send was certainly not accepted, so the job may be sent again.

    failure: the provider's reason, if it gave one.
    """
    return await conn.fetchval(MARK_WAITING, job_id, number, failure_to_json(failure)) is not None


async def mark_send_answered(
    conn: Connection,
    job_id: JobId,
    number: int,
    outcome: str,
    *,
    status_code: int | None = None,
    note: str = "",
    provider_job_id: str | None = None,
) -> LockedJob | None:
    """Store the outcome of a send. Return its job as it was found, locked until COMMIT.

    None: the job does not exist or belongs to another user.
    """
    arguments = (outcome, status_code, note, provider_job_id)
    row = await conn.fetchrow(ANSWER_SEND, job_id, number, *arguments)
    return locked_job(row) if row is not None else None
