"""Charges: the state of each job's money, from the hold to its settlement or release.

The ledger is the truth and is insert-only; its operation id makes every step safe to repeat.
`charges` is the state of one job's money, `budgets` a checked counter.
"""

from dataclasses import dataclass

from core.domain.ids import ChargeId, ExecutionId, JobId, KeyId, UserId, new_charge_id
from core.domain.money import NanoUsd
from core.domain.prices import Price, Quote, price_to_json
from core.domain.states import ChargeState, LedgerKind
from core.store.database import Connection
from core.store.money.budget_counters import BudgetMove, budget_move, move_budget
from core.store.money.ledger_entries import Entry, insert_entries, insert_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The money to hold for one job: its worst price. price: quotes the job and settles it."""

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
    """The user's monthly budget is exceeded. The transaction writes nothing."""


class ChargeConflictError(Exception):
    """A charge was settled before with a different amount: a bug, or a manual change of rows."""


INSERT_CHARGES = """
INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd, price, budget_month,
                     key_id)
SELECT h.charge_id, h.job_id, $1, $2, h.provider, h.model, h.held_nano_usd, h.price,
       date_trunc('month', now() AT TIME ZONE 'UTC')::date, $4
FROM jsonb_to_recordset($3)
     AS h (charge_id text, job_id text, provider text, model text, held_nano_usd bigint, price jsonb)
"""


async def insert_charges(
    conn: Connection,
    user_id: UserId,
    execution_id: ExecutionId,
    holds: list[Hold],
    *,
    key_id: KeyId | None = None,
) -> NanoUsd:
    """Insert the charge of each job of an execution; return the sum.

    key_id: the key that orders the jobs, for whose spend limit they count; None: a token.
    The caller holds the sum in the same transaction (`budget_admission`).
    """
    if not holds:
        return NanoUsd(0)
    ids = [new_charge_id() for _ in holds]
    await conn.execute(
        INSERT_CHARGES,
        execution_id,
        user_id,
        [
            {
                "charge_id": charge_id,
                "job_id": hold.job_id,
                "provider": hold.provider,
                "model": hold.model,
                "held_nano_usd": hold.held_nano_usd,
                "price": price_to_json(hold.price),
            }
            for charge_id, hold in zip(ids, holds, strict=True)
        ],
        key_id,
    )
    await insert_entries(
        conn,
        [
            Entry(
                operation_id=f"held/{charge_id}",
                kind=LedgerKind.HELD,
                charge_id=charge_id,
                amount_nano_usd=hold.held_nano_usd,
            )
            for charge_id, hold in zip(ids, holds, strict=True)
        ],
    )
    return NanoUsd(sum(hold.held_nano_usd for hold in holds))


INSERT_AS_BEFORE = """
INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd, price, budget_month,
                     budget_day, key_id)
SELECT $2, $3, execution_id, user_id, $4, $5, $6, $7, budget_month, budget_day, key_id FROM charges WHERE job_id = $1
RETURNING user_id, budget_month, budget_day, key_id
"""


async def hold_as_before(conn: Connection, job_id: JobId, hold: Hold) -> None:
    """Hold the money of a job that replaces another, for its key, month and day.

    Call it in the transaction that ended the other charge at no cost, with a hold that is not
    higher: then no counter is higher than before, and no limit is checked. Raises LookupError.
    """
    charge_id, held = new_charge_id(), hold.held_nano_usd
    arguments = (hold.job_id, hold.provider, hold.model, held, price_to_json(hold.price))
    row = await conn.fetchrow(INSERT_AS_BEFORE, job_id, charge_id, *arguments)
    if row is None:
        raise LookupError(f"job {job_id} has no charge")
    await insert_entry(conn, f"held/{charge_id}", LedgerKind.HELD, charge_id, held)
    await move_budget(conn, budget_move(row, -held, 0))


LOCK_CHARGE = """
SELECT c.charge_id, c.user_id, c.state, c.held_nano_usd, c.settled_nano_usd,
       c.settled_nano_usd + c.refunded_nano_usd AS billed_nano_usd, c.budget_month, c.budget_day, c.key_id, j.orphan
FROM charges AS c JOIN jobs AS j ON j.job_id = c.job_id
WHERE c.job_id = $1 FOR UPDATE OF c
"""

END_CHARGE = """
UPDATE charges SET state = $2, settled_nano_usd = $3, basis = $4, ended_at = now()
WHERE charge_id = $1 AND state = 'held'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The end of a charge. repeated: it had ended with the same amount; nothing was written."""

    charge_id: ChargeId
    settled_nano_usd: NanoUsd
    repeated: bool


async def release_charge(conn: Connection, job_id: JobId) -> BudgetMove | None:
    """Release the hold of a job that was certainly never bought; the caller applies the move.

    Return None if the charge had ended before: repeating is safe.
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
    """Release the hold of one job and apply the budget move, last in a transaction.

    Return False if the charge had ended before: repeating is safe.
    """
    move = await release_charge(conn, job_id)
    if move is not None:
        await move_budget(conn, move)
    return move is not None


GET_MONEY = """
SELECT coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0)::bigint AS held,
       coalesce(sum(settled_nano_usd), 0)::bigint AS settled,
       coalesce(sum(held_nano_usd) FILTER (WHERE state = 'released'), 0)::bigint AS released,
       count(*) FILTER (WHERE state = 'held') AS open_bills,
       coalesce(sum(settled_nano_usd) FILTER (WHERE job_id = $2), 0)::bigint AS of_job,
       (SELECT coalesce(sum(saved_nano_usd), 0) FROM jobs WHERE execution_id = $1)::bigint AS saved
FROM charges WHERE execution_id = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionMoney:
    """The money of an execution. held: for its open bills; nothing is held for an orphan's bill.

    of_job_nano_usd: settled for the job that was named. saved_nano_usd: what the files cost that
    its steps use again.
    """

    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    released_nano_usd: NanoUsd
    saved_nano_usd: NanoUsd
    open_bills: int = 0
    of_job_nano_usd: int = 0

    @property
    def final(self) -> bool:
        return self.open_bills == 0


async def get_money(
    conn: Connection, execution_id: ExecutionId, job_id: JobId | None = None
) -> ExecutionMoney:
    """Return what an execution holds and has spent, over all its generations."""
    (row,) = await conn.fetch(GET_MONEY, execution_id, job_id)
    return ExecutionMoney(
        held_nano_usd=NanoUsd(row["held"]),
        settled_nano_usd=NanoUsd(row["settled"]),
        released_nano_usd=NanoUsd(row["released"]),
        open_bills=row["open_bills"],
        of_job_nano_usd=row["of_job"],
        saved_nano_usd=NanoUsd(row["saved"]),
    )
