"""Settlement: what a provider billed replaces what was held."""

from asyncpg import Record

from core.domain.ids import ChargeId, JobId
from core.domain.money import NanoUsd
from core.domain.states import ChargeState, CostBasis, LedgerKind
from core.store.database import Connection
from core.store.money.adjustments import adjust_charge
from core.store.money.budget_counters import budget_move, move_budget
from core.store.money.charges import END_CHARGE, LOCK_CHARGE, ChargeConflictError, Settlement
from core.store.money.ledger_entries import Entry, insert_entries


async def record_cost(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, basis: CostBasis
) -> Settlement:
    """Record what the provider billed for a job: settle an open charge, adjust an ended one.

    Every reported or computed cost comes through here, in time or late. Repeating changes nothing.
    Raises LookupError and ChargeConflictError like `settle_charge` and `adjust_charge`.
    """
    charge = await _lock_charge(conn, job_id)
    if charge["state"] != ChargeState.HELD:
        return await adjust_charge(conn, job_id, cost_nano_usd, basis)
    return await _settle_held(conn, charge, cost_nano_usd, basis)


async def settle_charge(
    conn: Connection, job_id: JobId, cost_nano_usd: NanoUsd, basis: CostBasis
) -> Settlement:
    """Replace held money by the billed cost; the part above the hold is an explicit overage.

    For an orphan nothing was held: its cost is recorded as an orphan's. cost_nano_usd >= 0.
    Repeating with the same cost returns the first settlement; a different cost raises
    ChargeConflictError. Raises LookupError for a job without a charge.
    """
    charge = await _lock_charge(conn, job_id)
    if charge["state"] != ChargeState.HELD:
        if charge["billed_nano_usd"] != cost_nano_usd:
            raise ChargeConflictError(
                f"{charge['charge_id']} was ended with {charge['billed_nano_usd']}, "
                f"not {cost_nano_usd}"
            )
        return Settlement(
            charge_id=ChargeId(charge["charge_id"]), settled_nano_usd=cost_nano_usd, repeated=True
        )
    return await _settle_held(conn, charge, cost_nano_usd, basis)


async def _lock_charge(conn: Connection, job_id: JobId) -> Record:
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is None:
        raise LookupError(f"job {job_id} has no charge")
    return charge


async def _settle_held(
    conn: Connection, charge: Record, cost_nano_usd: NanoUsd, basis: CostBasis
) -> Settlement:
    charge_id = ChargeId(charge["charge_id"])
    held: int = charge["held_nano_usd"]
    await conn.execute(END_CHARGE, charge_id, ChargeState.SETTLED, cost_nano_usd, basis)
    parts = {
        LedgerKind.SETTLED: min(held, cost_nano_usd),
        LedgerKind.RELEASED: max(0, held - cost_nano_usd),
        LedgerKind.OVERAGE: max(0, cost_nano_usd - held),
    }
    if charge["orphan"]:
        parts = {LedgerKind.ORPHAN: cost_nano_usd}
    entries = [
        Entry(
            operation_id=f"{kind}/{charge_id}",
            kind=kind,
            charge_id=charge_id,
            amount_nano_usd=amount,
        )
        for kind, amount in parts.items()
        if amount or kind in (LedgerKind.SETTLED, LedgerKind.ORPHAN)
    ]
    await insert_entries(conn, entries)
    await move_budget(conn, budget_move(charge, held, cost_nano_usd))
    return Settlement(charge_id=charge_id, settled_nano_usd=cost_nano_usd, repeated=False)
