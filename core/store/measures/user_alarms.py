"""Alarms of single users: sudden spending, and reached limits. As system."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.ids import UserId
from core.domain.money import NanoUsd
from core.store.database import Connection

# Charge ids sort by their time, so the charges of the last hour are a range of the primary key.
# Orders of the hour count by their holds, and by their costs once these are known.
RECORD_SPIKES = """
WITH recent AS (
    SELECT user_id, sum(CASE WHEN state = 'held' THEN held_nano_usd ELSE settled_nano_usd END)::bigint AS nano_usd
    FROM charges
    WHERE charge_id >= 'chg_' || lpad(to_hex((extract(epoch FROM now() - interval '1 hour') * 1000)::bigint), 12, '0')
    GROUP BY user_id
), spikes AS (
    SELECT recent.user_id, recent.nano_usd, usual.nano_usd AS usual_nano_usd
    FROM recent
    CROSS JOIN (SELECT (now() AT TIME ZONE 'UTC')::date AS day) AS today
    CROSS JOIN LATERAL (
        SELECT coalesce(max(days.nano_usd), 0)::bigint AS nano_usd
        FROM (SELECT sum(u.held_nano_usd + u.settled_nano_usd) AS nano_usd FROM usage_money AS u
              WHERE u.user_id = recent.user_id AND u.budget_month >= date_trunc('month', today.day - 7)::date
                AND u.day BETWEEN today.day - 7 AND today.day - 1
              GROUP BY u.day) AS days
    ) AS usual
    WHERE recent.nano_usd >= $1 AND recent.nano_usd > usual.nano_usd
)
INSERT INTO user_spend_spikes (user_id, day, nano_usd, usual_nano_usd)
SELECT user_id, (now() AT TIME ZONE 'UTC')::date, nano_usd, usual_nano_usd FROM spikes
ON CONFLICT DO NOTHING
RETURNING user_id, nano_usd, usual_nano_usd
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendSpike:
    """An hour of a user. usual_nano_usd: of the most expensive of the seven days before."""

    user_id: UserId
    nano_usd: NanoUsd
    usual_nano_usd: NanoUsd


async def record_spikes(conn: Connection, *, least_nano_usd: int) -> list[SpendSpike]:
    """Record the users whose last hour cost more than any of their last seven days.

    Return those that were not recorded today. Repeating is safe.
    """
    return [SpendSpike(**dict(row)) for row in await conn.fetch(RECORD_SPIKES, least_nano_usd)]


LIST_ALARMS = """
SELECT at, user_id, 'spend_spike' AS alarm, nano_usd, usual_nano_usd, NULL::integer AS percent
FROM user_spend_spikes WHERE at > now() - make_interval(days => $1)
UNION ALL
SELECT reached_at, user_id, 'monthly_' || measure, NULL, NULL, percent
FROM budget_alerts WHERE reached_at > now() - make_interval(days => $1)
ORDER BY at DESC, user_id LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAlarm:
    """An alarm: spend_spike with its amounts, monthly_usd or monthly_videos with a percentage."""

    at: datetime
    user_id: UserId
    alarm: str
    nano_usd: NanoUsd | None
    usual_nano_usd: NanoUsd | None
    percent: int | None


async def list_alarms(conn: Connection, *, days: int, limit: int) -> list[UserAlarm]:
    """Return the alarms of the last days, the latest first."""
    return [UserAlarm(**dict(row)) for row in await conn.fetch(LIST_ALARMS, days, limit)]
