"""Entries of the ledger: written once, never changed, and counted when they are committed."""

from contracts.ids import ChargeId
from contracts.states import LedgerKind
from runtime.metrics import LEDGER_NANO_USD
from store.database import Connection, after_commit

ADJUSTMENT_DOWN = "adjustment_down"
"""How an adjustment below zero is counted: a counter only grows."""

for _kind in (*LedgerKind, ADJUSTMENT_DOWN):
    LEDGER_NANO_USD.labels(_kind)  # from zero on, so that the first entry is an increase, too

INSERT_ENTRY = """
INSERT INTO ledger_entries
    (operation_id, kind, user_id, execution_id, job_id, charge_id, budget_month, amount_nano_usd)
SELECT $1, $2, user_id, execution_id, job_id, charge_id, budget_month, $4
FROM charges WHERE charge_id = $3
"""


async def insert_entry(
    conn: Connection, operation_id: str, kind: LedgerKind, charge_id: ChargeId, amount_nano_usd: int
) -> None:
    """Add to the ledger what was done with a charge. operation_id: names it; the same a second time is an error.

    amount_nano_usd: below zero of an adjustment alone.
    """
    await conn.execute(INSERT_ENTRY, operation_id, kind, charge_id, amount_nano_usd)
    counted = LEDGER_NANO_USD.labels(ADJUSTMENT_DOWN if amount_nano_usd < 0 else kind)
    after_commit(lambda: counted.inc(abs(amount_nano_usd)))
