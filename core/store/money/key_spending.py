"""Spend limits of API keys, and the counters that orders are checked against.

A charge counts for the key whose request ordered it, on the day and in the month (UTC) of its hold.
The counters change in the statements that change the user's budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from core.domain.ids import KeyId, UserId
from core.domain.money import NanoUsd
from core.store.database import Connection


class Period(StrEnum):
    """The periods of a spend limit, in UTC."""

    DAY = "day"
    MONTH = "month"


class KeySpendLimitReachedError(Exception):
    """The spend limit of the key is exceeded. The transaction writes nothing."""

    def __init__(self, key_id: KeyId, period: Period) -> None:
        super().__init__(key_id, period)
        self.key_id = key_id
        self.period = period


class AdminKeyError(Exception):
    """A key with the scope `admin` cannot have a spend limit: it could create a key without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimit:
    """The limits of a key. None: no limit."""

    daily_nano_usd: NanoUsd | None = None
    monthly_nano_usd: NanoUsd | None = None

    @property
    def is_set(self) -> bool:
        return self.daily_nano_usd is not None or self.monthly_nano_usd is not None


NO_LIMIT = SpendLimit()


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodSpending:
    """What a key holds and has spent in the present period. limit_nano_usd: None for no limit."""

    limit_nano_usd: NanoUsd | None
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    resets_at: datetime

    @property
    def left_nano_usd(self) -> NanoUsd | None:
        """Return what can still be held, at least 0."""
        if self.limit_nano_usd is None:
            return None
        used = self.held_nano_usd + self.settled_nano_usd
        return NanoUsd(max(0, self.limit_nano_usd - used))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpending:
    """The spending of a key today and in this month."""

    key_id: KeyId
    day: PeriodSpending
    month: PeriodSpending

    def of(self, period: Period) -> PeriodSpending:
        return self.day if period is Period.DAY else self.month


LIST_SPENDING = """
SELECT k.key_id, k.daily_nano_usd_limit AS day_limit, k.monthly_nano_usd_limit AS month_limit,
       coalesce(d.held_nano_usd, 0) AS day_held, coalesce(d.settled_nano_usd, 0) AS day_settled,
       coalesce(m.held_nano_usd, 0) AS month_held, coalesce(m.settled_nano_usd, 0) AS month_settled,
       (t.today + 1)::timestamp AT TIME ZONE 'UTC' AS day_resets_at,
       (t.month + interval '1 month') AT TIME ZONE 'UTC' AS month_resets_at
FROM api_keys AS k
CROSS JOIN (SELECT (now() AT TIME ZONE 'UTC')::date AS today, date_trunc('month', now() AT TIME ZONE 'UTC') AS month)
    AS t
LEFT JOIN key_spending AS d ON d.key_id = k.key_id AND d.period = 'day' AND d.starts_on = t.today
LEFT JOIN key_spending AS m ON m.key_id = k.key_id AND m.period = 'month' AND m.starts_on = t.month::date
WHERE k.user_id = $1 AND k.key_id = coalesce($2, k.key_id)
"""


async def list_key_spending(conn: Connection, user_id: UserId) -> dict[KeyId, KeySpending]:
    """Return the spending of each key of a user."""
    spending = await _list(conn, user_id, None)
    return {item.key_id: item for item in spending}


async def find_key_spending(conn: Connection, user_id: UserId, key_id: KeyId) -> KeySpending | None:
    """Return the spending of a key; None: the user has no such key."""
    spending = await _list(conn, user_id, key_id)
    return spending[0] if spending else None


async def _list(conn: Connection, user_id: UserId, key_id: KeyId | None) -> Sequence[KeySpending]:
    return [
        KeySpending(
            key_id=row["key_id"], day=_spending(row, Period.DAY), month=_spending(row, Period.MONTH)
        )
        for row in await conn.fetch(LIST_SPENDING, user_id, key_id)
    ]


def _spending(row: Any, period: Period) -> PeriodSpending:
    return PeriodSpending(
        limit_nano_usd=row[f"{period}_limit"],
        held_nano_usd=row[f"{period}_held"],
        settled_nano_usd=row[f"{period}_settled"],
        resets_at=row[f"{period}_resets_at"],
    )


LOCK_LIMIT = """
SELECT user_id, daily_nano_usd_limit, monthly_nano_usd_limit, 'admin' = ANY (scopes) AS is_admin
FROM api_keys WHERE key_id = $1 AND user_id = coalesce($2, user_id) FOR NO KEY UPDATE
"""
SET_LIMIT = (
    "UPDATE api_keys SET daily_nano_usd_limit = $2, monthly_nano_usd_limit = $3 WHERE key_id = $1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLimit:
    """The limit of a key whose row is locked until COMMIT. is_admin: it cannot have a limit."""

    key_id: KeyId
    limit: SpendLimit
    is_admin: bool


async def lock_spend_limit(
    conn: Connection, key_id: KeyId, *, user_id: UserId | None = None
) -> LockedLimit:
    """Return the limit of a key. user_id: None as an operator. Raises LookupError: no such key."""
    row = await conn.fetchrow(LOCK_LIMIT, key_id, user_id)
    if row is None:
        raise LookupError(f"no key {key_id}")
    limit = SpendLimit(
        daily_nano_usd=row["daily_nano_usd_limit"], monthly_nano_usd=row["monthly_nano_usd_limit"]
    )
    return LockedLimit(key_id=key_id, limit=limit, is_admin=row["is_admin"])


async def set_spend_limit(conn: Connection, locked: LockedLimit, limit: SpendLimit) -> None:
    """Set the limit of a key from the next hold on. Raises AdminKeyError.

    What is held or spent stays, also above a lower limit. Repeating is safe.
    """
    if locked.is_admin and limit.is_set:
        raise AdminKeyError
    await conn.execute(SET_LIMIT, locked.key_id, limit.daily_nano_usd, limit.monthly_nano_usd)
