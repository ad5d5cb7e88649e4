"""Listening endpoints: their events are offered to an open stream, whose client reports the result.

An attempt that has begun and has no result is the offer. The worker that made it waits for the
result in the attempt's row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import asyncpg

from core.domain.ids import EndpointId, EventId, UserId, new_endpoint_id
from core.domain.messages.webhooks import DeliveryOrder, EventType
from core.store.database import Connection
from core.store.events.execution_events import CHANNEL
from core.store.secrets.secrets import WEBHOOK_SECRET, secret_from_row
from core.store.webhooks.endpoints import set_default
from core.store.webhooks.events import AttemptEnd, AttemptRecord
from core.store.webhooks.signing_secrets import SigningSecrets

URL_PREFIX: Final = "stream:"
OFFER_SECONDS: Final = 15.0
"""How long an attempt waits for its result: as long as for the answer of a URL."""
UNUSED_FOR: Final = timedelta(hours=1)
"""A listening endpoint without a listener for this long is deleted. A stream is opened again every
15 minutes, which counts.
"""
MAX_LISTENING: Final = 20
"""Listening endpoints of a user."""
TOO_MANY_LISTENING: Final = (
    f"would be a new listening endpoint, and the account has {MAX_LISTENING}, the most allowed. Delete "
    "those that are no longer used"
)
MAX_OFFERS: Final = 100


class TooManyListeningError(Exception):
    """The user has MAX_LISTENING listening endpoints. Roll back."""


INSERT = """
INSERT INTO endpoints (endpoint_id, user_id, url, description, kind, listened_at, replaced)
SELECT $1, $2, 'stream:' || $1, $3, 'stream', now(),
       CASE WHEN $4 THEN (SELECT endpoint_id FROM endpoints WHERE user_id = $2 AND is_default AND kind = 'url') END
WHERE (SELECT count(*) FROM (
    SELECT FROM endpoints WHERE user_id = $2 AND kind = 'stream' AND deleted_at IS NULL LIMIT $5
) AS present) < $5
RETURNING endpoint_id
"""


async def insert_listening(
    conn: Connection, user_id: UserId, description: str, *, default: bool
) -> EndpointId:
    """Create a listening endpoint. Raises TooManyListeningError.

    default: it is the default until it is deleted; then the present default is again.
    """
    endpoint_id: EndpointId | None = await conn.fetchval(
        INSERT, new_endpoint_id(), user_id, description, default, MAX_LISTENING
    )
    if endpoint_id is None:
        raise TooManyListeningError
    if default:
        await set_default(conn, user_id, endpoint_id)
    return endpoint_id


NOTE_LISTENER = """
UPDATE endpoints SET listened_at = now()
WHERE endpoint_id = $1 AND user_id = $2 AND kind = 'stream' AND deleted_at IS NULL
RETURNING endpoint_id
"""


async def note_listener(conn: Connection, user_id: UserId, endpoint_id: EndpointId) -> bool:
    """Note that a listener is connected. False: the user has no such listening endpoint."""
    return await conn.fetchval(NOTE_LISTENER, endpoint_id, user_id) is not None


async def notify_listener(conn: Connection, user_id: UserId, endpoint_id: EndpointId) -> None:
    """Wake the streams of an endpoint at the COMMIT."""
    await conn.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{endpoint_id} {user_id}")


LIST_OFFERS = """
SELECT w.event_id, w.type, w.body, a.delivery, a.number
FROM webhooks AS w
JOIN webhook_attempts AS a ON a.event_id = w.event_id AND a.delivery = w.delivery
WHERE w.endpoint_id = $1 AND w.user_id = $2 AND w.state = 'pending' AND a.duration_ms IS NULL
  AND a.started_at > clock_timestamp() - make_interval(secs => $3)
  AND w.created_at > now() - interval '4 days'
ORDER BY w.created_at, w.event_id LIMIT $4
"""
FIND_LATEST = """
SELECT w.event_id, w.type, w.body, w.delivery, 0 AS number FROM webhooks AS w
WHERE w.user_id = $1 ORDER BY w.created_at DESC, w.event_id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An attempt without a result. number: 0 for an event that is only shown again."""

    event_id: EventId
    type: EventType
    body: bytes = field(repr=False)
    delivery: int
    number: int


async def list_offers(conn: Connection, user_id: UserId, endpoint_id: EndpointId) -> list[Offer]:
    """List the attempts that wait for a listener, oldest event first."""
    rows = await conn.fetch(LIST_OFFERS, endpoint_id, user_id, OFFER_SECONDS, MAX_OFFERS)
    return [_offer(row) for row in rows]


async def list_latest(conn: Connection, user_id: UserId, number: int) -> list[Offer]:
    """List the user's latest events of any endpoint, oldest first."""
    rows = await conn.fetch(FIND_LATEST, user_id, number)
    return [_offer(row) for row in reversed(rows)]


def _offer(row: asyncpg.Record) -> Offer:
    return Offer(
        event_id=row["event_id"],
        type=EventType(row["type"]),
        body=row["body"],
        delivery=row["delivery"],
        number=row["number"],
    )


RESUME = """
UPDATE webhooks AS w
SET delivery = w.delivery + 1, state = 'pending', failed_reason = NULL, attempt_due_at = now(), ended_at = NULL,
    pending_since = now()
FROM (
    SELECT event_id FROM webhooks
    WHERE endpoint_id = $1 AND user_id = $2 AND state <> 'delivered'
      AND 'no_listener' = (
          SELECT error FROM webhook_attempts AS a
          WHERE a.event_id = webhooks.event_id AND a.delivery = webhooks.delivery ORDER BY number DESC LIMIT 1
      )
    ORDER BY created_at, event_id LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
) AS missed
WHERE w.event_id = missed.event_id
RETURNING w.user_id, w.event_id, w.delivery
"""


async def resume_missed(
    conn: Connection, user_id: UserId, endpoint_id: EndpointId
) -> list[DeliveryOrder]:
    """Create another delivery of each event whose last attempt had no listener.

    The caller starts the deliveries. Repeating is safe.
    """
    rows = await conn.fetch(RESUME, endpoint_id, user_id, MAX_OFFERS)
    return [
        DeliveryOrder(user_id=row["user_id"], event_id=row["event_id"], delivery=row["delivery"])
        for row in rows
    ]


GET_SECRETS = """
SELECT secret_id, kind, owner_id, user_id, key_id, sealed, valid_until FROM secrets
WHERE owner_id = $1 AND kind = $2 AND valid_until IS NULL
"""


async def find_endpoint_secrets(conn: Connection, endpoint_id: EndpointId) -> SigningSecrets | None:
    """Return the endpoint's own secret, for events that belong to another endpoint."""
    row = await conn.fetchrow(GET_SECRETS, endpoint_id, WEBHOOK_SECRET)
    return SigningSecrets(current=secret_from_row(row), previous=None) if row is not None else None


REPORT = """
UPDATE webhook_attempts AS a SET duration_ms = $5, status_code = $6, error = $7, response_excerpt = $8
FROM webhooks AS w
WHERE a.event_id = $1 AND a.delivery = $2 AND a.number = $3 AND a.duration_ms IS NULL
  AND w.event_id = a.event_id AND w.endpoint_id = $4
RETURNING a.event_id
"""


async def report_result(
    conn: Connection, endpoint_id: EndpointId, order: DeliveryOrder, number: int, end: AttemptEnd
) -> bool:
    """Store what the listener reports. False: no such attempt waits for a result.

    The worker that waits records the end of the delivery.
    """
    values = (end.duration_ms, end.status_code, end.error, end.response_excerpt)
    place = (order.event_id, order.delivery, number, endpoint_id)
    return await conn.fetchval(REPORT, *place, *values) is not None


GET_RESULT = """
SELECT delivery, number, started_at, duration_ms, status_code, error, response_excerpt FROM webhook_attempts
WHERE event_id = $1 AND delivery = $2 AND number = $3 AND duration_ms IS NOT NULL
"""


async def get_result(conn: Connection, order: DeliveryOrder, number: int) -> AttemptRecord | None:
    """Return a reported attempt. None: it has no result yet."""
    row = await conn.fetchrow(GET_RESULT, order.event_id, order.delivery, number)
    return AttemptRecord(**dict(row)) if row is not None else None


LIST_UNUSED = """
SELECT endpoint_id, user_id FROM endpoints
WHERE kind = 'stream' AND deleted_at IS NULL AND listened_at < now() - $1::interval ORDER BY listened_at LIMIT $2
"""


async def list_unused(conn: Connection, *, limit: int) -> Sequence[tuple[UserId, EndpointId]]:
    """List listening endpoints without a listener for UNUSED_FOR. As system."""
    rows = await conn.fetch(LIST_UNUSED, UNUSED_FOR, limit)
    return [(row["user_id"], row["endpoint_id"]) for row in rows]
