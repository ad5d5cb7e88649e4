"""Budget counters: what an ended charge moves from held to settled, for its month and its day.

The month is the hot row of a user, the day the hot row of the whole service: both are updated last
before COMMIT, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from asyncpg import Record

from core.domain.ids import ExecutionId, UserId
from core.store.database import Connection
from core.store.money.budget_alerts import note_thresholds
from core.store.money.daily_spending_cap import DayMove, move_days

MOVE_BUDGET = """
UPDATE budgets
SET held_nano_usd = held_nano_usd - $3, settled_nano_usd = settled_nano_usd + $4
WHERE user_id = $1 AND budget_month = $2
"""
COUNT_VIDEO = """
UPDATE budgets AS b
SET held_videos = b.held_videos - 1, settled_videos = b.settled_videos + $2
FROM executions AS e
WHERE e.execution_id = $1 AND b.user_id = e.user_id AND b.budget_month = e.budget_month
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetMove:
    """The change that an ended charge makes to its month and its day; apply it exactly once."""

    user_id: UserId
    budget_month: date
    day: DayMove


def budget_move(charge: Record, held_nano_usd: int, settled_nano_usd: int) -> BudgetMove:
    """Return the move that releases and settles these amounts for a charge of LOCK_CHARGE."""
    day = DayMove(
        day=charge["budget_day"], held_nano_usd=held_nano_usd, settled_nano_usd=settled_nano_usd
    )
    return BudgetMove(user_id=charge["user_id"], budget_month=charge["budget_month"], day=day)


async def move_budget(conn: Connection, move: BudgetMove) -> None:
    """Apply a move, last in a transaction that ends the money of one job."""
    await _move_month(conn, move)
    if move.day.settled_nano_usd > move.day.held_nano_usd:  # an overage can cross a threshold
        await note_thresholds(conn, move.user_id, move.budget_month)
    await move_days(conn, [move.day])


async def end_holds(
    conn: Connection, execution_id: ExecutionId, moves: Sequence[BudgetMove], *, completed: bool
) -> None:
    """Apply the moves of an execution's unsent jobs and count its video, when it ends."""
    for move in moves:
        await _move_month(conn, move)
    await count_video(conn, execution_id, completed=completed)
    await move_days(conn, [move.day for move in moves])


async def count_video(conn: Connection, execution_id: ExecutionId, *, completed: bool) -> None:
    """Release the month's hold of one video; it counts if the execution completed.

    Call it once, in the transaction that ends the execution.
    """
    await conn.execute(COUNT_VIDEO, execution_id, 1 if completed else 0)


async def _move_month(conn: Connection, move: BudgetMove) -> None:
    day = move.day
    await conn.execute(
        MOVE_BUDGET, move.user_id, move.budget_month, day.held_nano_usd, day.settled_nano_usd
    )
