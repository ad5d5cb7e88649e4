"""The last result of each check of the ledger. As system."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.store.database import Connection
from core.store.money.reports.provider_bill import Comparison

LEDGER: Final = "ledger"
BILL_PREFIX: Final = "bill/"
ALL_PROVIDERS: Final = "all"

RECORD_CHECK = """
INSERT INTO ledger_checks (name, findings, difference_nano_usd) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE
SET findings = excluded.findings, difference_nano_usd = excluded.difference_nano_usd, checked_at = excluded.checked_at
"""
LIST_CHECKS = "SELECT name, checked_at, findings, difference_nano_usd FROM ledger_checks"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheck:
    """A result. difference_nano_usd: billed less settled money; None: a check without a bill."""

    name: str
    checked_at: datetime
    findings: int
    difference_nano_usd: int | None

    @property
    def bill_of(self) -> str | None:
        """Return the provider whose bill was compared, or None."""
        is_bill = self.name.startswith(BILL_PREFIX)
        return self.name.removeprefix(BILL_PREFIX) if is_bill else None


async def record_check(
    conn: Connection, name: str, findings: int, difference_nano_usd: int | None = None
) -> None:
    """Replace the last result of a check. Repeating is safe."""
    await conn.execute(RECORD_CHECK, name, findings, difference_nano_usd)


async def record_bill_check(conn: Connection, provider: str | None, bill: Comparison) -> None:
    """Replace the last result of a provider's bill; None: of the bill of all. Repeating is safe."""
    difference = bill.billed_nano_usd - bill.settled_nano_usd
    name = BILL_PREFIX + (provider or ALL_PROVIDERS)
    await record_check(conn, name, len(bill.findings), difference)


async def list_checks(conn: Connection) -> list[LedgerCheck]:
    """Return the last result of each check that has run."""
    return [LedgerCheck(**dict(row)) for row in await conn.fetch(LIST_CHECKS)]
