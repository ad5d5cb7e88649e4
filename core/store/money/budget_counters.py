"""Budget counters: what an ended charge moves from held to settled, for its month, key and day.

The month is the hot row of a user, the day the hot row of the whole service: both are updated last
before COMMIT, in this order. The counters of the API key follow the month that they belong to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from asyncpg import Record

from core.domain.ids import ExecutionId, KeyId, UserId
from core.store.database import Connection
from core.store.money.budget_alerts import note_thresholds
from core.store.money.daily_spending_cap import DayMove, move_days

# An orphan may count on a day on which its key has no row yet.
MOVE_BUDGET = """
WITH month AS (
    UPDATE budgets
    SET held_nano_usd = held_nano_usd - $3::bigint, settled_nano_usd = settled_nano_usd + $4::bigint
    WHERE user_id = $1 AND budget_month = $2
    RETURNING user_id, budget_month
)
INSERT INTO key_spending AS s (key_id, user_id, period, starts_on, held_nano_usd, settled_nano_usd)
SELECT $5::text, m.user_id, p.period, p.starts_on, greatest(-$3::bigint, 0), greatest($4::bigint, 0)
FROM month AS m CROSS JOIN LATERAL (VALUES ('month', m.budget_month), ('day', $6::date)) AS p (period, starts_on)
WHERE $5::text IS NOT NULL
ON CONFLICT (key_id, period, starts_on) DO UPDATE
SET held_nano_usd = s.held_nano_usd - $3::bigint, settled_nano_usd = s.settled_nano_usd + $4::bigint
"""
COUNT_VIDEO = """
UPDATE budgets AS b
SET held_videos = b.held_videos - 1, settled_videos = b.settled_videos + $2
FROM executions AS e
WHERE e.execution_id = $1 AND b.user_id = e.user_id AND b.budget_month = e.budget_month
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetMove:
    """The change that an ended charge makes to its counters; apply it exactly once.

    key_id: the key that ordered the job; None: a token.
    """

    user_id: UserId
    budget_month: date
    key_id: KeyId | None
    day: DayMove


def budget_move(charge: Record, held_nano_usd: int, settled_nano_usd: int) -> BudgetMove:
    """Return the move that releases and settles these amounts for a charge of LOCK_CHARGE."""
    day = DayMove(
        day=charge["budget_day"], held_nano_usd=held_nano_usd, settled_nano_usd=settled_nano_usd
    )
    return BudgetMove(
        user_id=charge["user_id"],
        budget_month=charge["budget_month"],
        key_id=charge["key_id"],
        day=day,
    )


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
    amounts = (move.day.held_nano_usd, move.day.settled_nano_usd)
    await conn.execute(
        MOVE_BUDGET, move.user_id, move.budget_month, *amounts, move.key_id, move.day.day
    )
