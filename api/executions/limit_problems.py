"""What a limit refuses: what was asked for, what is left, and when there is more."""

from collections.abc import Sequence
from datetime import UTC, datetime

from api.http.problems import ProblemError
from api.http.schemas import time_text
from api.services import Services
from core.domain.failures import FailureCode
from core.domain.ids import UserId
from core.domain.money import NanoUsd, usd_text
from core.domain.months import next_month
from core.domain.plans import Step
from core.store.executions.concurrency_counters import OpenLimitReachedError
from core.store.executions.status import get_budget_left
from core.store.money.charges import BudgetExceededError
from core.store.money.daily_spending_cap import ServiceBudgetExceededError, get_service_today

NO_ROOM = (OpenLimitReachedError, BudgetExceededError, ServiceBudgetExceededError)
"""What an order may be refused by in its transaction. Everything is rolled back."""
NoRoom = OpenLimitReachedError | BudgetExceededError | ServiceBudgetExceededError
NOTHING = NanoUsd(0)
OPEN_RETRY_SECONDS = 15
"""What a client is told to wait for one of its executions to end: most take some minutes, and it
has many.
"""


async def no_room_problem(
    services: Services, user_id: UserId, error: NoRoom, needed_nano_usd: NanoUsd
) -> ProblemError:
    """Of an order that was refused in its transaction, outside of it."""
    match error:
        case OpenLimitReachedError():
            return _open_problem(error)
        case BudgetExceededError():
            return await _budget_problem(services, user_id, needed_nano_usd)
        case ServiceBudgetExceededError():
            return await _service_problem(services, user_id, needed_nano_usd)


def max_cost_problem(
    max_cost_nano_usd: NanoUsd,
    worst: Sequence[tuple[Step, NanoUsd]],
    *,
    before_nano_usd: NanoUsd = NOTHING,
) -> ProblemError:
    """worst: the most that each step to be bought may cost. before: spent and held already, by
    earlier purchases.
    """
    limit, before = usd_text(max_cost_nano_usd), usd_text(before_nano_usd)
    needed = usd_text(sum(price for _, price in worst))
    spent = f" and {before} USD are spent or held for it already" if before_nano_usd else ""
    named = ", ".join(f"{step.name} at most {usd_text(price)} USD" for step, price in worst)
    steps = [
        {
            "step": step.name,
            "provider": step.provider,
            "model": step.model,
            "atMost": usd_text(price),
        }
        for step, price in worst
    ]
    members = {
        "currency": "USD",
        "maxCost": limit,
        "before": before,
        "needed": needed,
        "steps": steps,
    }
    return ProblemError(
        FailureCode.MAX_COST_EXCEEDED,
        f"It may cost {needed} USD ({named}){spent}; its maxCost is {limit} USD.",
        members={"cost": members},
    )


def _open_problem(error: OpenLimitReachedError) -> ProblemError:
    return ProblemError(
        FailureCode.OPEN_LIMIT_REACHED,
        f"{error.open_executions} executions have not ended, of at most {error.limit}. Try again when one has.",
        members={"executions": {"open": error.open_executions, "limit": error.limit}},
        headers={"Retry-After": str(OPEN_RETRY_SECONDS)},
    )


async def _budget_problem(
    services: Services, user_id: UserId, needed_nano_usd: NanoUsd
) -> ProblemError:
    async with services.database.reading_as(user_id) as conn:
        left = await get_budget_left(conn, user_id)
    needed = usd_text(needed_nano_usd)
    left_usd = None if left.nano_usd is None else usd_text(left.nano_usd)
    resets_at = time_text(next_month(datetime.now(UTC).date().replace(day=1)))
    parts = [
        None if left_usd is None else f"{left_usd} USD",
        None if left.videos is None else f"{left.videos} videos",
    ]
    named = ", ".join(part for part in parts if part is not None)
    return ProblemError(
        FailureCode.BUDGET_EXCEEDED,
        f"It may cost {needed} USD and 1 video; until {resets_at} there are left: {named}.",
        members={
            "budget": {
                "currency": "USD",
                "needed": needed,
                "left": left_usd,
                "videosLeft": left.videos,
                "resetsAt": resets_at,
            }
        },
    )


async def _service_problem(
    services: Services, user_id: UserId, needed_nano_usd: NanoUsd
) -> ProblemError:
    """What is left of everybody's is nobody's business."""
    async with services.database.reading_as(user_id) as conn:
        today = await get_service_today(conn)
    needed, resets_at = usd_text(needed_nano_usd), time_text(today.resets_at)
    return ProblemError(
        FailureCode.SERVICE_BUDGET_EXCEEDED,
        f"It may cost {needed} USD; this service takes no more until {resets_at}.",
        members={"budget": {"currency": "USD", "needed": needed, "resetsAt": resets_at}},
        headers={"Retry-After": str(today.resets_in_seconds)},
    )
