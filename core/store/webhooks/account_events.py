"""Events that concern no execution: about the account, or about an endpoint. Its endpoint's secret
signs each.
"""

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
    """Store an event to deliver. False if it is there already (repeating is safe). The sweep starts
    its delivery.
    """
    return await conn.fetchval(INSERT_EVENT, event_id, endpoint_id, type_, body) is not None
