"""The service-wide daily spending cap: what is held and spent per day (UTC) of the hold.

The day's row is shared by all users: it is locked last before COMMIT, after every other lock.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from core.domain.money import NanoUsd
from core.store.database import Connection, last_before_commit


class ServiceBudgetExceededError(Exception):
    """The daily spending cap is reached. The transaction writes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayMove:
    """The amounts by which an ended charge lowers the held and raises the settled of its day."""

    day: date
    held_nano_usd: int
    settled_nano_usd: int


MOVE_DAY = """
INSERT INTO daily_spending AS d (day, held_nano_usd, settled_nano_usd)
VALUES ($1, greatest(-$2::bigint, 0), greatest($3::bigint, 0))
ON CONFLICT (day) DO UPDATE
SET held_nano_usd = d.held_nano_usd - $2::bigint, settled_nano_usd = d.settled_nano_usd + $3::bigint
"""


async def move_days(conn: Connection, moves: Iterable[DayMove]) -> None:
    """Apply moves to their days right before COMMIT; the cap is not checked."""
    days: dict[date, tuple[int, int]] = {}
    for move in moves:
        held, settled = days.get(move.day, (0, 0))
        days[move.day] = (held + move.held_nano_usd, settled + move.settled_nano_usd)
    for day, amounts in days.items():
        # The ISO date as the order: days are locked from the oldest to the newest.
        await last_before_commit(conn, day.isoformat(), partial(_move_day, day, *amounts))


async def _move_day(day: date, held: int, settled: int, conn: Connection) -> None:
    await conn.execute(MOVE_DAY, day, held, settled)


GET_SERVICE = """
SELECT (now() AT TIME ZONE 'UTC')::date AS day, l.daily_nano_usd,
       coalesce(d.held_nano_usd, 0) AS held_nano_usd, coalesce(d.settled_nano_usd, 0) AS settled_nano_usd,
       ((now() AT TIME ZONE 'UTC')::date + 1)::timestamp AT TIME ZONE 'UTC' AS resets_at,
       ceil(extract(epoch FROM ((now() AT TIME ZONE 'UTC')::date + 1)::timestamp AT TIME ZONE 'UTC' - now()))::bigint
           AS resets_in_seconds
FROM service_limits AS l LEFT JOIN daily_spending AS d ON d.day = (now() AT TIME ZONE 'UTC')::date
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceToday:
    """Today's cap and spending. daily_nano_usd: None for no cap. resets_at: midnight UTC."""

    day: date
    daily_nano_usd: NanoUsd | None
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    resets_at: datetime
    resets_in_seconds: int


async def get_service_today(conn: Connection) -> ServiceToday:
    """Return today's cap and spending."""
    (row,) = await conn.fetch(GET_SERVICE)
    return ServiceToday(**dict(row))


SET_DAILY_LIMIT = """
UPDATE service_limits AS l SET daily_nano_usd = $1
FROM (SELECT daily_nano_usd FROM service_limits FOR UPDATE) AS old
RETURNING old.daily_nano_usd
"""


async def set_daily_limit(conn: Connection, daily_nano_usd: NanoUsd | None) -> NanoUsd | None:
    """Set the cap for new holds and return the old one; existing holds stay."""
    old: NanoUsd | None = await conn.fetchval(SET_DAILY_LIMIT, daily_nano_usd)
    return old
