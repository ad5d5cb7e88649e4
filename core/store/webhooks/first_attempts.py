"""The time of the first attempt, which the execution's workflow makes.

The reconciler starts a delivery whose attempt is overdue, so the time decides whether the
execution's workflow or a delivery's own workflow makes the next attempt.
"""

from core.domain.messages.webhooks import DeliveryOrder
from core.store.database import Connection

# While the execution's workflow may make the attempt, its time is near; every other delivery has a
# time that is over, or hours ahead.
TAKE_FIRST_ATTEMPT = """
UPDATE webhooks SET attempt_due_at = now() + make_interval(secs => $3)
WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
  AND attempt_due_at BETWEEN now() AND now() + make_interval(secs => $4)
RETURNING event_id
"""


async def take_first_attempt(
    conn: Connection, order: DeliveryOrder, *, due_seconds: float, limit_seconds: float
) -> bool:
    """Lock the row and record by when the attempt has ended, or a delivery must be started.

    limit_seconds: how far ahead the time of a first attempt can be. False: the delivery has ended,
    or a workflow of its own may work on it.
    """
    arguments = (order.event_id, order.delivery, due_seconds, limit_seconds)
    return await conn.fetchval(TAKE_FIRST_ATTEMPT, *arguments) is not None


EXPECT_RETRY = """
UPDATE webhooks SET attempt_due_at = now() + make_interval(secs => $3)
WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
RETURNING event_id
"""


async def expect_retry(conn: Connection, order: DeliveryOrder, *, seconds: float) -> bool:
    """Record when the attempt after a failed first attempt is due.

    Return False if the delivery has ended, or if there is a newer one.
    """
    return await conn.fetchval(EXPECT_RETRY, order.event_id, order.delivery, seconds) is not None
