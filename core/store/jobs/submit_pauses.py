"""Pauses of paid submits in rows. While one is here, no create request of its scope begins; what
was sent goes on.

Written as system; begin_send reads them in the transaction of the intent.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.domain.ids import UserId
from core.store.database import Connection

ALL: Final = "all"


def provider_scope(provider: str) -> str:
    return f"provider/{provider}"


def user_scope(user_id: UserId) -> str:
    return f"user/{user_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """scope: 'all', 'provider/NAME' or 'user/usr_…'."""

    scope: str
    reason: str
    created_at: datetime


PAUSE = "INSERT INTO submit_pauses (scope, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING scope"
RESUME = "DELETE FROM submit_pauses WHERE scope = $1 RETURNING scope"
LIST_PAUSES = "SELECT scope, reason, created_at FROM submit_pauses ORDER BY scope"
IS_PAUSED = "SELECT EXISTS (SELECT FROM submit_pauses WHERE scope = $1)"


async def pause(conn: Connection, scope: str, reason: str) -> bool:
    """From its commit on no send of this scope begins. False: it was paused already; the first
    reason stays.
    """
    return await conn.fetchval(PAUSE, scope, reason) is not None


async def resume(conn: Connection, scope: str) -> bool:
    """Let sends of this scope begin, as far as no other pause forbids them. False: it was not
    paused.
    """
    return await conn.fetchval(RESUME, scope) is not None


async def list_pauses(conn: Connection) -> list[Pause]:
    return [Pause(**dict(row)) for row in await conn.fetch(LIST_PAUSES)]


async def is_paused(conn: Connection, scope: str) -> bool:
    """Whether this very scope is paused; a wider one may be, too."""
    return bool(await conn.fetchval(IS_PAUSED, scope))
