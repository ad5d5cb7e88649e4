"""Row changes of a recovery, from what Temporal and the providers report. As system."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId, UserId
from core.domain.states import JobState
from core.store.database import Connection
from core.store.executions.executions import failure_to_json
from core.store.executions.limits.concurrency_counters import recount
from core.store.executions.limits.deadlines import RUN_LENGTH

SENDER: Final = "recover"
"""The sender of rows that a recovery restores; it sends nothing."""
LOCK_KEY: Final = 0x7A4B_0003

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
GET_LAST_SEND = "SELECT sent_at FROM sends WHERE sender <> $1 ORDER BY serial DESC LIMIT 1"


async def get_last_send(conn: Connection) -> datetime | None:
    """Return the time of the last send in the database; None: there is no send.

    A restored database sends nothing, so this time is before the restore point.
    """
    return await conn.fetchval(GET_LAST_SEND, SENDER)


UNMARKED_SERIALS: Final = 1000
"""More than the number of sends in one second, the interval at which the restore marker is written.
"""

RAISE_SERIALS = """
SELECT setval('send_serials', greatest(last_value, $1, (SELECT coalesce(max(serial), 1) FROM sends))) FROM send_serials
"""


async def raise_serials(conn: Connection, serial: int) -> None:
    """Set the next send number well above the restore marker and every row of the database."""
    await conn.execute(RAISE_SERIALS, serial + UNMARKED_SERIALS)


RENUMBER_LAST = """
UPDATE sends SET serial = nextval('send_serials')
WHERE serial = (SELECT max(serial) FROM sends) AND serial <= $1
"""


async def renumber_last(conn: Connection, serial: int) -> None:
    """Give the latest send a new serial above this one.

    A process that has seen this serial then accepts the recovered database as current.
    """
    await conn.execute(RENUMBER_LAST, serial)


INSERT_RECOVERED_SEND = """
INSERT INTO sends (job_id, number, user_id, request, inputs, sent_at, sent_until, outcome, provider_job_id, sender,
                   note, provider_key_id)
VALUES ($1, $2, $3, $4, $5, $6, greatest($6, coalesce($11, clock_timestamp())), $7, $8, $9,
        'made again by a recovery', $10)
ON CONFLICT DO NOTHING
"""


async def insert_recovered_send(
    conn: Connection,
    job_id: JobId,
    number: int,
    user_id: UserId,
    *,
    request: Mapping[str, Any],
    inputs: Mapping[str, Any],
    sent_from: datetime,
    sent_until: datetime | None,
    provider_job_id: ProviderJobId | None,
    provider_key_id: ProviderKeyId | None,
) -> None:
    """Restore the row of a send that the database has lost. Repeating is safe.

    sent_from, sent_until: when it can have been made; None: until now.
    """
    outcome = "found" if provider_job_id is not None else None
    arguments = (
        user_id,
        dict(request),
        dict(inputs),
        sent_from,
        outcome,
        provider_job_id,
        SENDER,
        provider_key_id,
        sent_until,
    )
    await conn.execute(INSERT_RECOVERED_SEND, job_id, number, *arguments)


ADVANCE_JOB = """
UPDATE jobs AS j
SET state = $2, send_number = $3, provider_job_id = coalesce($4, j.provider_job_id), failure = NULL,
    provider_key_id = CASE WHEN $2::text = 'waiting' THEN j.provider_key_id ELSE $6::text END,
    submitted_at = CASE WHEN $2::text = 'submitted' THEN $5::timestamptz END, updated_at = now(),
    next_look_at = CASE WHEN $2::text = 'submitted' THEN now() END,
    deadline_at = CASE WHEN $2::text = 'waiting' THEN NULL ELSE now() + make_interval(secs => s.deadline_seconds) END
FROM steps AS s
WHERE j.job_id = $1 AND j.state IN ('waiting', 'submitting', 'unknown') AND j.send_number <= $3
  AND s.execution_id = j.execution_id AND s.name = j.step_name
RETURNING j.job_id
"""


async def advance_job(
    conn: Connection,
    job_id: JobId,
    state: JobState,
    number: int,
    *,
    provider_job_id: ProviderJobId | None = None,
    submitted_at: datetime | None = None,
    provider_key_id: ProviderKeyId | None = None,
) -> bool:
    """Move a job to the state of its send with this number.

    Return False if the job has a later send, or has ended. provider_key_id: of this send; ignored
    for a waiting job.
    """
    arguments = (provider_job_id, submitted_at, provider_key_id)
    return await conn.fetchval(ADVANCE_JOB, job_id, state, number, *arguments) is not None


FAIL_RECOVERED_JOB = """
UPDATE jobs SET state = 'failed', send_number = greatest(send_number, $2), failure = $3, ended_at = now(),
    provider_key_id = coalesce($4, provider_key_id), updated_at = now()
WHERE job_id = $1 AND state IN ('waiting', 'submitting', 'unknown')
RETURNING job_id
"""


async def fail_recovered_job(
    conn: Connection,
    job_id: JobId,
    number: int,
    failure: Failure,
    provider_key_id: ProviderKeyId | None = None,
) -> bool:
    """End a failed job; the caller settles its money. False: the job has advanced or ended."""
    return (
        await conn.fetchval(
            FAIL_RECOVERED_JOB, job_id, number, failure_to_json(failure), provider_key_id
        )
        is not None
    )


FIND_COMPLETED_JOB = """
SELECT job_id FROM jobs WHERE execution_id = $1 AND step_name = $2 AND state = 'completed' AND NOT orphan
ORDER BY generation DESC, job_id DESC LIMIT 1
"""


async def find_completed_job(
    conn: Connection, execution_id: ExecutionId, step: str
) -> JobId | None:
    """Return the job that completed a step; None: the step has not completed."""
    return await conn.fetchval(FIND_COMPLETED_JOB, execution_id, step)


IS_KNOWN_KEY = "SELECT EXISTS (SELECT FROM provider_keys WHERE provider_key_id = $1)"
COULD_BE_KEYS = """
SELECT provider_key_id, created_at <= $3 AND replaced_at IS NULL AND deleted_at IS NULL AS always
FROM provider_keys
WHERE user_id = $1 AND provider = $2 AND coalesce(least(replaced_at, deleted_at), 'infinity') > $3
"""


class KeyNotCertainError(Exception):
    """More than one key may have been used for a send."""


async def get_key_since(
    conn: Connection, user_id: UserId, provider: str, at: datetime, at_start: ProviderKeyId | None
) -> ProviderKeyId | None:
    """Return the user's key for a send at this time or soon after; None: the service's key.

    at_start: the user's key when the workflow started. A key that was added later and that this
    database has lost is not found. Raises KeyNotCertainError.
    """
    if at_start is not None and not await conn.fetchval(IS_KNOWN_KEY, at_start):
        raise KeyNotCertainError(at_start)
    rows = await conn.fetch(COULD_BE_KEYS, user_id, provider, at)
    if len(rows) > 1 or any(not row["always"] for row in rows):
        raise KeyNotCertainError([row["provider_key_id"] for row in rows])
    return ProviderKeyId(rows[0]["provider_key_id"]) if rows else None


# Inserted as deleted and erased: its jobs refer to it, and it cannot be used.
INSERT_LOST_KEY = """
INSERT INTO provider_keys (provider_key_id, user_id, provider, version, hint, deleted_at, erased_at)
SELECT $1, $2, $3, coalesce(max(version), 0) + 1, '', now(), now()
FROM provider_keys WHERE user_id = $2 AND provider = $3
ON CONFLICT (provider_key_id) DO NOTHING
"""


async def insert_lost_key(
    conn: Connection, provider_key_id: ProviderKeyId, user_id: UserId, provider: str
) -> None:
    """Insert a row for a user's key that the database may have lost, without its value."""
    await conn.execute(INSERT_LOST_KEY, provider_key_id, user_id, provider)


REQUEUE_EXECUTION = f"""
UPDATE executions
SET status = 'queued', deadline_at = now() + {RUN_LENGTH}, queued_at = now(), waited = '0', waiting_since = NULL,
    started_at = NULL, updated_at = now(),
    cancel_requested_at = CASE WHEN $3::text IS NULL THEN cancel_requested_at
                               ELSE coalesce(cancel_requested_at, now()) END,
    cancel_reason = coalesce(cancel_reason, $3),
    delivered_generation = CASE WHEN $4 THEN generation ELSE delivered_generation END
WHERE execution_id = $1 AND generation = $2 AND status IN ('queued', 'running')
RETURNING user_id
"""  # noqa: S608 - a constant


async def requeue_execution(
    conn: Connection,
    execution_id: ExecutionId,
    generation: int,
    *,
    cancel_reason: str | None,
    delivered: bool = False,
) -> bool:
    """Queue the same generation again. cancel_reason: of a requested cancel.

    delivered: the receiver accepted its webhook, so that the end stores the event as delivered.
    False: it has ended, or was retried.
    """
    user_id: UserId | None = await conn.fetchval(
        REQUEUE_EXECUTION, execution_id, generation, cancel_reason, delivered
    )
    if user_id is None:
        return False
    await recount(conn, user_id)
    return True
