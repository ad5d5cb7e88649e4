"""Webhooks in rows: an event with the body that is sent, byte for byte, on every try; and every try that was made."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from contracts.ids import EventId, ExecutionId, UserId
from contracts.webhooks import DeliveryOrder, EventType, WebhookState
from store.database import Connection
from store.executions import own_secret_context
from store.users import webhook_secret_context


class WebhookNotFoundError(LookupError):
    """No such event among the rows that this transaction may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """webhook_secret_sealed: the request's own secret; None means that the user's default signs."""

    event_id: EventId
    execution_id: ExecutionId
    generation: int
    user_id: UserId
    type: EventType
    url: str = field(repr=False)
    webhook_secret_sealed: bytes | None = field(repr=False)
    body: bytes = field(repr=False)


INSERT_WEBHOOK = """
INSERT INTO webhooks (event_id, execution_id, generation, user_id, type, url, webhook_secret_sealed, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING
RETURNING event_id
"""


async def insert_webhook(conn: Connection, new: NewWebhook) -> bool:
    """Store an event to deliver. False if this generation of the execution has it already (repeating is safe)."""
    inserted = await conn.fetchval(
        INSERT_WEBHOOK,
        new.event_id,
        new.execution_id,
        new.generation,
        new.user_id,
        new.type,
        new.url,
        new.webhook_secret_sealed,
        new.body,
    )
    return inserted is not None


GET_WEBHOOK = """
SELECT w.event_id, w.execution_id, w.user_id, w.type, w.url, w.body, w.state, w.delivery, w.created_at, w.ended_at,
       w.webhook_secret_sealed, u.webhook_secret_sealed AS user_secret_sealed
FROM webhooks AS w JOIN users AS u ON u.user_id = w.user_id
WHERE w.event_id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRecord:
    """One event. Its secret is `secret_sealed`, to be opened for `secret_context`. delivery: the current one.

    execution_id: None of an event about the account; its user's default secret signs it.
    """

    event_id: EventId
    execution_id: ExecutionId | None
    user_id: UserId
    type: EventType
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    state: WebhookState
    delivery: int
    created_at: datetime
    ended_at: datetime | None
    secret_sealed: bytes = field(repr=False)
    secret_context: str


async def get_webhook(conn: Connection, event_id: EventId) -> WebhookRecord:
    """One event with the secret that signs it. Raises WebhookNotFoundError."""
    row = await conn.fetchrow(GET_WEBHOOK, event_id)
    if row is None:
        raise WebhookNotFoundError(event_id)
    own_secret: bytes | None = row["webhook_secret_sealed"]
    return WebhookRecord(
        event_id=event_id,
        execution_id=row["execution_id"],
        user_id=row["user_id"],
        type=EventType(row["type"]),
        url=row["url"],
        body=row["body"],
        state=WebhookState(row["state"]),
        delivery=row["delivery"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
        secret_sealed=row["user_secret_sealed"] if own_secret is None else own_secret,
        secret_context=(
            webhook_secret_context(row["user_id"]) if own_secret is None else own_secret_context(row["execution_id"])
        ),
    )


BEGIN_ATTEMPT = """
INSERT INTO webhook_attempts (event_id, delivery, number, user_id, started_at)
SELECT w.event_id, w.delivery, $3, w.user_id, clock_timestamp()
FROM webhooks AS w
WHERE w.event_id = $1 AND w.delivery = $2 AND w.state = 'pending'
RETURNING number
"""
LOCK_WEBHOOK = "SELECT FROM webhooks WHERE event_id = $1 FOR UPDATE"
GET_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM webhook_attempts WHERE event_id = $1 AND delivery = $2"


async def begin_attempt(conn: Connection, order: DeliveryOrder) -> int | None:
    """Record that a try begins; its number, counted from 1 within the delivery. Commit it before any byte leaves.

    None if there is nothing to try: the event was delivered, given up, or has a newer delivery. The numbers are counted
    here, so that a try that never began (PostgreSQL away, a worker lost) takes nothing off the schedule.
    """
    await conn.execute(LOCK_WEBHOOK, order.event_id)
    last: int = await conn.fetchval(GET_LAST_NUMBER, order.event_id, order.delivery)
    return await conn.fetchval(BEGIN_ATTEMPT, order.event_id, order.delivery, last + 1)


async def get_last_attempt_number(conn: Connection, order: DeliveryOrder) -> int:
    """How many tries this delivery has had."""
    return await conn.fetchval(GET_LAST_NUMBER, order.event_id, order.delivery)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """How a try ended. error: a category, None if delivered. response_excerpt: the first KB of text, scrubbed."""

    duration_ms: int
    status_code: int | None
    error: str | None
    response_excerpt: str | None


END_ATTEMPT = """
UPDATE webhook_attempts SET duration_ms = $4, status_code = $5, error = $6, response_excerpt = $7
WHERE event_id = $1 AND delivery = $2 AND number = $3
"""


async def end_attempt(conn: Connection, order: DeliveryOrder, number: int, end: AttemptEnd) -> None:
    """Record how a try ended. Repeating writes the same."""
    await conn.execute(
        END_ATTEMPT,
        order.event_id,
        order.delivery,
        number,
        end.duration_ms,
        end.status_code,
        end.error,
        end.response_excerpt,
    )


# Also from `failed`: an operator may have cancelled the delivery while the receiver was taking it, and taken it was.
MARK_DELIVERED = """
UPDATE webhooks SET state = 'delivered', ended_at = now()
WHERE event_id = $1 AND delivery = $2 AND state IN ('pending', 'failed')
RETURNING event_id
"""
MARK_FAILED = """
UPDATE webhooks SET state = 'failed', ended_at = now()
WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
RETURNING event_id
"""


async def mark_delivered(conn: Connection, order: DeliveryOrder) -> bool:
    """The receiver took it. False if that was known, or a newer delivery is under way (repeating is safe)."""
    return await conn.fetchval(MARK_DELIVERED, order.event_id, order.delivery) is not None


async def mark_failed(conn: Connection, order: DeliveryOrder) -> bool:
    """Nobody will try this delivery again. False if it had ended, or a newer one is under way (repeating is safe)."""
    return await conn.fetchval(MARK_FAILED, order.event_id, order.delivery) is not None


# Between two tries of a living delivery there is at most a day and its jitter (activities/webhooks.py).
LIST_PENDING = """
SELECT w.user_id, w.event_id, w.delivery
FROM webhooks AS w
WHERE w.state = 'pending' AND w.event_id > $2 AND w.created_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (
      SELECT FROM webhook_attempts AS a
      WHERE a.event_id = w.event_id AND a.delivery = w.delivery AND a.started_at > now() - interval '36 hours'
  )
ORDER BY w.event_id LIMIT $3
"""


async def list_pending(
    conn: Connection, *, older_than_seconds: float, limit: int, after: str = ""
) -> list[DeliveryOrder]:
    """Deliveries left behind: pending, and not tried for longer than the schedule allows. A page at a time, by id.

    Starting one that is alive after all is harmless: the workflow id is the same. For the sweep, as system.
    """
    rows = await conn.fetch(LIST_PENDING, older_than_seconds, after, limit)
    return [DeliveryOrder(user_id=row["user_id"], event_id=row["event_id"], delivery=row["delivery"]) for row in rows]


NEXT_DELIVERY = """
UPDATE webhooks SET delivery = delivery + 1, state = 'pending', ended_at = NULL WHERE event_id = $1
RETURNING user_id, event_id, delivery
"""


async def next_delivery(conn: Connection, event_id: EventId) -> DeliveryOrder:
    """Order the same body once more, by a fresh schedule; a delivery still under way stops before its next try.

    Every call is one more delivery. Raises WebhookNotFoundError.
    """
    row = await conn.fetchrow(NEXT_DELIVERY, event_id)
    if row is None:
        raise WebhookNotFoundError(event_id)
    return DeliveryOrder(user_id=row["user_id"], event_id=row["event_id"], delivery=row["delivery"])


RESUME_DELIVERY = """
UPDATE webhooks SET delivery = delivery + 1 WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
RETURNING user_id, event_id, delivery
"""


async def resume_delivery(conn: Connection, left_behind: DeliveryOrder) -> DeliveryOrder | None:
    """The delivery after one that was left behind. None: that one has ended after all, or somebody was first.

    For the sweep, as system.
    """
    row = await conn.fetchrow(RESUME_DELIVERY, left_behind.event_id, left_behind.delivery)
    if row is None:
        return None
    return DeliveryOrder(user_id=row["user_id"], event_id=row["event_id"], delivery=row["delivery"])


LIST_ATTEMPTS = """
SELECT delivery, number, started_at, duration_ms, status_code, error, response_excerpt
FROM webhook_attempts WHERE event_id = $1 ORDER BY delivery, number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """A try. duration_ms None: it is under way, or the worker that made it was lost."""

    delivery: int
    number: int
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response_excerpt: str | None


async def list_attempts(conn: Connection, event_id: EventId) -> Sequence[AttemptRecord]:
    """All tries of an event, in the order they were made. Bounded by the schedule and the number of resends."""
    return [AttemptRecord(**dict(row)) for row in await conn.fetch(LIST_ATTEMPTS, event_id)]
