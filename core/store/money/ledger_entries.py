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

INSERT_ENTRY = """
INSERT INTO ledger_entries
    (operation_id, kind, user_id, execution_id, job_id, charge_id, budget_month, amount_nano_usd)
SELECT $1, $2, user_id, execution_id, job_id, charge_id, budget_month, $4
FROM charges WHERE charge_id = $3
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
    """Insert entries in one round trip."""
    rows = [
        (entry.operation_id, entry.kind, entry.charge_id, entry.amount_nano_usd)
        for entry in entries
    ]
    await conn.executemany(INSERT_ENTRY, rows)
    after_commit(lambda: _count(entries))


def _count(entries: Sequence[Entry]) -> None:
    for entry in entries:
        counted = LEDGER_NANO_USD.labels(
            ADJUSTMENT_DOWN if entry.amount_nano_usd < 0 else entry.kind
        )
        counted.inc(abs(entry.amount_nano_usd))
