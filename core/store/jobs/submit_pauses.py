"""Pauses of paid submits: during a pause, no send of its scope begins; jobs already sent continue.

Rows are written as system; `begin_send` reads them in the transaction of the intent.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.domain.ids import UserId
from core.store.database import Connection

ALL: Final = "all"


def provider_scope(provider: str) -> str:
    """Return the scope of one provider."""
    return f"provider/{provider}"


def user_scope(user_id: UserId) -> str:
    """Return the scope of one user."""
    return f"user/{user_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A pause. scope: 'all', 'provider/NAME' or 'user/usr_…'."""

    scope: str
    reason: str
    created_at: datetime


PAUSE = "INSERT INTO submit_pauses (scope, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING scope"
RESUME = "DELETE FROM submit_pauses WHERE scope = $1 RETURNING scope"
LIST_PAUSES = "SELECT scope, reason, created_at FROM submit_pauses ORDER BY scope"
IS_PAUSED = "SELECT EXISTS (SELECT FROM submit_pauses WHERE scope = $1)"


async def pause(conn: Connection, scope: str, reason: str) -> bool:
    """Pause a scope: after COMMIT, no send of it begins.

    Return False if it was already paused; the first reason stays.
    """
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
