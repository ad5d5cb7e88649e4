"""Deletion of an execution: what users gave and got is erased, the money stays.

Row and ids stay, because charges and ledger refer to them, and the provider's id of a job, because
it proves that the job was bought. Files are queued here and deleted by the reconciler.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.domain.ids import ExecutionId, UserId
from core.domain.states import ExecutionStatus
from core.store.database import Connection

LOCK_EXECUTION = """
SELECT status, deleted_at IS NOT NULL AS deleted FROM executions
WHERE execution_id = $1 AND user_id = $2 FOR NO KEY UPDATE
"""
# A bill is settled by the send's inputs, and an unknown outcome is looked up by its body.
GET_UNFINISHED = """
SELECT EXISTS (SELECT FROM charges WHERE execution_id = $1 AND state = 'held')
           OR EXISTS (SELECT FROM jobs WHERE execution_id = $1
                      AND state IN ('waiting', 'submitting', 'unknown', 'submitted')) AS bill,
       EXISTS (SELECT FROM webhooks WHERE execution_id = $1 AND state = 'pending') AS webhook
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletableExecution:
    """An execution, its row locked. open_bill, pending_webhook: what still needs its data."""

    status: ExecutionStatus
    deleted: bool
    open_bill: bool
    pending_webhook: bool


async def lock_deletable(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> DeletableExecution | None:
    """Return the execution, locked until COMMIT. None: it is unknown or another user's."""
    row = await conn.fetchrow(LOCK_EXECUTION, execution_id, user_id)
    if row is None:
        return None
    (unfinished,) = await conn.fetch(GET_UNFINISHED, execution_id)
    return DeletableExecution(
        status=ExecutionStatus(row["status"]),
        deleted=row["deleted"],
        open_bill=unfinished["bill"],
        pending_webhook=unfinished["webhook"],
    )


LOCK_OUTPUTS = "SELECT asset_id FROM assets WHERE execution_id = $1 FOR UPDATE"
FIND_OUTPUT_USE = """
SELECT e.execution_id FROM executions AS e JOIN steps AS s ON s.execution_id = e.execution_id
WHERE e.user_id = $1 AND e.status IN ('queued', 'running')
  AND EXISTS (SELECT FROM jsonb_path_query(s.parameters, '$.*.asset') AS used (asset)
              WHERE used.asset #>> '{}' = ANY($2::text[]))
LIMIT 1
"""


async def find_output_use(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> ExecutionId | None:
    """Return an open execution that uses an output of this one. No order begins to until COMMIT."""
    outputs = [row["asset_id"] for row in await conn.fetch(LOCK_OUTPUTS, execution_id)]
    return await conn.fetchval(FIND_OUTPUT_USE, user_id, outputs) if outputs else None


QUEUE_FILES = """
WITH removed AS (
    DELETE FROM assets WHERE execution_id = $1 RETURNING object_key, user_id, execution_id, size_bytes
), queued AS (
    INSERT INTO file_deletions (object_key, user_id, execution_id)
    SELECT object_key, user_id, execution_id FROM removed ON CONFLICT DO NOTHING
)
SELECT count(*) AS files, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM removed
"""
ERASE_EXECUTION = """
UPDATE executions
SET plan = '{}', request = '{}', metadata = '{}', result = NULL, webhook_url = NULL, cancel_reason = NULL,
    error = CASE WHEN error IS NOT NULL THEN jsonb_build_object('code', error ->> 'code', 'message', '') END,
    deleted_at = now(), updated_at = now()
WHERE execution_id = $1
"""
ERASE_STEPS = "UPDATE steps SET parameters = '{}' WHERE execution_id = $1"
ERASE_JOBS = """
UPDATE jobs SET report = NULL, provider_urls = '{}', failure = NULL, warnings = NULL, content_key = NULL
WHERE execution_id = $1
"""
ERASE_SENDS = """
UPDATE sends SET request = '{}', inputs = '{}', note = NULL
WHERE job_id IN (SELECT job_id FROM jobs WHERE execution_id = $1)
"""
DELETE_CONTENT_KEYS = """
DELETE FROM content_keys WHERE job_id IN (SELECT job_id FROM jobs WHERE execution_id = $1)
"""
DELETE_UNKEYED = "DELETE FROM unkeyed_orders WHERE execution_id = $1"
DELETE_SECRETS = "DELETE FROM secrets WHERE owner_id = $1"
DELETE_EVENTS = "DELETE FROM execution_events WHERE execution_id = $1"
DELETE_EVENT_COUNTER = "DELETE FROM event_counters WHERE execution_id = $1"
DELETE_TICKETS = "DELETE FROM stream_tickets WHERE execution_id = $1"
DELETE_ATTEMPTS = """
DELETE FROM webhook_attempts WHERE event_id IN (SELECT event_id FROM webhooks WHERE execution_id = $1)
"""
DELETE_WEBHOOKS = """
WITH removed AS (DELETE FROM webhooks WHERE execution_id = $1 RETURNING event_id) SELECT count(*) FROM removed
"""
INSERT_RECEIPT = """
INSERT INTO execution_deletions (execution_id, user_id, files, bytes, webhooks) VALUES ($1, $2, $3, $4, $5)
"""
ERASURES: Final = (
    ERASE_EXECUTION,
    ERASE_STEPS,
    ERASE_JOBS,
    ERASE_SENDS,
    DELETE_CONTENT_KEYS,
    DELETE_SECRETS,
    DELETE_UNKEYED,
    DELETE_EVENTS,
    DELETE_EVENT_COUNTER,
    DELETE_TICKETS,
)


async def erase_execution(conn: Connection, user_id: UserId, execution_id: ExecutionId) -> None:
    """Erase an execution that the caller has locked and found deletable, and write its receipt."""
    for statement in ERASURES:
        await conn.execute(statement, execution_id)
    (files,) = await conn.fetch(QUEUE_FILES, execution_id)
    await conn.execute(DELETE_ATTEMPTS, execution_id)
    webhooks = await conn.fetchval(DELETE_WEBHOOKS, execution_id)
    await conn.execute(
        INSERT_RECEIPT, execution_id, user_id, files["files"], files["bytes"], webhooks
    )


GET_RECEIPT = """
SELECT d.execution_id, d.deleted_at, d.files, d.bytes, d.webhooks,
       (SELECT count(*) FROM file_deletions AS f WHERE f.execution_id = d.execution_id) AS files_pending
FROM execution_deletions AS d WHERE d.execution_id = $1 AND d.user_id = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionReceipt:
    """What was deleted. files_pending: files that object storage still has."""

    execution_id: ExecutionId
    deleted_at: datetime
    files: int
    bytes: int
    webhooks: int
    files_pending: int


async def get_receipt(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> DeletionReceipt:
    """Return the receipt. Raises LookupError if the execution was not deleted."""
    row = await conn.fetchrow(GET_RECEIPT, execution_id, user_id)
    if row is None:
        raise LookupError(f"{execution_id} was not deleted")
    return DeletionReceipt(**dict(row))
