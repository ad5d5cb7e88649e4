"""The end of an execution: its open row, its final state, and what its caller does afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.domain.ids import AssetId, EventId, ExecutionId, UserId
from core.domain.messages.executions import ExecutionRef
from core.domain.money import NanoUsd
from core.domain.plans import StepOutput, outputs_from_json
from core.domain.states import ExecutionStatus, Surface
from core.store.database import Connection
from core.store.executions.limits.concurrency_counters import release_slots

LOCK_OPEN_EXECUTION = """
SELECT execution_id, user_id, type, generation, estimated_nano_usd, webhook_url, metadata, surface,
       coalesce(delivered_generation = generation, false) AS delivered, coalesce(plan -> 'outputs', '{}') AS outputs
FROM executions
WHERE execution_id = $1 AND generation = $2 AND status IN ('queued', 'running')
FOR NO KEY UPDATE
"""

END_EXECUTION = """
UPDATE executions AS e
SET status = $2, progress = $3, result = $4, error = $5, ended_at = now(), updated_at = now(),
    paused_at = NULL
FROM executions AS before
WHERE e.execution_id = $1 AND e.status IN ('queued', 'running') AND before.execution_id = e.execution_id
RETURNING e.user_id, CASE WHEN before.status = 'running' AND before.paused_at IS NULL
                          THEN extract(epoch FROM e.ended_at - before.started_at - before.paused)::float8
                     END AS run_seconds,
          before.status = 'running' AND before.paused_at IS NOT NULL AS is_paused
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenExecution:
    """An execution that has not ended, its row locked.

    delivered: its receiver accepted the webhook before the database was restored from a backup.
    outputs: the named results of its plan. surface: where it was ordered.
    """

    execution_id: ExecutionId
    user_id: UserId
    type: str
    generation: int
    estimated_nano_usd: NanoUsd
    webhook_url: str | None
    metadata: Mapping[str, object]
    delivered: bool
    outputs: Mapping[str, StepOutput]
    surface: Surface | None = None


async def lock_open_execution(conn: Connection, ref: ExecutionRef) -> OpenExecution | None:
    """Return the execution, locked until COMMIT; None if this generation has ended."""
    row = await conn.fetchrow(LOCK_OPEN_EXECUTION, ref.execution_id, ref.generation)
    if row is None:
        return None
    plain: dict[str, Any] = dict(row)
    plain["outputs"] = outputs_from_json(row["outputs"])
    plain["surface"] = Surface(row["surface"]) if row["surface"] is not None else None
    return OpenExecution(**plain)


async def mark_ended(
    conn: Connection,
    execution_id: ExecutionId,
    status: ExecutionStatus,
    *,
    progress: int,
    result: Mapping[str, object] | None,
    error: Mapping[str, object] | None,
) -> None:
    """End an execution that the caller has locked (lock_open_execution), and release its slot."""
    before = await conn.fetchrow(END_EXECUTION, execution_id, status, progress, result, error)
    if before is None:
        raise ValueError(f"{execution_id} has ended before")
    await release_slots(
        conn,
        before["user_id"],
        run_seconds=before["run_seconds"],
        is_paused=before["is_paused"],
    )


FIND_ENDED = """
SELECT e.status, e.type, e.created_at, e.ended_at, e.error ->> 'code' AS error_code, w.event_id AS pending_event_id,
       (SELECT a ->> 'id' FROM jsonb_array_elements(e.result -> 'assets') AS a
        WHERE a ->> 'url' = e.result ->> 'url' AND a ->> 'kind' = 'video' AND e.result ->> 'posterUrl' IS NULL
        LIMIT 1) AS poster_of
FROM executions AS e
LEFT JOIN webhooks AS w
    ON w.execution_id = e.execution_id AND w.generation = e.generation AND w.state = 'pending'
    AND w.type <> 'execution.waiting_for_approval'
WHERE e.execution_id = $1 AND e.generation = $2 AND e.status IN ('completed', 'failed', 'cancelled')
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedExecution:
    """The end of a generation. pending_event_id: its webhook, while it is not delivered.

    poster_of: the first file of its result, if that is a video without a poster.
    """

    status: ExecutionStatus
    type: str
    created_at: datetime
    ended_at: datetime
    error_code: str | None
    pending_event_id: EventId | None
    poster_of: AssetId | None = None


async def find_ended(conn: Connection, ref: ExecutionRef) -> EndedExecution | None:
    """Return the end of a generation; None if it has not ended, or is not the latest."""
    row = await conn.fetchrow(FIND_ENDED, ref.execution_id, ref.generation)
    if row is None:
        return None
    return EndedExecution(
        status=ExecutionStatus(row["status"]),
        type=row["type"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        error_code=row["error_code"],
        pending_event_id=row["pending_event_id"],
        poster_of=row["poster_of"],
    )


SET_POSTER = """
UPDATE executions SET result = jsonb_set(result, '{posterUrl}', to_jsonb($2::text)), updated_at = now()
WHERE execution_id = $1 AND status = 'completed' AND result ? 'posterUrl' AND deleted_at IS NULL
"""


async def set_poster(conn: Connection, execution_id: ExecutionId, url: str) -> None:
    """Add the address of the poster to the result of a completed execution. Repeating is safe."""
    await conn.execute(SET_POSTER, execution_id, url)
