"""Refunds from a provider, recorded by an operator as ledger entries of their own."""

from dataclasses import dataclass

from core.domain.ids import ChargeId, JobId
from core.domain.money import NanoUsd, usd_text
from core.domain.states import ChargeState, CostBasis, LedgerKind
from core.store.database import Connection
from core.store.money.budget_counters import budget_move, move_budget
from core.store.money.charges import LOCK_CHARGE
from core.store.money.ledger_entries import insert_entry
from core.store.operator import RefusedError

GET_COST = "SELECT basis, settled_nano_usd, refunded_nano_usd FROM charges WHERE charge_id = $1"
FIND_REFUND = "SELECT amount_nano_usd FROM ledger_entries WHERE operation_id = $1"
REFUND_CHARGE = """
UPDATE charges SET settled_nano_usd = settled_nano_usd - $2, refunded_nano_usd = refunded_nano_usd + $2
WHERE charge_id = $1 AND state = 'settled'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunded:
    """The cost of a job after a refund. refunded_nano_usd: the sum of its refunds."""

    changed: bool
    settled_nano_usd: NanoUsd
    refunded_nano_usd: NanoUsd


async def refund_by_hand(
    conn: Connection, job_id: JobId, amount_nano_usd: NanoUsd, *, reference: str | None = None
) -> Refunded:
    """Record a refund and return its amount to the month and day that held the job's money.

    reference: the provider's reference; a job can have one refund per reference, and one without.
    Repeating with the same reference and amount changes nothing.
    Raises LookupError if the job has no charge, and RefusedError.
    """
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is None:
        raise LookupError(f"job {job_id} does not exist or has no charge")
    charge_id = ChargeId(charge["charge_id"])
    operation_id = "/".join(filter(None, (LedgerKind.REFUND, charge_id, reference)))
    before: int | None = await conn.fetchval(FIND_REFUND, operation_id)
    if before not in (None, amount_nano_usd):
        under = f"under {reference}" if reference else "without a reference"
        raise RefusedError(
            f"{job_id} already has a refund of {usd_text(before)} USD {under}. "
            "Give a different --reference for another refund."
        )
    (cost,) = await conn.fetch(GET_COST, charge_id)
    if before is None:
        _refuse_unbilled(job_id, charge["state"], cost["basis"])
        if amount_nano_usd > cost["settled_nano_usd"]:
            raise RefusedError(
                f"A refund cannot exceed the cost of {job_id}, {usd_text(cost['settled_nano_usd'])} USD."
            )
        await insert_entry(conn, operation_id, LedgerKind.REFUND, charge_id, amount_nano_usd)
        await conn.execute(REFUND_CHARGE, charge_id, amount_nano_usd)
        await move_budget(conn, budget_move(charge, 0, -amount_nano_usd))
        (cost,) = await conn.fetch(GET_COST, charge_id)
    return Refunded(
        changed=before is None,
        settled_nano_usd=cost["settled_nano_usd"],
        refunded_nano_usd=cost["refunded_nano_usd"],
    )


def _refuse_unbilled(job_id: JobId, state: str, basis: str | None) -> None:
    if state == ChargeState.HELD:
        raise RefusedError(f"The bill of {job_id} is open. Settle it before a refund.")
    if state == ChargeState.RELEASED:
        raise RefusedError(f"Nothing was billed for {job_id}: its hold was released.")
    if basis == CostBasis.ASSUMED:
        raise RefusedError(
            f"The cost of {job_id} is assumed. Settle it with the provider's bill before a refund."
        )
