"""Stream tickets: each opens the event stream of one execution without an API key, once."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from core.domain.ids import ExecutionId, UserId
from core.store.database import Connection

TICKET_SECONDS: Final = 60
_BYTES: Final = 32

# Also deletes the user's expired tickets.
INSERT_TICKET = """
WITH expired AS (DELETE FROM stream_tickets WHERE user_id = $2 AND expires_at < now())
INSERT INTO stream_tickets (ticket_sha256, user_id, execution_id, credential, expires_at)
SELECT $1, e.user_id, e.execution_id, $4, now() + make_interval(secs => $5)
FROM executions AS e WHERE e.execution_id = $3 AND e.user_id = $2 AND e.deleted_at IS NULL
RETURNING expires_at
"""
TAKE_TICKET = """
DELETE FROM stream_tickets WHERE ticket_sha256 = $1 AND execution_id = $2 AND expires_at > now()
RETURNING user_id, credential
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTicket:
    """A ticket in clear, which is returned once; only its hash is stored."""

    text: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenTicket:
    """credential: the name of the key or token that the ticket was made with."""

    user_id: UserId
    credential: str


async def insert_ticket(
    conn: Connection, user_id: UserId, execution_id: ExecutionId, credential: str
) -> NewTicket | None:
    """Make a ticket. None: the execution does not exist, or is another user's."""
    text = secrets.token_urlsafe(_BYTES)
    arguments = (_hash(text), user_id, execution_id, credential, float(TICKET_SECONDS))
    expires_at = await conn.fetchval(INSERT_TICKET, *arguments)
    return NewTicket(text=text, expires_at=expires_at) if expires_at is not None else None


async def take_ticket(conn: Connection, text: str, execution_id: ExecutionId) -> TakenTicket | None:
    """Use a ticket up. None: it is unknown, used, expired or of another execution. As system."""
    row = await conn.fetchrow(TAKE_TICKET, _hash(text), execution_id)
    return TakenTicket(**dict(row)) if row is not None else None


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
