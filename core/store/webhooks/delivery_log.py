"""The delivery log of a user, and resending events from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from core.domain.ids import EndpointId, EventId, ExecutionId, UserId
from core.domain.messages.webhooks import EventType, FailedReason, WebhookState
from core.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A position in the log: the last event of the previous page."""

    created_at: datetime
    event_id: EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """An event. delivery: 1, plus one for each resend. attempts: of all deliveries together."""

    event_id: EventId
    type: EventType
    endpoint_id: EndpointId
    url: str = field(repr=False)
    execution_id: ExecutionId | None
    generation: int | None
    sequence: int | None
    state: WebhookState
    failed_reason: FailedReason | None
    delivery: int
    attempts: int
    last_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None

    @property
    def place(self) -> Place:
        return Place(created_at=self.created_at, event_id=self.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    limit: int
    before: Place | None = None
    execution_id: ExecutionId | None = None
    endpoint_id: EndpointId | None = None
    state: WebhookState | None = None
    type: EventType | None = None


ATTEMPTS = """
CROSS JOIN LATERAL (
    SELECT count(*) AS attempts, max(started_at) AS last_attempt_at FROM webhook_attempts WHERE event_id = w.event_id
) AS a
LEFT JOIN LATERAL (
    SELECT status_code, error FROM webhook_attempts
    WHERE event_id = w.event_id ORDER BY delivery DESC, number DESC LIMIT 1
) AS l ON true
""".strip()
"""Joins: number and last start of the attempts of the webhook `w` as `a`, the last one as `l`."""
LIST_WEBHOOKS = f"""
SELECT w.event_id, w.type, w.endpoint_id, w.url, w.execution_id, w.generation, w.sequence, w.state, w.failed_reason,
       w.delivery, w.created_at, w.ended_at, a.attempts, a.last_attempt_at, l.status_code AS last_status_code,
       l.error AS last_error
FROM webhooks AS w
{ATTEMPTS}
WHERE w.user_id = $1
  AND ($2::timestamptz IS NULL OR (w.created_at, w.event_id) < ($2::timestamptz, $3::text))
  AND ($4::text IS NULL OR w.execution_id = $4)
  AND ($5::text IS NULL OR w.endpoint_id = $5)
  AND ($6::text IS NULL OR w.state = $6)
  AND ($7::text IS NULL OR w.type = $7)
ORDER BY w.created_at DESC, w.event_id DESC LIMIT $8
"""  # noqa: S608 - a constant


async def list_webhooks(
    conn: Connection, user_id: UserId, filter_: LogFilter
) -> Sequence[LogEntry]:
    """List a user's events, newest first. New events do not shift the pages."""
    before = filter_.before
    rows = await conn.fetch(
        LIST_WEBHOOKS,
        user_id,
        before.created_at if before is not None else None,
        before.event_id if before is not None else None,
        filter_.execution_id,
        filter_.endpoint_id,
        filter_.state,
        filter_.type,
        filter_.limit,
    )
    return [LogEntry(**_plain(row)) for row in rows]


FIND_WEBHOOK = f"""
SELECT w.event_id, w.type, w.endpoint_id, w.url, w.execution_id, w.generation, w.sequence, w.state, w.failed_reason,
       w.delivery, w.created_at, w.ended_at, a.attempts, a.last_attempt_at, l.status_code AS last_status_code,
       l.error AS last_error, w.body
FROM webhooks AS w
{ATTEMPTS}
WHERE w.event_id = $1 AND w.user_id = $2
"""  # noqa: S608 - a constant


async def find_webhook(
    conn: Connection, user_id: UserId, event_id: EventId
) -> tuple[LogEntry, bytes] | None:
    """Return an event and its body. None: it does not exist, or belongs to another user."""
    row = await conn.fetchrow(FIND_WEBHOOK, event_id, user_id)
    if row is None:
        return None
    plain = _plain(row)
    body: bytes = plain.pop("body")
    return LogEntry(**plain), body


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    plain = dict(row)
    plain["type"] = EventType(row["type"])
    plain["state"] = WebhookState(row["state"])
    reason: str | None = row["failed_reason"]
    plain["failed_reason"] = FailedReason(reason) if reason is not None else None
    return plain


EXECUTION_EXISTS = """
SELECT EXISTS (SELECT FROM executions WHERE execution_id = $1 AND user_id = $2 AND deleted_at IS NULL)
"""


async def has_execution(conn: Connection, user_id: UserId, execution_id: ExecutionId) -> bool:
    """Return whether the user has such an execution."""
    return await conn.fetchval(EXECUTION_EXISTS, execution_id, user_id)


ENDPOINT_EXISTS = "SELECT EXISTS (SELECT FROM endpoints WHERE endpoint_id = $1 AND user_id = $2)"


async def has_endpoint(conn: Connection, user_id: UserId, endpoint_id: EndpointId) -> bool:
    """Return whether the user has or had such an endpoint; the log of a deleted one is kept."""
    return await conn.fetchval(ENDPOINT_EXISTS, endpoint_id, user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendRange:
    """A page of events of a time range in a state. after: the last event of the previous page."""

    created_from: datetime
    created_before: datetime
    state: WebhookState
    endpoint_id: EndpointId | None
    after: Place | None
    limit: int


# Each to the endpoint that its address has now; what has none that takes anything is only counted.
RESEND_PAGE = """
WITH page AS (
    SELECT w.event_id, w.created_at, w.user_id, w.url
    FROM webhooks AS w
    WHERE w.user_id = $1 AND w.created_at >= $2 AND w.created_at < $3 AND w.state = $4
      AND ($5::text IS NULL OR w.endpoint_id = $5)
      AND ($6::timestamptz IS NULL OR (w.created_at, w.event_id) > ($6::timestamptz, $7::text))
    ORDER BY w.created_at, w.event_id LIMIT $8
    FOR UPDATE OF w
), resent AS (
    UPDATE webhooks AS w
    SET delivery = w.delivery + 1, state = 'pending', failed_reason = NULL, attempt_due_at = now(), ended_at = NULL,
        endpoint_id = e.endpoint_id, pending_since = now()
    FROM page, endpoints AS e
    WHERE w.event_id = page.event_id AND e.user_id = page.user_id AND md5(e.url) = md5(page.url)
      AND e.deleted_at IS NULL AND e.disabled_at IS NULL
    RETURNING w.event_id
)
SELECT page.event_id, page.created_at, resent.event_id IS NOT NULL AS resent
FROM page LEFT JOIN resent ON resent.event_id = page.event_id
ORDER BY page.created_at, page.event_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """A page of resends.

    skipped: events whose endpoint is disabled or deleted. next_after: the start of the next page;
    None: this was the last page.
    """

    resent: int
    skipped: int
    next_after: Place | None


async def resend_page(conn: Connection, user_id: UserId, range_: ResendRange) -> Resent:
    """Create one more delivery of each event of a range, one page at a time.

    The reconciler starts them. Every call creates more deliveries.
    """
    after = range_.after
    rows = await conn.fetch(
        RESEND_PAGE,
        user_id,
        range_.created_from,
        range_.created_before,
        range_.state,
        range_.endpoint_id,
        after.created_at if after is not None else None,
        after.event_id if after is not None else None,
        range_.limit,
    )
    resent = sum(row["resent"] for row in rows)
    full = len(rows) == range_.limit
    last = Place(created_at=rows[-1]["created_at"], event_id=rows[-1]["event_id"]) if full else None
    return Resent(resent=resent, skipped=len(rows) - resent, next_after=last)
