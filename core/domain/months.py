"""Budget months (calendar months in UTC, named by their first day) and their thresholds."""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

THRESHOLD_PERCENTS: Final = (50, 80, 100)
"""Percentages of a month's limit; each causes one event per month."""


class Measure(StrEnum):
    """What a month's budget counts."""

    USD = "usd"
    VIDEOS = "videos"


def next_month(month: date) -> datetime:
    """Return the start of the next month, when the usage of this one no longer counts."""
    year, index = divmod(month.year * 12 + month.month, 12)
    return datetime(year, index + 1, 1, tzinfo=UTC)


def reached_percents(limit: int | None, used: int) -> tuple[int, ...]:
    """Return the thresholds that are reached; none without a limit or without usage."""
    if limit is None or used <= 0:
        return ()
    return tuple(percent for percent in THRESHOLD_PERCENTS if used * 100 >= limit * percent)
