"""Deliveries that have not ended, which the reconciler starts again or ends. As system."""

from dataclasses import dataclass

from core.domain.ids import EventId, ExecutionId
from core.domain.messages.webhooks import DeliveryOrder
from core.store.database import Connection

# A join would be planned for many rows, and read all executions; there are seldom any.
LIST_PENDING = """
SELECT user_id, event_id, delivery, execution_id,
       (SELECT traceparent FROM executions AS e WHERE e.execution_id = w.execution_id) AS traceparent
FROM webhooks AS w
WHERE state = 'pending' AND attempt_due_at < now() - make_interval(secs => $1) AND event_id > $2
ORDER BY event_id LIMIT $3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDelivery:
    """A delivery that has not ended. execution_id: None for account events.

    traceparent: of the request that ordered or last retried the execution, if that was traced.
    """

    order: DeliveryOrder
    execution_id: ExecutionId | None
    traceparent: str | None = None


async def list_pending(
    conn: Connection, *, overdue_seconds: float, limit: int, after: str = ""
) -> list[PendingDelivery]:
    """List a page of pending deliveries whose next attempt is overdue.

    Starting a delivery that is running is harmless: the workflow id is the same. As system.
    """
    rows = await conn.fetch(LIST_PENDING, overdue_seconds, after, limit)
    return [
        PendingDelivery(
            order=DeliveryOrder(
                user_id=row["user_id"], event_id=row["event_id"], delivery=row["delivery"]
            ),
            execution_id=row["execution_id"],
            traceparent=row["traceparent"],
        )
        for row in rows
    ]


FAIL_OVERDUE = """
UPDATE webhooks SET state = 'failed', failed_reason = 'stopped', ended_at = now()
WHERE state = 'pending' AND pending_since < now() - make_interval(secs => $1)
RETURNING event_id
"""


async def fail_overdue(conn: Connection, *, older_than_seconds: float) -> list[EventId]:
    """End deliveries that could not record their own end. As system."""
    return [EventId(row["event_id"]) for row in await conn.fetch(FAIL_OVERDUE, older_than_seconds)]


# pending_since stays: repeated resumes do not prolong a delivery.
RESUME_DELIVERY = """
UPDATE webhooks SET delivery = delivery + 1, attempt_due_at = now()
WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
RETURNING user_id, event_id, delivery
"""


async def resume_delivery(conn: Connection, left_behind: DeliveryOrder) -> DeliveryOrder | None:
    """Replace a delivery that has no workflow. None: it has ended, or was replaced already.

    As system.
    """
    row = await conn.fetchrow(RESUME_DELIVERY, left_behind.event_id, left_behind.delivery)
    if row is None:
        return None
    return DeliveryOrder(user_id=row["user_id"], event_id=row["event_id"], delivery=row["delivery"])
