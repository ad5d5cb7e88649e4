"""Raised holds: more money for a job whose price became known after its order was accepted.

The limits are those of the order: the user's monthly budget, the spend limit of the key that
ordered, the service's daily spending cap and the execution's own maxCost. Rows are locked in the
order of every other money transaction.
"""

from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

from asyncpg import Record

from core.domain.ids import ChargeId, JobId
from core.domain.money import NanoUsd
from core.domain.states import LedgerKind
from core.store.database import Connection, last_before_commit
from core.store.money.budget_alerts import note_thresholds
from core.store.money.budget_counters import budget_move, move_budget
from core.store.money.charges import BudgetExceededError
from core.store.money.daily_spending_cap import ServiceBudgetExceededError
from core.store.money.key_spending import KeySpendLimitReachedError, Period
from core.store.money.ledger_entries import insert_entry

GET_HOLD = "SELECT held_nano_usd, price FROM charges WHERE job_id = $1 AND state = 'held'"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHold:
    """The money that is held for a job. price: as it was quoted (see `price_from_json`)."""

    held_nano_usd: NanoUsd
    price: dict[str, Any]


async def find_hold(conn: Connection, job_id: JobId) -> OpenHold | None:
    """Return the hold of a job; None: it was settled or released."""
    row = await conn.fetchrow(GET_HOLD, job_id)
    return OpenHold(**dict(row)) if row is not None else None


class ExecutionCostError(Exception):
    """The execution may cost more than its own maxCost. Roll back."""


LOCK_EXECUTION = """
SELECT e.execution_id, e.max_cost_nano_usd FROM executions AS e
WHERE e.execution_id = (SELECT execution_id FROM jobs WHERE job_id = $1)
FOR NO KEY UPDATE OF e
"""
# A statement of its own: one that waited for the lock would not see what the lock's owner held.
GET_USED = """
SELECT coalesce(sum(CASE WHEN state = 'held' THEN held_nano_usd ELSE settled_nano_usd END), 0)::bigint
FROM charges WHERE execution_id = $1
"""
RAISE_CHARGE = """
WITH before AS (
    SELECT charge_id, held_nano_usd FROM charges WHERE job_id = $1 AND state = 'held' AND held_nano_usd < $2
    FOR UPDATE
)
UPDATE charges AS c SET held_nano_usd = $2 FROM before AS b WHERE c.charge_id = b.charge_id
RETURNING c.charge_id, c.user_id, c.budget_month, c.budget_day, c.key_id, $2 - b.held_nano_usd AS added
"""
# The key has both rows since the hold.
RAISE_MONTH = """
WITH month AS (
    UPDATE budgets AS b SET held_nano_usd = b.held_nano_usd + $3
    FROM users AS u
    WHERE b.user_id = $1 AND b.budget_month = $2 AND u.user_id = b.user_id
      AND b.held_nano_usd + b.settled_nano_usd + $3
          <= coalesce(u.monthly_nano_usd_limit, 9223372036854775807)
    RETURNING b.user_id
), of_key AS (
    UPDATE key_spending AS s SET held_nano_usd = s.held_nano_usd + $3
    FROM month AS m
    WHERE s.key_id = $4::text AND s.user_id = m.user_id
      AND (s.period, s.starts_on) IN (('month', $2::date), ('day', $5::date))
      AND s.held_nano_usd + s.settled_nano_usd + $3 <= coalesce(
          (SELECT CASE s.period WHEN 'day' THEN k.daily_nano_usd_limit ELSE k.monthly_nano_usd_limit END
           FROM api_keys AS k WHERE k.key_id = s.key_id), 9223372036854775807)
    RETURNING s.period
)
SELECT EXISTS (SELECT FROM month) AS in_month,
       ARRAY(SELECT unnest(ARRAY['day', 'month']) EXCEPT SELECT period FROM of_key ORDER BY 1) AS exceeded_periods
"""
RAISE_DAY = """
UPDATE daily_spending AS d SET held_nano_usd = d.held_nano_usd + $2
FROM service_limits AS s
WHERE d.day = $1 AND d.held_nano_usd + d.settled_nano_usd + $2 <= coalesce(s.daily_nano_usd, 9223372036854775807)
RETURNING d.day
"""


async def raise_hold(conn: Connection, job_id: JobId, worst_nano_usd: NanoUsd) -> None:
    """Hold this amount for a job that is not sent yet, in a transaction of its own.

    Repeating is safe: a hold that suffices stays. Raises BudgetExceededError,
    KeySpendLimitReachedError, ExecutionCostError and, at the commit, ServiceBudgetExceededError:
    roll back.
    """
    execution = await conn.fetchrow(LOCK_EXECUTION, job_id)
    charge = await conn.fetchrow(RAISE_CHARGE, job_id, worst_nano_usd)
    if charge is None or execution is None:
        return
    most: int | None = execution["max_cost_nano_usd"]
    if most is not None and await conn.fetchval(GET_USED, execution["execution_id"]) > most:
        raise ExecutionCostError
    added = await _note_raised(conn, charge, worst_nano_usd)
    month: date = charge["budget_month"]
    day: date = charge["budget_day"]
    user_id, key_id = charge["user_id"], charge["key_id"]
    (raised,) = await conn.fetch(RAISE_MONTH, user_id, month, added, key_id, day)
    if not raised["in_month"]:
        raise BudgetExceededError
    if key_id is not None and raised["exceeded_periods"]:
        raise KeySpendLimitReachedError(key_id, Period(raised["exceeded_periods"][0]))
    await note_thresholds(conn, user_id, month)
    await last_before_commit(conn, day.isoformat(), partial(_raise_day, day, added))


async def restore_hold(conn: Connection, job_id: JobId, held_nano_usd: NanoUsd) -> None:
    """Hold this amount for a job of a restored database, which may have been sent with it.

    No limit is checked: the money may be spent already. Repeating is safe: a hold that suffices
    stays, and so does a charge that has ended.
    """
    charge = await conn.fetchrow(RAISE_CHARGE, job_id, held_nano_usd)
    if charge is not None:
        added = await _note_raised(conn, charge, held_nano_usd)
        await move_budget(conn, budget_move(charge, -added, 0))


async def _note_raised(conn: Connection, charge: Record, held_nano_usd: NanoUsd) -> int:
    """Write the ledger entry of a raised charge, and return what was added."""
    charge_id, added = ChargeId(charge["charge_id"]), charge["added"]
    operation_id = f"held/{charge_id}/{held_nano_usd}"
    await insert_entry(conn, operation_id, LedgerKind.HELD, charge_id, added)
    return added


async def _raise_day(day: date, added: int, conn: Connection) -> None:
    if await conn.fetchval(RAISE_DAY, day, added) is None:
        raise ServiceBudgetExceededError
