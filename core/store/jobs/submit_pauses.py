"""Pauses of paid submits: during a pause, no send of its scope begins; jobs already sent continue.

Rows are written as system; `begin_send` reads them in the transaction of the intent. An intent
holds a shared lock from before that read to its COMMIT, and a new pause waits for it. So every
intent is either committed before the pause, or sees it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.domain.ids import UserId
from core.store.database import Connection

ALL: Final = "all"
DATABASE: Final = "database"
"""All submits, until a restored database is recovered. Operators pause and resume ALL instead."""
LOCK_KEY: Final = 0x7A4B_0004
LOCK_TIMEOUT_SECONDS: Final = 30.0
"""Longer than the server allows a transaction to be idle, so that a stalled intent cannot prevent
a pause.
"""


def provider_scope(provider: str) -> str:
    """Return the scope of one provider."""
    return f"provider/{provider}"


def user_scope(user_id: UserId) -> str:
    """Return the scope of one user."""
    return f"user/{user_id}"


def model_scope(model: str) -> str:
    """Return the scope of one model, at every provider that has a model of this name."""
    return f"model/{model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause. scope: 'all', 'database', 'provider/NAME', 'model/NAME' or 'user/usr_…'."""

    scope: str
    reason: str
    created_at: datetime


LOCK_INTENTS = "SELECT pg_advisory_xact_lock($1)"
PAUSE = "INSERT INTO submit_pauses (scope, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING scope"
RESUME = "DELETE FROM submit_pauses WHERE scope = $1 RETURNING scope"
LIST_PAUSES = "SELECT scope, reason, created_at FROM submit_pauses ORDER BY scope"
IS_PAUSED = "SELECT EXISTS (SELECT FROM submit_pauses WHERE scope = $1)"


async def pause(conn: Connection, scope: str, reason: str) -> bool:
    """Pause a scope: after COMMIT, no intent to send in it is committed.

    Wait for intents that are being committed. Return False if the scope was already paused; the
    first reason stays.
    """
    await conn.execute(LOCK_INTENTS, LOCK_KEY, timeout=LOCK_TIMEOUT_SECONDS)
    return await conn.fetchval(PAUSE, scope, reason) is not None


async def resume(conn: Connection, scope: str) -> bool:
    """End the pause of a scope; other pauses may still apply. Return False if it was not paused."""
    return await conn.fetchval(RESUME, scope) is not None


async def list_pauses(conn: Connection) -> list[Pause]:
    """List all pauses by scope."""
    return [Pause(**dict(row)) for row in await conn.fetch(LIST_PAUSES)]


async def is_paused(conn: Connection, scope: str) -> bool:
    """Return whether exactly this scope is paused; a wider scope may be paused in addition."""
    return bool(await conn.fetchval(IS_PAUSED, scope))
