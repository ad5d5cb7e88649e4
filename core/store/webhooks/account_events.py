"""Events about the account or an endpoint, without an execution."""

from core.domain.ids import EndpointId, EventId
from core.domain.messages.webhooks import EventType
from core.store.database import Connection

INSERT_EVENT = """
INSERT INTO webhooks (event_id, user_id, type, url, endpoint_id, body)
SELECT $1, e.user_id, $3, e.url, e.endpoint_id, $4 FROM endpoints AS e WHERE e.endpoint_id = $2
ON CONFLICT DO NOTHING
RETURNING event_id
"""


async def insert_account_event(
    conn: Connection, event_id: EventId, endpoint_id: EndpointId, type_: EventType, body: bytes
) -> bool:
    """Store an event; the reconciler starts its delivery. False: it is stored already."""
    return await conn.fetchval(INSERT_EVENT, event_id, endpoint_id, type_, body) is not None
