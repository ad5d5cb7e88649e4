"""Money in rows: hold before the first paid call, settle what was billed, release the rest.

The ledger is the truth and only ever added to; its operation id makes every step safe to repeat.
`charges` is the state of one job's money, `budgets` a checked counter. The budget is the hot row of
a user, the day that of everybody: they are touched last before COMMIT, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from asyncpg import Record

from core.domain.ids import ChargeId, ExecutionId, JobId, UserId, new_charge_id
from core.domain.money import NanoUsd
from core.domain.prices import Price, Quote, price_to_json
from core.domain.states import ChargeState, CostBasis, LedgerKind
from core.store.database import Connection
from core.store.money.budget_alerts import note_thresholds
from core.store.money.daily_spending_cap import DayMove, move_days
from core.store.money.ledger_entries import Entry, insert_entries, insert_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Money to set aside for one job: the worst price of it. price: what it was quoted by, and will
    be settled by.
    """

    job_id: JobId
    provider: str
    model: str
    held_nano_usd: NanoUsd
    price: Price

    @classmethod
    def at(cls, quote: Quote, *, job_id: JobId, provider: str, model: str) -> "Hold":
        return cls(
            job_id=job_id,
            provider=provider,
            model=model,
            held_nano_usd=quote.worst_nano_usd,
            price=quote.price,
        )


class BudgetExceededError(Exception):
    """The user's budget of the month has no room. Nothing was written that outlives the
    transaction.
    """


class ChargeConflictError(Exception):
    """A charge was settled before with another amount: a bug or a hand in the database. Nobody may
    guess here.
    """


INSERT_CHARGE = """
INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd, price, budget_month)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, date_trunc('month', now() AT TIME ZONE 'UTC')::date)
"""


async def insert_charges(
    conn: Connection, user_id: UserId, execution_id: ExecutionId, holds: list[Hold]
) -> NanoUsd:
    """Write down what is set aside for each job of an execution; the sum is held by hold_room, in
    one transaction.
    """
    if not holds:
        return NanoUsd(0)
    ids = [new_charge_id() for _ in holds]
    await conn.executemany(
        INSERT_CHARGE,
        [
            (
                charge_id,
                hold.job_id,
                execution_id,
                user_id,
                hold.provider,
                hold.model,
                hold.held_nano_usd,
                price_to_json(hold.price),
            )
            for charge_id, hold in zip(ids, holds, strict=True)
        ],
    )
    await insert_entries(
        conn,
        [
            Entry(
                operation_id=f"held/{one}",
                kind=LedgerKind.HELD,
                charge_id=one,
                amount_nano_usd=hold.held_nano_usd,
            )
            for one, hold in zip(ids, holds, strict=True)
        ],
    )
    return NanoUsd(sum(hold.held_nano_usd for hold in holds))


LOCK_CHARGE = """
SELECT c.charge_id, c.user_id, c.state, c.held_nano_usd, c.settled_nano_usd,
       c.settled_nano_usd + c.refunded_nano_usd AS billed_nano_usd, c.budget_month, c.budget_day, j.orphan
FROM charges AS c JOIN jobs AS j ON j.job_id = c.job_id
WHERE c.job_id = $1 FOR UPDATE OF c
"""

END_CHARGE = """
UPDATE charges SET state = $2, settled_nano_usd = $3, basis = $4, ended_at = now()
WHERE charge_id = $1 AND state = 'held'
"""

MOVE_BUDGET = """
UPDATE budgets
SET held_nano_usd = held_nano_usd - $3, settled_nano_usd = settled_nano_usd + $4
WHERE user_id = $1 AND budget_month = $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """repeated: the charge had ended before, with the same amount; nothing was written."""

    charge_id: ChargeId
    settled_nano_usd: NanoUsd
    repeated: bool


async def settle_charge(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, basis: CostBasis
) -> Settlement:
    """Replace held money by what the provider billed; the part above the hold is an explicit
    overage.

    An orphan's cost, for which nothing was held, is booked as what it is.

    cost_nano_usd >= 0. Repeating with the same number returns the first settlement; with another,
    raises ChargeConflictError.
    """
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is None:
        raise LookupError(f"job {job_id} has no charge")
    charge_id = ChargeId(charge["charge_id"])
    if charge["state"] != ChargeState.HELD:
        if charge["billed_nano_usd"] != cost_nano_usd:
            raise ChargeConflictError(
                f"{charge_id} was ended with {charge['billed_nano_usd']}, not {cost_nano_usd}"
            )
        return Settlement(charge_id=charge_id, settled_nano_usd=cost_nano_usd, repeated=True)
    held: int = charge["held_nano_usd"]
    await conn.execute(END_CHARGE, charge_id, ChargeState.SETTLED, cost_nano_usd, basis)
    parts = {
        LedgerKind.SETTLED: min(held, cost_nano_usd),
        LedgerKind.RELEASED: max(0, held - cost_nano_usd),
        LedgerKind.OVERAGE: max(0, cost_nano_usd - held),
    }
    if charge["orphan"]:
        parts = {LedgerKind.ORPHAN: cost_nano_usd}
    for kind, amount in parts.items():
        if amount or kind in (LedgerKind.SETTLED, LedgerKind.ORPHAN):
            await insert_entry(conn, f"{kind}/{charge_id}", kind, charge_id, amount)
    await move_budget(conn, budget_move(charge, held, cost_nano_usd))
    return Settlement(charge_id=charge_id, settled_nano_usd=cost_nano_usd, repeated=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetMove:
    """What a charge's end means for the month and the day it was held in; applied once, last before
    COMMIT.
    """

    user_id: UserId
    budget_month: date
    day: DayMove


def budget_move(charge: Record, held_nano_usd: int, settled_nano_usd: int) -> BudgetMove:
    """charge: as LOCK_CHARGE reads it. So much less is held for it, so much more is settled."""
    day = DayMove(
        day=charge["budget_day"], held_nano_usd=held_nano_usd, settled_nano_usd=settled_nano_usd
    )
    return BudgetMove(user_id=charge["user_id"], budget_month=charge["budget_month"], day=day)


async def move_budget(conn: Connection, move: BudgetMove) -> None:
    """For a transaction that ends the money of one job, and then itself."""
    await _move_month(conn, move)
    if move.day.settled_nano_usd > move.day.held_nano_usd:  # more is used than before
        await note_thresholds(conn, move.user_id, move.budget_month)
    await move_days(conn, [move.day])


async def end_holds(
    conn: Connection, execution_id: ExecutionId, moves: Sequence[BudgetMove], *, completed: bool
) -> None:
    """For the transaction that ends an execution: what its unsent jobs held, and its video."""
    for move in moves:
        await _move_month(conn, move)
    await count_video(conn, execution_id, completed=completed)
    await move_days(conn, [move.day for move in moves])


async def _move_month(conn: Connection, move: BudgetMove) -> None:
    day = move.day
    await conn.execute(
        MOVE_BUDGET, move.user_id, move.budget_month, day.held_nano_usd, day.settled_nano_usd
    )


async def release_charge(conn: Connection, job_id: JobId) -> BudgetMove | None:
    """Give back the hold of a job that was certainly never bought; the caller applies the move to
    the budget.

    None if its money had ended before: repeating is safe.
    """
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is None or charge["state"] != ChargeState.HELD:
        return None
    charge_id = ChargeId(charge["charge_id"])
    held: int = charge["held_nano_usd"]
    await conn.execute(END_CHARGE, charge_id, ChargeState.RELEASED, 0, None)
    await insert_entry(conn, f"released/{charge_id}", LedgerKind.RELEASED, charge_id, held)
    return budget_move(charge, held, 0)


async def release_hold(conn: Connection, job_id: JobId) -> bool:
    """`release_charge` with its budget, for a transaction that releases one job and ends with it.

    False: its money had ended before. Repeating is safe.
    """
    move = await release_charge(conn, job_id)
    if move is not None:
        await move_budget(conn, move)
    return move is not None


COUNT_VIDEO = """
UPDATE budgets AS b
SET held_videos = b.held_videos - 1, settled_videos = b.settled_videos + $2
FROM executions AS e
WHERE e.execution_id = $1 AND b.user_id = e.user_id AND b.budget_month = e.budget_month
"""


async def count_video(conn: Connection, execution_id: ExecutionId, *, completed: bool) -> None:
    """End the month's hold of one video: it counts if the execution completed.

    Once, in the transaction that ends it.
    """
    await conn.execute(COUNT_VIDEO, execution_id, 1 if completed else 0)


GET_MONEY = """
SELECT coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0)::bigint AS held,
       coalesce(sum(settled_nano_usd), 0)::bigint AS settled,
       coalesce(sum(held_nano_usd) FILTER (WHERE state = 'released'), 0)::bigint AS released,
       count(*) FILTER (WHERE state = 'held') AS open_bills
FROM charges WHERE execution_id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionMoney:
    """held: what is set aside for the bills that are still open.

    open_bills: how many; nothing is held for an orphan's.
    """

    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    released_nano_usd: NanoUsd
    open_bills: int = 0

    @property
    def final(self) -> bool:
        return self.open_bills == 0


async def get_money(conn: Connection, execution_id: ExecutionId) -> ExecutionMoney:
    """What an execution holds and has spent so far, over all its generations."""
    (row,) = await conn.fetch(GET_MONEY, execution_id)
    return ExecutionMoney(
        held_nano_usd=NanoUsd(row["held"]),
        settled_nano_usd=NanoUsd(row["settled"]),
        released_nano_usd=NanoUsd(row["released"]),
        open_bills=row["open_bills"],
    )
