"""Deletion of what is older than its retention, in batches. As system.

What is open is never touched: a running execution, an open bill, an unknown outcome, a pending
webhook. Charges, ledger, send numbers and provider job ids stay.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Final

from core.store.database import Connection
from core.store.executions.deletion import erase_execution, find_output_use


class DataKind(StrEnum):
    """The kinds of data with a retention of their own."""

    EXECUTIONS = "executions"
    SENDS = "sends"
    CALLBACKS = "callbacks"
    WEBHOOKS = "webhooks"
    WEBHOOK_ATTEMPTS = "webhook_attempts"
    FILES = "files"
    UPLOADS = "uploads"


# $1: the retention. $2: the number of rows.
LIST_EXECUTIONS = """
SELECT e.execution_id, e.user_id FROM executions AS e
WHERE e.ended_at < now() - $1::interval AND e.deleted_at IS NULL
  AND NOT EXISTS (SELECT FROM charges AS c WHERE c.execution_id = e.execution_id AND c.state = 'held')
  AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.execution_id = e.execution_id
                  AND j.state IN ('waiting', 'submitting', 'unknown', 'submitted'))
  AND NOT EXISTS (SELECT FROM webhooks AS w WHERE w.execution_id = e.execution_id AND w.state = 'pending')
ORDER BY e.ended_at LIMIT $2
FOR NO KEY UPDATE OF e SKIP LOCKED
"""
# The inputs settle a bill, and the body finds the job of an unknown outcome.
ERASE_SENDS = """
WITH old AS (
    SELECT s.job_id, s.number FROM sends AS s
    JOIN jobs AS j ON j.job_id = s.job_id AND j.state IN ('completed', 'failed', 'cancelled')
    JOIN executions AS e ON e.execution_id = j.execution_id AND e.ended_at IS NOT NULL
    WHERE s.request <> '{}' AND s.sent_at < now() - $1::interval
      AND NOT EXISTS (SELECT FROM charges AS c WHERE c.execution_id = j.execution_id AND c.state = 'held')
    ORDER BY s.sent_at LIMIT $2
), erased AS (
    UPDATE sends AS s SET request = '{}', inputs = '{}', note = NULL
    FROM old WHERE s.job_id = old.job_id AND s.number = old.number RETURNING 1
)
SELECT count(*) FROM erased
"""
DELETE_CALLBACKS = """
WITH old AS (
    SELECT c.provider, c.delivery_id FROM callbacks AS c
    JOIN jobs AS j ON j.job_id = c.job_id AND j.state IN ('completed', 'failed', 'cancelled')
    WHERE c.received_at < now() - $1::interval ORDER BY c.received_at LIMIT $2
), deleted AS (
    DELETE FROM callbacks AS c USING old
    WHERE c.provider = old.provider AND c.delivery_id = old.delivery_id RETURNING 1
)
SELECT count(*) FROM deleted
"""
DELETE_ATTEMPTS = """
WITH old AS (
    SELECT a.event_id, a.delivery, a.number FROM webhook_attempts AS a
    JOIN webhooks AS w ON w.event_id = a.event_id AND w.state <> 'pending'
    WHERE a.started_at < now() - $1::interval ORDER BY a.started_at LIMIT $2
), deleted AS (
    DELETE FROM webhook_attempts AS a USING old
    WHERE (a.event_id, a.delivery, a.number) = (old.event_id, old.delivery, old.number) RETURNING 1
)
SELECT count(*) FROM deleted
"""
# The events of an account stay: its budget alerts refer to them, and they have no user's texts.
LIST_WEBHOOKS = """
SELECT event_id FROM webhooks
WHERE ended_at < now() - $1::interval AND execution_id IS NOT NULL AND state <> 'pending'
ORDER BY ended_at LIMIT $2
FOR UPDATE SKIP LOCKED
"""
DELETE_ATTEMPTS_OF = "DELETE FROM webhook_attempts WHERE event_id = ANY($1::text[])"
DELETE_WEBHOOKS = "DELETE FROM webhooks WHERE event_id = ANY($1::text[])"
_USED = """used AS MATERIALIZED (
    SELECT DISTINCT jsonb_path_query(s.parameters, '$.*.asset') #>> '{}' AS asset_id
    FROM executions AS e JOIN steps AS s ON s.execution_id = e.execution_id WHERE e.status IN ('queued', 'running')
)"""
LOCK_FILES = f"""
WITH {_USED}
SELECT a.asset_id FROM assets AS a
JOIN executions AS e ON e.execution_id = a.execution_id AND e.ended_at < now() - $1::interval
WHERE a.created_at < now() - $1::interval AND a.asset_id NOT IN (SELECT asset_id FROM used)
ORDER BY a.created_at LIMIT $2 FOR UPDATE OF a SKIP LOCKED
"""  # noqa: S608 - constants
LOCK_UPLOADS = f"""
WITH {_USED}
SELECT asset_id FROM assets
WHERE job_id IS NULL AND created_at < now() - $1::interval AND asset_id NOT IN (SELECT asset_id FROM used)
ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants
# Under the locks, with a new snapshot: an order that has just begun to use an asset has committed.
DELETE_ASSETS = f"""
WITH {_USED}, deleted AS (
    DELETE FROM assets WHERE asset_id = ANY($1::text[]) AND asset_id NOT IN (SELECT asset_id FROM used)
    RETURNING object_key, user_id, execution_id
), queued AS (
    INSERT INTO file_deletions (object_key, user_id, execution_id)
    SELECT object_key, user_id, execution_id FROM deleted ON CONFLICT DO NOTHING
)
SELECT count(*) FROM deleted
"""  # noqa: S608 - constants
LOCKED: Final = {DataKind.FILES: LOCK_FILES, DataKind.UPLOADS: LOCK_UPLOADS}
COUNTED: Final = {
    DataKind.SENDS: ERASE_SENDS,
    DataKind.CALLBACKS: DELETE_CALLBACKS,
    DataKind.WEBHOOK_ATTEMPTS: DELETE_ATTEMPTS,
}


async def delete_expired(conn: Connection, kind: DataKind, *, days: int, limit: int) -> int:
    """Delete up to `limit` items of a kind that are older than `days`; return their number."""
    age = timedelta(days=days)
    if kind is DataKind.EXECUTIONS:
        rows = await conn.fetch(LIST_EXECUTIONS, age, limit)
        for row in rows:
            if await find_output_use(conn, row["user_id"], row["execution_id"]) is None:
                await erase_execution(conn, row["user_id"], row["execution_id"])
        return len(rows)
    if kind is DataKind.WEBHOOKS:
        events = [row["event_id"] for row in await conn.fetch(LIST_WEBHOOKS, age, limit)]
        await conn.execute(DELETE_ATTEMPTS_OF, events)
        await conn.execute(DELETE_WEBHOOKS, events)
        return len(events)
    if kind in LOCKED:
        assets = [row["asset_id"] for row in await conn.fetch(LOCKED[kind], age, limit)]
        return await conn.fetchval(DELETE_ASSETS, assets) if assets else 0
    return await conn.fetchval(COUNTED[kind], age, limit)
