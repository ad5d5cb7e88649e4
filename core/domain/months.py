"""Months and their thresholds. A month is a calendar month in UTC, named by its first day."""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

THRESHOLD_PERCENTS: Final = (50, 80, 100)
"""Of a month's limit; a user hears of each once."""


class Measure(StrEnum):
    """What a month's budget counts."""

    USD = "usd"
    VIDEOS = "videos"


def next_month(month: date) -> datetime:
    """When the month after this one begins: what was used no longer counts."""
    year, index = divmod(month.year * 12 + month.month, 12)
    return datetime(year, index + 1, 1, tzinfo=UTC)


def reached_percents(limit: int | None, used: int) -> tuple[int, ...]:
    """The thresholds of a limit that are reached; none without a limit, nor while nothing
    is used.
    """
    if limit is None or used <= 0:
        return ()
    return tuple(percent for percent in THRESHOLD_PERCENTS if used * 100 >= limit * percent)
