"""The deadline of a running execution, which stands still while a job waits for a provider's slot.

While it stands still, only the queue limit ends the execution, and never before its deadline.
"""

from typing import Final

from core.domain.ids import ExecutionId
from core.store.database import Connection

RUN_LENGTH: Final = "(deadline_at - coalesce(started_at, queued_at) - waited)"
"""SQL over a row of executions: how long the run may take, whatever it has waited."""

STOP = """
UPDATE executions SET waiting_since = now()
WHERE execution_id = $1 AND generation = $2 AND status = 'running' AND waiting_since IS NULL
"""
CONTINUE = """
UPDATE executions
SET deadline_at = deadline_at + (now() - waiting_since), waited = waited + (now() - waiting_since),
    waiting_since = NULL
WHERE execution_id = $1 AND generation = $2 AND status = 'running' AND waiting_since IS NOT NULL
"""


async def stop_deadline(conn: Connection, execution_id: ExecutionId, generation: int) -> None:
    """Let the deadline stand still from now on. Repeating is safe."""
    await conn.execute(STOP, execution_id, generation)


async def continue_deadline(conn: Connection, execution_id: ExecutionId, generation: int) -> None:
    """Move the deadline by the time that it stood still. Repeating is safe."""
    await conn.execute(CONTINUE, execution_id, generation)
