"""What a provider has billed and then given back: booked by an operator, in an entry of its own."""

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
    """settled_nano_usd: what the job costs now. refunded_nano_usd: what has come back for it in
    all.
    """

    changed: bool
    settled_nano_usd: NanoUsd
    refunded_nano_usd: NanoUsd


async def refund_by_hand(
    conn: Connection, job_id: JobId, amount_nano_usd: NanoUsd, *, reference: str | None = None
) -> Refunded:
    """Book what the provider gave back. The month and the day that held the money of the job have
    it again.

    reference: the provider's own for it; one job can have many refunds, each under another
    reference, or one without. Repeating with the same reference and amount changes nothing.
    Raises LookupError: no such job, or no charge; RefusedError.
    """
    charge = await conn.fetchrow(LOCK_CHARGE, job_id)
    if charge is None:
        raise LookupError(f"no job {job_id} that has a charge")
    charge_id = ChargeId(charge["charge_id"])
    operation_id = "/".join(filter(None, (LedgerKind.REFUND, charge_id, reference)))
    before: int | None = await conn.fetchval(FIND_REFUND, operation_id)
    if before not in (None, amount_nano_usd):
        under = f"under {reference}" if reference else "without a reference"
        raise RefusedError(
            f"{job_id} has a refund of {usd_text(before)} USD {under}: another one has its own --reference"
        )
    (cost,) = await conn.fetch(GET_COST, charge_id)
    if before is None:
        _refuse_unbilled(job_id, charge["state"], cost["basis"])
        if amount_nano_usd > cost["settled_nano_usd"]:
            raise RefusedError(
                f"{job_id} costs {usd_text(cost['settled_nano_usd'])} USD: no more can come back"
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
        raise RefusedError(f"the bill of {job_id} is open: a refund is of what was settled")
    if state == ChargeState.RELEASED:
        raise RefusedError(f"nothing was billed for {job_id}: its hold was given back")
    if basis == CostBasis.ASSUMED:
        raise RefusedError(
            f"the cost of {job_id} was assumed: the provider's own bill replaces it when it is known"
        )
