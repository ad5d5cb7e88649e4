"""What an operator's resend concerns: the events of all users that match a filter. As system."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from core.domain.messages.webhooks import WebhookState
from core.store.database import Connection
from core.store.operator import row_json

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendFilter:
    """Events in a state. None: any. created_from: inclusive; created_before: exclusive."""

    state: WebhookState
    user_id: str | None = None
    endpoint_id: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Return the two times, with the earliest and the latest in place of None."""
        return self.created_from or EARLIEST, self.created_before or LATEST


MATCHES: Final = """
w.state = $1 AND ($2::text IS NULL OR w.user_id = $2) AND ($3::text IS NULL OR w.endpoint_id = $3)
AND w.created_at >= $4 AND w.created_at < $5
"""
# As resend_page chooses the endpoint: the current one of the address.
COUNT_RESENDS = f"""
SELECT w.user_id, count(*) AS events, count(*) FILTER (WHERE e.endpoint_id IS NULL) AS skipped
FROM webhooks AS w
LEFT JOIN endpoints AS e
    ON e.user_id = w.user_id AND md5(e.url) = md5(w.url) AND e.deleted_at IS NULL AND e.disabled_at IS NULL
WHERE {MATCHES}
GROUP BY w.user_id ORDER BY w.user_id
"""  # noqa: S608 - constants
LIST_EVENTS = f"""
SELECT w.event_id, w.user_id, w.execution_id, w.type, w.endpoint_id, w.failed_reason, w.delivery, w.created_at,
       w.ended_at, a.status_code AS last_status_code, a.error AS last_error
FROM webhooks AS w
LEFT JOIN LATERAL (
    SELECT status_code, error FROM webhook_attempts
    WHERE event_id = w.event_id ORDER BY delivery DESC, number DESC LIMIT 1
) AS a ON true
WHERE {MATCHES}
ORDER BY w.created_at, w.event_id LIMIT $6
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendCount:
    """The matching events of a user. skipped: their endpoint is disabled or deleted."""

    user_id: str
    events: int
    skipped: int


async def count_resends(conn: Connection, chosen: ResendFilter) -> list[ResendCount]:
    """Count the matching events by user."""
    rows = await conn.fetch(COUNT_RESENDS, *_values(chosen))
    return [ResendCount(**dict(row)) for row in rows]


async def list_events(
    conn: Connection, chosen: ResendFilter, *, limit: int
) -> list[dict[str, Any]]:
    """List matching events with their last attempt, the oldest first."""
    return [row_json(dict(row)) for row in await conn.fetch(LIST_EVENTS, *_values(chosen), limit)]


def _values(chosen: ResendFilter) -> tuple[object, ...]:
    return chosen.state, chosen.user_id, chosen.endpoint_id, *chosen.bounds
