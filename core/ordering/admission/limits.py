"""Limits that an order does not fit into: what it needs, what is left and when the limit resets."""

import math
from datetime import UTC, datetime
from typing import Final, TypeAlias

from core.domain.ids import UserId
from core.domain.money import NanoUsd
from core.domain.months import next_month
from core.ordering.admission.queues import retry_after_seconds
from core.ordering.errors import (
    DailyCapError,
    KeySpendLimitError,
    MediaLimitError,
    MonthlyBudgetError,
    OpenExecutionsError,
    OrderingError,
    QueueFullError,
)
from core.ordering.services import OrderingServices
from core.store.executions.limits import concurrency_counters
from core.store.executions.limits.concurrency_counters import OpenLimitReachedError
from core.store.executions.limits.media_seconds import MediaSecondsExceededError
from core.store.executions.views.status import get_budget_left
from core.store.money.charges import BudgetExceededError
from core.store.money.daily_spending_cap import ServiceBudgetExceededError, get_service_today
from core.store.money.key_spending import KeySpendLimitReachedError, find_key_spending

StoreLimitError: TypeAlias = (
    OpenLimitReachedError
    | concurrency_counters.QueueFullError
    | MediaSecondsExceededError
    | BudgetExceededError
    | KeySpendLimitReachedError
    | ServiceBudgetExceededError
)
STORE_LIMIT_ERRORS: Final = (
    OpenLimitReachedError,
    concurrency_counters.QueueFullError,
    MediaSecondsExceededError,
    BudgetExceededError,
    KeySpendLimitReachedError,
    ServiceBudgetExceededError,
)


class LimitReachedError(Exception):
    """Raised inside the accepting transaction to roll it back. needed_nano_usd: the new hold."""

    def __init__(self, error: StoreLimitError, needed_nano_usd: NanoUsd) -> None:
        super().__init__(error, needed_nano_usd)
        self.error = error
        self.needed_nano_usd = needed_nano_usd


async def explain_limit(
    services: OrderingServices, user_id: UserId, reached: LimitReachedError
) -> OrderingError:
    """Return the error for the caller.

    Call after the rollback: the accepting transaction holds locks on rows that other users' orders
    wait for.
    """
    error, needed = reached.error, reached.needed_nano_usd
    resets_at = next_month(datetime.now(UTC).date().replace(day=1))
    if isinstance(error, OpenLimitReachedError):
        return OpenExecutionsError(open_executions=error.open_executions, limit=error.limit)
    if isinstance(error, concurrency_counters.QueueFullError):
        return QueueFullError(
            waiting=error.waiting,
            running_limit=error.running_limit,
            wait_seconds=math.ceil(error.wait_seconds),
            limit_seconds=int(services.limits.longest_wait_seconds),
            retry_after_seconds=retry_after_seconds(error.wait_seconds, services.limits),
        )
    if isinstance(error, MediaSecondsExceededError):
        return MediaLimitError(
            needed_seconds=error.needed,
            left_seconds=error.left,
            limit_seconds=error.limit,
            resets_at=resets_at,
        )
    async with services.database.reading_as(user_id) as conn:
        if isinstance(error, BudgetExceededError):
            left = await get_budget_left(conn, user_id)
            return MonthlyBudgetError(
                needed_nano_usd=needed,
                left_nano_usd=left.nano_usd,
                left_videos=left.videos,
                resets_at=resets_at,
            )
        if isinstance(error, KeySpendLimitReachedError):
            spending = await find_key_spending(conn, user_id, error.key_id)
            if spending is None:
                raise LookupError(f"no key {error.key_id}")
            period = spending.of(error.period)
            return KeySpendLimitError(
                key_id=error.key_id,
                period=error.period,
                needed_nano_usd=needed,
                limit_nano_usd=period.limit_nano_usd,
                held_nano_usd=period.held_nano_usd,
                settled_nano_usd=period.settled_nano_usd,
                left_nano_usd=period.left_nano_usd,
                resets_at=period.resets_at,
            )
        today = await get_service_today(conn)
    # The error does not include what is left: that would reveal what other users spend.
    return DailyCapError(
        needed_nano_usd=needed,
        resets_at=today.resets_at,
        retry_after_seconds=today.resets_in_seconds,
    )
