"""Sessions of the web console, which are short-lived API keys, and tickets that open one."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from core.domain.ids import UserId, new_key_id
from core.domain.scopes import Scope
from core.store.accounts.api_key_format import ApiKey, new_api_key
from core.store.database import Connection

SESSION_SECONDS: Final = 12 * 3600
TICKET_SECONDS: Final = 15 * 60
"""Time to open the printed link in a browser."""
_TICKET_BYTES: Final = 32
_NAME: Final = "web console"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session in clear: it is in the cookie and nowhere else."""

    key: ApiKey = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """user_name: of the account."""

    user_id: UserId
    user_name: str
    scopes: frozenset[Scope]
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTicket:
    """A ticket in clear, which is returned once; only its hash is stored."""

    text: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenTicket:
    """made_by: the key id or the token's subject that the ticket was made with."""

    user_id: UserId
    made_by: str
    scopes: frozenset[Scope]


# Also deletes the user's expired sessions. A session does not outlive the key that made it.
INSERT_SESSION = """
WITH expired AS (DELETE FROM api_keys WHERE user_id = $2 AND is_session AND expires_at < now())
INSERT INTO api_keys (key_id, user_id, name, prefix, secret_sha256, scopes, made_by, expires_at, is_session)
SELECT $1, $2, $3, $4, $5, $6, $7, least(now() + make_interval(secs => $8), maker.expires_at), true
FROM users AS u LEFT JOIN api_keys AS maker ON maker.key_id = $7 AND maker.user_id = u.user_id
WHERE u.user_id = $2
RETURNING expires_at
"""


async def insert_session(
    conn: Connection, user_id: UserId, scopes: Collection[Scope], made_by: str
) -> NewSession:
    """Create a session. As system, which may delete the expired ones.

    made_by: the id of the key, or the subject of the token, that opens it.
    """
    key = new_api_key()
    expires_at = await conn.fetchval(
        INSERT_SESSION,
        new_key_id(),
        user_id,
        _NAME,
        key.prefix,
        key.secret_sha256,
        sorted(scopes),
        made_by,
        float(SESSION_SECONDS),
    )
    return NewSession(key=key, expires_at=expires_at)


FIND_SESSION = """
SELECT u.user_id, u.name AS user_name, k.scopes, k.expires_at
FROM api_keys AS k JOIN users AS u ON u.user_id = k.user_id
WHERE k.user_id = $1 AND k.prefix = $2 AND k.is_session
"""


async def find_session(conn: Connection, user_id: UserId, key: ApiKey) -> Session | None:
    """Return the session of a key. None: the key is not a session."""
    row = await conn.fetchrow(FIND_SESSION, user_id, key.prefix)
    if row is None:
        return None
    return Session(
        user_id=UserId(row["user_id"]),
        user_name=row["user_name"],
        scopes=frozenset(map(Scope, row["scopes"])),
        expires_at=row["expires_at"],
    )


REVOKE_SESSION = """
UPDATE api_keys SET revoked_at = now()
WHERE prefix = $1 AND secret_sha256 = $2 AND is_session AND revoked_at IS NULL
"""


async def revoke_session(conn: Connection, key: ApiKey) -> None:
    """End a session. As system. Repeating is safe."""
    await conn.execute(REVOKE_SESSION, key.prefix, key.secret_sha256)


# Also deletes the user's expired tickets.
INSERT_CONSOLE_TICKET = """
WITH expired AS (DELETE FROM console_tickets WHERE user_id = $2 AND expires_at < now())
INSERT INTO console_tickets (ticket_sha256, user_id, made_by, scopes, expires_at)
VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5))
RETURNING expires_at
"""
TAKE_CONSOLE_TICKET = """
DELETE FROM console_tickets WHERE ticket_sha256 = $1 AND expires_at > now()
RETURNING user_id, made_by, scopes
"""


async def insert_console_ticket(
    conn: Connection, user_id: UserId, scopes: Collection[Scope], made_by: str
) -> NewTicket:
    """Make a ticket for a session with these scopes."""
    text = secrets.token_urlsafe(_TICKET_BYTES)
    expires_at = await conn.fetchval(
        INSERT_CONSOLE_TICKET, _hash(text), user_id, made_by, sorted(scopes), float(TICKET_SECONDS)
    )
    return NewTicket(text=text, expires_at=expires_at)


async def take_console_ticket(conn: Connection, text: str) -> TakenTicket | None:
    """Use a ticket up. None: it is unknown, used or expired. As system."""
    row = await conn.fetchrow(TAKE_CONSOLE_TICKET, _hash(text))
    if row is None:
        return None
    return TakenTicket(
        user_id=UserId(row["user_id"]),
        made_by=row["made_by"],
        scopes=frozenset(map(Scope, row["scopes"])),
    )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
