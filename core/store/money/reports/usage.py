"""A user's usage of a month: totals, days, models and reached thresholds. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from core.domain.ids import UserId
from core.domain.money import NanoUsd
from core.domain.months import Measure
from core.store.database import Connection

GET_MONTHS = """
SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date AS this_month,
       coalesce($1::date, date_trunc('month', now() AT TIME ZONE 'UTC')::date) AS budget_month
"""

GET_TOTALS = """
SELECT u.monthly_nano_usd_limit, u.monthly_videos_limit, u.media_seconds_limit,
       coalesce(b.held_nano_usd, 0) AS held_nano_usd, coalesce(b.settled_nano_usd, 0) AS settled_nano_usd,
       coalesce(b.held_videos, 0) AS held_videos, coalesce(b.settled_videos, 0) AS settled_videos
FROM users AS u LEFT JOIN budgets AS b ON b.user_id = u.user_id AND b.budget_month = $2
WHERE u.user_id = $1
"""

# Money counts on the day of its hold, a video on the day it was last queued. What happened after
# the month counts on the month's last day. Triggers on charges and executions keep these sums.
LIST_DAYS = """
WITH money AS (
    SELECT day, sum(held_nano_usd) AS held, sum(settled_nano_usd) AS settled
    FROM usage_money WHERE user_id = $1 AND budget_month = $2 AND jobs > 0 GROUP BY 1
),
videos AS (
    SELECT day, held_videos AS held, settled_videos AS settled
    FROM usage_videos WHERE user_id = $1 AND budget_month = $2 AND (held_videos <> 0 OR settled_videos <> 0)
)
SELECT day, coalesce(money.held, 0)::bigint AS held_nano_usd, coalesce(money.settled, 0)::bigint AS settled_nano_usd,
       coalesce(videos.held, 0) AS held_videos, coalesce(videos.settled, 0) AS settled_videos
FROM money FULL JOIN videos USING (day) ORDER BY day
"""

LIST_MODELS = """
SELECT provider, model, sum(jobs)::bigint AS jobs, sum(held_nano_usd)::bigint AS held_nano_usd,
       sum(settled_nano_usd)::bigint AS settled_nano_usd
FROM usage_money WHERE user_id = $1 AND budget_month = $2 AND jobs > 0
GROUP BY provider, model ORDER BY provider, model
"""

# By the day of the end of each media step.
GET_MEDIA_MS = """
SELECT coalesce(sum(processor_ms), 0)::bigint AS media_ms FROM usage_media
WHERE user_id = $1 AND day >= $2::date AND day < $2::date + interval '1 month'
"""

LIST_THRESHOLDS = """
SELECT measure, percent, reached_at FROM budget_alerts
WHERE user_id = $1 AND budget_month = $2 ORDER BY measure, percent
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Use against a limit. held: reserved; settled: billed or made. limit None: no limit."""

    limit: int | None
    held: int
    settled: int

    @property
    def left(self) -> int | None:
        """Return what is left; zero after an overage, None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.held - self.settled)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUsage:
    """The usage of one day (UTC)."""

    day: date
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    held_videos: int
    settled_videos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """The usage of one model. jobs: the number of jobs with a charge."""

    provider: str
    model: str
    jobs: int
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedThreshold:
    """A threshold of the month's budget that was reached."""

    measure: Measure
    percent: int
    reached_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A month's usage. month: its first day. The limits are the present ones for every month.

    media_ms: the processor time of media steps, in milliseconds. media_seconds_limit: the user's
    own limit; None: the default from the settings.
    """

    month: date
    is_present: bool
    nano_usd: Used
    videos: Used
    days: Sequence[DayUsage]
    models: Sequence[ModelUsage]
    thresholds: Sequence[ReachedThreshold]
    media_ms: int = 0
    media_seconds_limit: int | None = None


async def get_usage(conn: Connection, user_id: UserId, month: date | None = None) -> Usage:
    """Return the usage of a month, by default the present one (UTC). month: its first day.

    Call it in a `reading_as` transaction, so that its reads see one snapshot. Raises LookupError
    for an unknown user.
    """
    (months,) = await conn.fetch(GET_MONTHS, month)
    budget_month: date = months["budget_month"]
    row = await conn.fetchrow(GET_TOTALS, user_id, budget_month)
    if row is None:
        raise LookupError(f"no user {user_id}")
    (media,) = await conn.fetch(GET_MEDIA_MS, user_id, budget_month)
    return Usage(
        month=budget_month,
        is_present=budget_month == months["this_month"],
        nano_usd=Used(
            limit=row["monthly_nano_usd_limit"],
            held=row["held_nano_usd"],
            settled=row["settled_nano_usd"],
        ),
        videos=Used(
            limit=row["monthly_videos_limit"],
            held=row["held_videos"],
            settled=row["settled_videos"],
        ),
        days=[
            DayUsage(**dict(item)) for item in await conn.fetch(LIST_DAYS, user_id, budget_month)
        ],
        models=[
            ModelUsage(**dict(item))
            for item in await conn.fetch(LIST_MODELS, user_id, budget_month)
        ],
        media_ms=media["media_ms"],
        media_seconds_limit=row["media_seconds_limit"],
        thresholds=[
            ReachedThreshold(
                measure=Measure(item["measure"]),
                percent=item["percent"],
                reached_at=item["reached_at"],
            )
            for item in await conn.fetch(LIST_THRESHOLDS, user_id, budget_month)
        ],
    )
