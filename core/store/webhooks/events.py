"""Webhook events and their delivery attempts. The body is sent byte-identical in every attempt."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from core.domain.ids import EndpointId, EventId, ExecutionId, UserId, new_endpoint_id
from core.domain.messages.webhooks import DeliveryOrder, EventType, FailedReason, WebhookState
from core.store.database import Connection


class WebhookNotFoundError(LookupError):
    """The event does not exist, or belongs to another user."""


class EndpointClosedError(Exception):
    """The event cannot be sent: its endpoint is disabled or deleted."""

    def __init__(self, reason: FailedReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """An event of an execution. sequence: 1 for its first event (`next_sequence`).

    first_attempt_seconds: by when the execution's workflow begins the first attempt; 0: its
    delivery has a workflow of its own.
    """

    event_id: EventId
    execution_id: ExecutionId
    generation: int
    sequence: int
    user_id: UserId
    type: EventType
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    first_attempt_seconds: float = 0.0


# Every earlier generation had an event, also if a restored database does not have it.
NEXT_SEQUENCE = (
    "SELECT greatest(coalesce(max(sequence), 0), $2 - 1) + 1 FROM webhooks WHERE execution_id = $1"
)


async def next_sequence(conn: Connection, execution_id: ExecutionId, generation: int) -> int:
    """Return the number of an execution's next event. Exact while the execution is locked."""
    return await conn.fetchval(NEXT_SEQUENCE, execution_id, generation)


# The endpoint of the URL is created if the user has none; a deleted listening endpoint is not.
INSERT_WEBHOOK = """
WITH found AS (
    SELECT endpoint_id FROM endpoints WHERE user_id = $4 AND md5(url) = md5($6) AND deleted_at IS NULL
    UNION
    SELECT endpoint_id FROM endpoints
    WHERE user_id = $4 AND endpoint_id = substr($6, 8) AND url = $6 AND kind = 'stream'
), made AS (
    INSERT INTO endpoints (endpoint_id, user_id, url)
    SELECT $8, $4, $6 WHERE NOT EXISTS (SELECT FROM found)
    ON CONFLICT (user_id, md5(url)) WHERE deleted_at IS NULL DO UPDATE SET description = endpoints.description
    RETURNING endpoint_id
)
INSERT INTO webhooks
    (event_id, execution_id, generation, user_id, type, url, body, sequence, endpoint_id, attempt_due_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $9, endpoint_id, now() + make_interval(secs => $10)
FROM (SELECT endpoint_id FROM found UNION ALL SELECT endpoint_id FROM made) AS its
ON CONFLICT DO NOTHING
RETURNING event_id
"""


async def insert_webhook(conn: Connection, new: NewWebhook) -> bool:
    """Store an event. False: the generation has it already (repeating is safe)."""
    inserted = await conn.fetchval(
        INSERT_WEBHOOK,
        new.event_id,
        new.execution_id,
        new.generation,
        new.user_id,
        new.type,
        new.url,
        new.body,
        new_endpoint_id(),
        new.sequence,
        new.first_attempt_seconds,
    )
    return inserted is not None


GET_WEBHOOK = """
SELECT w.event_id, w.execution_id, w.user_id, w.type, w.url, w.body, w.state, w.delivery, w.created_at, w.ended_at,
       w.endpoint_id, e.failing_since IS NOT NULL AS failing, e.kind = 'stream' AS listening,
       CASE WHEN e.deleted_at IS NOT NULL THEN 'endpoint_deleted'
            WHEN e.disabled_at IS NOT NULL THEN 'endpoint_disabled' END AS closed
FROM webhooks AS w JOIN endpoints AS e ON e.endpoint_id = w.endpoint_id
WHERE w.event_id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRecord:
    """An event. delivery: the current delivery. execution_id: None for account events.

    failing: the last attempt at its endpoint failed. closed: why the endpoint receives nothing.
    listening: its endpoint is a listening one, whose listener makes the attempts.
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
    endpoint_id: EndpointId
    failing: bool
    listening: bool
    closed: FailedReason | None


async def get_webhook(conn: Connection, event_id: EventId) -> WebhookRecord:
    """Return one event. Raises WebhookNotFoundError."""
    row = await conn.fetchrow(GET_WEBHOOK, event_id)
    if row is None:
        raise WebhookNotFoundError(event_id)
    closed: str | None = row["closed"]
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
        endpoint_id=row["endpoint_id"],
        failing=row["failing"],
        listening=row["listening"],
        closed=FailedReason(closed) if closed is not None else None,
    )


BEGIN_ATTEMPT = """
INSERT INTO webhook_attempts (event_id, delivery, number, user_id, started_at)
SELECT w.event_id, w.delivery,
       1 + (SELECT coalesce(max(number), 0) FROM webhook_attempts WHERE event_id = $1 AND delivery = $2), w.user_id,
       clock_timestamp()
FROM webhooks AS w
WHERE w.event_id = $1 AND w.delivery = $2 AND w.state = 'pending'
RETURNING number,
          (SELECT count(*) FROM webhook_attempts
           WHERE event_id = $1 AND delivery = $2 AND duration_ms IS NULL) AS lost
"""
# Also locks the row. A running delivery has an attempt at least once a day plus jitter
# (core/webhooks/retry_schedule.py).
EXPECT_NEXT_ATTEMPT = """
UPDATE webhooks SET attempt_due_at = now() + interval '36 hours'
WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
"""
GET_LAST_NUMBER = (
    "SELECT coalesce(max(number), 0) FROM webhook_attempts WHERE event_id = $1 AND delivery = $2"
)


@dataclass(frozen=True, slots=True)
class BegunAttempt:
    """An attempt that may be sent.

    number: within the delivery. lost: how many earlier attempts have no result, because their
    workers were lost.
    """

    number: int
    lost: int


async def begin_attempt(
    conn: Connection, order: DeliveryOrder, *, first: bool = False
) -> BegunAttempt | None:
    """Record the start of an attempt.

    Commit it before any byte is sent.
    None: the event was delivered, has failed, or has a newer delivery. An attempt that never
    started (PostgreSQL unavailable, a worker lost) has no number, so it does not shorten the retry
    schedule. first: the caller has locked the row by `take_first_attempt`.
    """
    if not first:
        await conn.execute(EXPECT_NEXT_ATTEMPT, order.event_id, order.delivery)
    row = await conn.fetchrow(BEGIN_ATTEMPT, order.event_id, order.delivery)
    return None if row is None else BegunAttempt(row["number"], row["lost"])


async def get_last_attempt_number(conn: Connection, order: DeliveryOrder) -> int:
    """Return the number of attempts of this delivery."""
    return await conn.fetchval(GET_LAST_NUMBER, order.event_id, order.delivery)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """The result of an attempt.

    error: a category; None if delivered. response_excerpt: the first KB of text, redacted.
    """

    duration_ms: int
    status_code: int | None
    error: str | None
    response_excerpt: str | None


END_ATTEMPT = """
UPDATE webhook_attempts SET duration_ms = $4, status_code = $5, error = $6, response_excerpt = $7
WHERE event_id = $1 AND delivery = $2 AND number = $3
"""


async def end_attempt(conn: Connection, order: DeliveryOrder, number: int, end: AttemptEnd) -> None:
    """Record the result of an attempt. Repeating is safe."""
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


# Also from `failed`: an operator may have cancelled the delivery while the receiver accepted it.
MARK_DELIVERED = """
UPDATE webhooks SET state = 'delivered', failed_reason = NULL, ended_at = now()
WHERE event_id = $1 AND delivery = $2 AND state IN ('pending', 'failed')
RETURNING event_id
"""
MARK_FAILED = """
UPDATE webhooks SET state = 'failed', failed_reason = $3, ended_at = now()
WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
RETURNING event_id
"""


async def mark_delivered(conn: Connection, order: DeliveryOrder) -> bool:
    """Record that the receiver accepted the event. Repeating is safe.

    Return False if it was recorded before, or if there is a newer delivery.
    """
    return await conn.fetchval(MARK_DELIVERED, order.event_id, order.delivery) is not None


async def mark_failed(conn: Connection, order: DeliveryOrder, reason: FailedReason) -> bool:
    """End a delivery that will not be attempted again. Repeating is safe.

    Return False if it has ended, or if there is a newer delivery.
    """
    return await conn.fetchval(MARK_FAILED, order.event_id, order.delivery, reason) is not None


DEFER_DELIVERY = """
UPDATE webhooks
SET attempt_due_at = greatest(attempt_due_at, now() + make_interval(secs => $3) + interval '10 minutes')
WHERE event_id = $1 AND delivery = $2 AND state = 'pending'
"""


async def defer_delivery(conn: Connection, order: DeliveryOrder, *, seconds: float) -> None:
    """Record that the next attempt waits for capacity, so the reconciler does not miss it."""
    await conn.execute(DEFER_DELIVERY, order.event_id, order.delivery, seconds)


# To the current endpoint of the URL: the earlier endpoint may have been deleted.
NEXT_DELIVERY = """
UPDATE webhooks AS w
SET delivery = w.delivery + 1, state = 'pending', failed_reason = NULL, attempt_due_at = now(), ended_at = NULL,
    endpoint_id = e.endpoint_id, pending_since = now()
FROM endpoints AS e
WHERE w.event_id = $1 AND e.user_id = w.user_id AND md5(e.url) = md5(w.url)
  AND e.deleted_at IS NULL AND e.disabled_at IS NULL
RETURNING w.user_id, w.event_id, w.delivery
"""


async def next_delivery(conn: Connection, event_id: EventId) -> DeliveryOrder:
    """Start another delivery of the same body with a new schedule.

    A running delivery stops before its next attempt. Every call is one more delivery. Raises
    WebhookNotFoundError, EndpointClosedError.
    """
    row = await conn.fetchrow(NEXT_DELIVERY, event_id)
    if row is None:
        webhook = await get_webhook(conn, event_id)
        raise EndpointClosedError(webhook.closed or FailedReason.ENDPOINT_DELETED)
    return DeliveryOrder(user_id=row["user_id"], event_id=row["event_id"], delivery=row["delivery"])


LIST_ATTEMPTS = """
SELECT * FROM (
    SELECT delivery, number, started_at, duration_ms, status_code, error, response_excerpt
    FROM webhook_attempts WHERE event_id = $1 ORDER BY delivery DESC, number DESC LIMIT $2
) AS last ORDER BY delivery, number
"""
ATTEMPTS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """An attempt. duration_ms None: it is running, or its worker was lost."""

    delivery: int
    number: int
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response_excerpt: str | None


async def list_attempts(conn: Connection, event_id: EventId) -> Sequence[AttemptRecord]:
    """List the last attempts of an event in order, at most ATTEMPTS_SHOWN."""
    return [
        AttemptRecord(**dict(row))
        for row in await conn.fetch(LIST_ATTEMPTS, event_id, ATTEMPTS_SHOWN)
    ]
