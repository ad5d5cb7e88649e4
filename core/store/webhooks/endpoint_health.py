"""How endpoints fare: what a try tells of its endpoint, in the transaction that records the try."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.domain.ids import EndpointId, new_event_id
from core.domain.messages.webhooks import DisabledReason, EventType
from core.domain.webhook_payload import endpoint_disabled_body
from core.store.database import Connection
from core.store.webhooks.account_events import insert_account_event

DISABLE_FAILING_AFTER: Final = timedelta(days=5)
"""Of nothing but failures: then an endpoint is disabled. Longer than the schedule of one webhook,
so that it takes more than one that is not taken.
"""
FAILING_GAP: Final = timedelta(hours=48)
"""Failures further apart than this are not one run of failures. Longer than any pause of the
schedule, and than a receiver may ask for.
"""

# The rows of busy endpoints are not written by every success: only by one that says something new.
NOTE_SUCCESS = """
UPDATE endpoints SET last_success_at = now(), failing_since = NULL
WHERE endpoint_id = $1
  AND (failing_since IS NOT NULL OR last_success_at IS NULL OR last_success_at < now() - interval '1 minute')
"""


async def note_success(conn: Connection, endpoint_id: EndpointId) -> None:
    """The receiver took something."""
    await conn.execute(NOTE_SUCCESS, endpoint_id)


NOTE_FAILURE = """
UPDATE endpoints
SET last_failure_at = now(),
    failing_since = CASE WHEN last_failure_at > now() - $2::interval THEN coalesce(failing_since, now()) ELSE now() END
WHERE endpoint_id = $1
RETURNING failing_since < now() - $3::interval
"""


async def note_failure(conn: Connection, endpoint_id: EndpointId) -> bool:
    """A try failed. True: so did all for days, with no long gap between them."""
    return bool(await conn.fetchval(NOTE_FAILURE, endpoint_id, FAILING_GAP, DISABLE_FAILING_AFTER))


DISABLE = """
UPDATE endpoints SET disabled_at = now(), disabled_reason = $2
WHERE endpoint_id = $1 AND disabled_at IS NULL AND deleted_at IS NULL
RETURNING user_id, url, failing_since, last_success_at, disabled_at
"""
FIND_DEFAULT = (
    "SELECT endpoint_id FROM endpoints WHERE user_id = $1 AND is_default AND endpoint_id <> $2"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disabled:
    """An endpoint that was disabled now. told: its user is, at the default endpoint."""

    endpoint_id: EndpointId
    reason: DisabledReason
    told: bool


async def disable(
    conn: Connection, endpoint_id: EndpointId, reason: DisabledReason
) -> Disabled | None:
    """Send nothing there any more, and tell the default endpoint, if it is another. None: it was
    disabled before.
    """
    row = await conn.fetchrow(DISABLE, endpoint_id, reason)
    if row is None:
        return None
    default: EndpointId | None = await conn.fetchval(FIND_DEFAULT, row["user_id"], endpoint_id)
    if default is not None:
        event_id = new_event_id()
        body = endpoint_disabled_body(
            event_id,
            endpoint_id=endpoint_id,
            url=row["url"],
            reason=reason,
            disabled_at=row["disabled_at"],
            failing_since=row["failing_since"],
            last_success_at=row["last_success_at"],
        )
        await insert_account_event(conn, event_id, default, EventType.ENDPOINT_DISABLED, body)
    return Disabled(endpoint_id=endpoint_id, reason=reason, told=default is not None)
