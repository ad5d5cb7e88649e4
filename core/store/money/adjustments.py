"""Corrections of charges that ended with an assumed cost, or were released."""

from core.domain.ids import ChargeId, JobId
from core.domain.money import NanoUsd
from core.domain.states import ChargeState, CostBasis, LedgerKind
from core.store.database import Connection
from core.store.money.budget_counters import budget_move, move_budget
from core.store.money.charges import LOCK_CHARGE, ChargeConflictError, Settlement
from core.store.money.ledger_entries import insert_entry

GET_BASIS = "SELECT basis FROM charges WHERE charge_id = $1"
IS_ADJUSTED = "SELECT EXISTS (SELECT FROM ledger_entries WHERE operation_id = $1)"
FIND_ASSUMED = """
SELECT c.job_id FROM charges AS c JOIN jobs AS j ON j.job_id = c.job_id
WHERE c.job_id = $1 AND c.state = 'settled' AND c.basis = 'assumed' AND c.settled_nano_usd > 0
  AND j.send_number = $2 AND j.provider_job_id IS NULL
"""
ADJUST_CHARGE = """
UPDATE charges SET state = 'settled', settled_nano_usd = $2, basis = $3
WHERE charge_id = $1 AND state <> 'held'
"""


async def adjust_charge(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, basis: CostBasis
) -> Settlement:
    """Replace an assumed or released cost by the real one; the difference is an adjustment.

    The difference may have either sign. A charge is adjusted once; repeating with the same cost
    changes nothing. Raises LookupError if the job has no charge, and ChargeConflictError if its
    bill is still open or its cost is already final.
    """
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is None:
        raise LookupError(f"job {job_id} has no charge")
    charge_id = ChargeId(charge["charge_id"])
    if charge["state"] == ChargeState.HELD:
        raise ChargeConflictError(f"the bill of {charge_id} is open: settle it")
    difference = cost_nano_usd - charge["billed_nano_usd"]
    basis_before = await conn.fetchval(GET_BASIS, charge_id)
    operation_id = f"{LedgerKind.ADJUSTMENT}/{charge_id}"
    final = basis_before not in (None, CostBasis.ASSUMED) or await conn.fetchval(
        IS_ADJUSTED, operation_id
    )
    if difference and final:
        raise ChargeConflictError(
            f"{charge_id} was ended with {charge['billed_nano_usd']}, not {cost_nano_usd}"
        )
    if final or (not difference and charge["state"] == ChargeState.RELEASED):
        return Settlement(charge_id=charge_id, settled_nano_usd=cost_nano_usd, repeated=True)
    await conn.execute(ADJUST_CHARGE, charge_id, cost_nano_usd, basis)
    if difference:
        await insert_entry(conn, operation_id, LedgerKind.ADJUSTMENT, charge_id, difference)
        await move_budget(conn, budget_move(charge, 0, difference))
    return Settlement(charge_id=charge_id, settled_nano_usd=cost_nano_usd, repeated=not difference)


async def drop_assumed(conn: Connection, job_id: JobId, number: int) -> None:
    """Return the assumed cost of a send that turned out to be a job with its own bill.

    Call it in the transaction that creates the orphan, with the job's row locked. Repeating, and
    any other job, changes nothing.
    """
    if await conn.fetchval(FIND_ASSUMED, job_id, number) is not None:
        await adjust_charge(conn, job_id, NanoUsd(0), CostBasis.ASSUMED)
