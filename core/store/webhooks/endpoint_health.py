"""Endpoint health, updated in the transaction that records a delivery attempt."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.domain.ids import EndpointId, new_event_id
from core.domain.messages.webhooks import DisabledReason, EventType
from core.domain.webhook_payload import endpoint_disabled_body
from core.store.database import Connection
from core.store.webhooks.account_events import insert_account_event

DISABLE_FAILING_AFTER: Final = timedelta(days=5)
"""An endpoint with only failures for this long is disabled. Longer than the retry schedule of one
webhook, so that one undeliverable webhook is not enough.
"""
FAILING_GAP: Final = timedelta(hours=48)
"""Failures with a longer gap do not belong to one run of failures. Longer than any delay of the
retry schedule and than the longest Retry-After that is honoured.
"""

# Not every success of a busy endpoint writes its row, only one that changes something.
NOTE_SUCCESS = """
UPDATE endpoints SET last_success_at = now(), failing_since = NULL
WHERE endpoint_id = $1
  AND (failing_since IS NOT NULL OR last_success_at IS NULL OR last_success_at < now() - interval '1 minute')
"""


async def note_success(conn: Connection, endpoint_id: EndpointId) -> None:
    """Record a successful attempt."""
    await conn.execute(NOTE_SUCCESS, endpoint_id)


NOTE_FAILURE = """
UPDATE endpoints
SET last_failure_at = now(),
    failing_since = CASE WHEN last_failure_at > now() - $2::interval THEN coalesce(failing_since, now()) ELSE now() END
WHERE endpoint_id = $1
RETURNING failing_since < now() - $3::interval
"""


async def note_failure(conn: Connection, endpoint_id: EndpointId) -> bool:
    """Record a failed attempt. True: every attempt has failed for DISABLE_FAILING_AFTER."""
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
    """A disabled endpoint. notified: an event was stored for the default endpoint."""

    endpoint_id: EndpointId
    reason: DisabledReason
    notified: bool


async def disable(
    conn: Connection, endpoint_id: EndpointId, reason: DisabledReason
) -> Disabled | None:
    """Disable an endpoint and store an event for the default endpoint, if that is another one.

    None: it was disabled before.
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
    return Disabled(endpoint_id=endpoint_id, reason=reason, notified=default is not None)
