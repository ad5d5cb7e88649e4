"""Ledger entries: insert-only, and counted by a metric when they are committed."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.ids import ChargeId
from core.domain.states import LedgerKind
from core.platform.observability.metrics import LEDGER_NANO_USD
from core.store.database import Connection, after_commit

ADJUSTMENT_DOWN = "adjustment_down"
"""The metric label of a negative adjustment, since a counter can only grow."""

for _kind in (*LedgerKind, ADJUSTMENT_DOWN):
    LEDGER_NANO_USD.labels(_kind)  # start at zero, so that the first entry is an increase

INSERT_ENTRIES = """
INSERT INTO ledger_entries
    (operation_id, kind, user_id, execution_id, job_id, charge_id, budget_month, amount_nano_usd)
SELECT e.operation_id, e.kind, c.user_id, c.execution_id, c.job_id, c.charge_id, c.budget_month, e.amount
FROM jsonb_to_recordset($1) AS e (operation_id text, kind text, charge_id text, amount bigint)
JOIN charges AS c ON c.charge_id = e.charge_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A ledger entry. operation_id: unique per operation. Only adjustments may be negative."""

    operation_id: str
    kind: LedgerKind
    charge_id: ChargeId
    amount_nano_usd: int


async def insert_entry(
    conn: Connection, operation_id: str, kind: LedgerKind, charge_id: ChargeId, amount_nano_usd: int
) -> None:
    """Insert one entry. A second entry with the same operation_id is an error."""
    entry = Entry(
        operation_id=operation_id, kind=kind, charge_id=charge_id, amount_nano_usd=amount_nano_usd
    )
    await insert_entries(conn, [entry])


async def insert_entries(conn: Connection, entries: Sequence[Entry]) -> None:
    """Insert entries in one statement."""
    await conn.execute(
        INSERT_ENTRIES,
        [
            {
                "operation_id": entry.operation_id,
                "kind": entry.kind,
                "charge_id": entry.charge_id,
                "amount": entry.amount_nano_usd,
            }
            for entry in entries
        ],
    )
    after_commit(lambda: _count(entries))


def _count(entries: Sequence[Entry]) -> None:
    for entry in entries:
        counted = LEDGER_NANO_USD.labels(
            ADJUSTMENT_DOWN if entry.amount_nano_usd < 0 else entry.kind
        )
        counted.inc(abs(entry.amount_nano_usd))
