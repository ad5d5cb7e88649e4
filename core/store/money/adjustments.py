"""Corrections of money that had ended without the provider's word: settled by hand, or released."""

from core.domain.ids import ChargeId, JobId
from core.domain.money import NanoUsd
from core.domain.states import ChargeState, CostBasis, LedgerKind
from core.store.database import Connection
from core.store.money.charges import (
    LOCK_CHARGE,
    ChargeConflictError,
    Settlement,
    budget_move,
    move_budget,
    settle_charge,
)
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


async def book_cost(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, basis: CostBasis
) -> Settlement:
    """What the provider billed for a job, whatever was assumed: an open charge is settled, an ended
    one adjusted.

    For bills that are read late. Repeating changes nothing; raises ChargeConflictError like the two
    it is made of.
    """
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is not None and charge["state"] != ChargeState.HELD:
        return await adjust_charge(conn, job_id, cost_nano_usd, basis)
    return await settle_charge(conn, job_id, cost_nano_usd, basis)


async def adjust_charge(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, basis: CostBasis
) -> Settlement:
    """Replace an assumed or a released cost by the real one; the difference, of either sign, is an
    adjustment.

    Once for each charge. Raises LookupError: no charge; ChargeConflictError: its bill is open, or
    what stands there was the provider's word already.
    """
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is None:
        raise LookupError(f"job {job_id} has no charge")
    charge_id = ChargeId(charge["charge_id"])
    if charge["state"] == ChargeState.HELD:
        raise ChargeConflictError(f"the bill of {charge_id} is open: settle it")
    difference = cost_nano_usd - charge["billed_nano_usd"]
    given = await conn.fetchval(GET_BASIS, charge_id)
    operation_id = f"{LedgerKind.ADJUSTMENT}/{charge_id}"
    final = given not in (None, CostBasis.ASSUMED) or await conn.fetchval(IS_ADJUSTED, operation_id)
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
    """A send that was settled by hand has become a job of its own, with a bill of its own: what was
    assumed goes back.

    In the transaction that makes the orphan, the row of its job locked. Repeating, and any other
    job, changes nothing.
    """
    if await conn.fetchval(FIND_ASSUMED, job_id, number) is not None:
        await adjust_charge(conn, job_id, NanoUsd(0), CostBasis.ASSUMED)
