"""Spending on executions that delivered nothing to their user. Read by the reconciler as system."""

from dataclasses import dataclass
from enum import StrEnum

from core.domain.money import NanoUsd
from core.store.database import Connection


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
MEASURE_UNDELIVERED = """
WITH ended AS (
    SELECT execution_id, status AS outcome, ended_at FROM executions
    WHERE status IN ('failed', 'cancelled') AND ended_at > now() - make_interval(secs => $1)
    UNION ALL
    SELECT e.execution_id, 'webhook_' || w.state, e.ended_at
    FROM webhooks AS w
    JOIN executions AS e ON e.execution_id = w.execution_id AND e.generation = w.generation
    WHERE w.state <> 'delivered' AND w.created_at > now() - make_interval(secs => $1) AND e.status = 'completed'
      AND w.type <> 'execution.waiting_for_approval'
      AND (w.state = 'failed' OR w.created_at < now() - make_interval(secs => $2))
)
SELECT ended.outcome, sum(spent.nano_usd)::bigint AS nano_usd,
       extract(epoch FROM now() - min(ended.ended_at))::float8 AS oldest_seconds
FROM ended
JOIN LATERAL (
    SELECT sum(c.settled_nano_usd) AS nano_usd FROM charges AS c WHERE c.execution_id = ended.execution_id
) AS spent ON spent.nano_usd > 0
GROUP BY ended.outcome
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """The spending of one outcome. oldest_seconds: since the first of its executions ended."""

    nano_usd: NanoUsd
    oldest_seconds: float


async def measure_undelivered(
    conn: Connection, *, ended_within_seconds: float, pending_for_seconds: float
) -> dict[UndeliveredOutcome, Undelivered]:
    """Return the spending per outcome; outcomes without spending are absent.

    ended_within_seconds: how far to look back. pending_for_seconds: the age of a late webhook.
    """
    rows = await conn.fetch(MEASURE_UNDELIVERED, ended_within_seconds, pending_for_seconds)
    return {
        UndeliveredOutcome(row["outcome"]): Undelivered(
            nano_usd=row["nano_usd"], oldest_seconds=row["oldest_seconds"]
        )
        for row in rows
    }
