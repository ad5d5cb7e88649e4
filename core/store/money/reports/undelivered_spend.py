"""Spending on executions that delivered nothing to their user. Read by the reconciler as system."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from core.domain.money import NanoUsd
from core.store.database import Connection
from core.store.operator import row_json


class UndeliveredOutcome(StrEnum):
    """Why nothing was delivered.

    FAILED, CANCELLED: the execution ended without a result, and no retry has completed.
    WEBHOOK_FAILED, WEBHOOK_PENDING: the execution completed, but its webhook failed finally, or is
    pending for more than ten minutes.
    """

    FAILED = "failed"
    CANCELLED = "cancelled"
    WEBHOOK_FAILED = "webhook_failed"
    WEBHOOK_PENDING = "webhook_pending"


# A webhook belongs to one generation; for a retried execution only the latest generation counts.
ENDED = """
ended AS (
    SELECT execution_id, status AS outcome, ended_at FROM executions
    WHERE status IN ('failed', 'cancelled') AND ended_at > now() - make_interval(secs => $1)
    UNION ALL
    SELECT e.execution_id, 'webhook_' || w.state, e.ended_at
    FROM webhooks AS w
    JOIN executions AS e ON e.execution_id = w.execution_id AND e.generation = w.generation
    WHERE w.state <> 'delivered' AND w.created_at > now() - make_interval(secs => $1) AND e.status = 'completed'
      AND w.type <> 'execution.waiting_for_approval'
      AND (w.state = 'failed' OR w.created_at < now() - make_interval(secs => $2))
), undelivered AS (
    SELECT ended.*, spent.nano_usd
    FROM ended
    JOIN LATERAL (
        SELECT sum(c.settled_nano_usd)::bigint AS nano_usd FROM charges AS c
        WHERE c.execution_id = ended.execution_id
    ) AS spent ON spent.nano_usd > 0
)
"""
MEASURE_UNDELIVERED = f"""
WITH {ENDED}
SELECT outcome, count(*) AS executions, sum(nano_usd)::bigint AS nano_usd,
       extract(epoch FROM now() - min(ended_at))::float8 AS oldest_seconds
FROM undelivered GROUP BY outcome
"""  # noqa: S608 - constants
LIST_UNDELIVERED = f"""
WITH {ENDED}
SELECT u.execution_id, e.user_id, u.outcome, u.nano_usd AS settled_nano_usd, e.error ->> 'code' AS error_code,
       u.ended_at
FROM undelivered AS u JOIN executions AS e USING (execution_id)
WHERE $3::text IS NULL OR u.outcome = $3
ORDER BY u.nano_usd DESC, u.execution_id LIMIT $4
"""  # noqa: S608 - constants
ENDED_WITHIN_SECONDS: Final = 7 * 86_400.0
"""The age up to which failed executions with costs are counted: an operator reacts within a week.
"""
PENDING_FOR_SECONDS: Final = 600.0
"""The age from which a pending webhook counts: three attempts have failed, so the receiver is not
just restarting.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """The spending of one outcome. oldest_seconds: since the first of its executions ended."""

    executions: int
    nano_usd: NanoUsd
    oldest_seconds: float


async def measure_undelivered(conn: Connection) -> dict[UndeliveredOutcome, Undelivered]:
    """Return the spending per outcome; outcomes without spending are absent."""
    rows = await conn.fetch(MEASURE_UNDELIVERED, ENDED_WITHIN_SECONDS, PENDING_FOR_SECONDS)
    return {
        UndeliveredOutcome(row["outcome"]): Undelivered(
            executions=row["executions"],
            nano_usd=row["nano_usd"],
            oldest_seconds=row["oldest_seconds"],
        )
        for row in rows
    }


async def list_undelivered(
    conn: Connection, outcome: UndeliveredOutcome | None, *, limit: int
) -> list[dict[str, Any]]:
    """List the executions of an outcome, or of all, the most expensive first."""
    window = ENDED_WITHIN_SECONDS, PENDING_FOR_SECONDS
    return [
        row_json(dict(row)) for row in await conn.fetch(LIST_UNDELIVERED, *window, outcome, limit)
    ]
