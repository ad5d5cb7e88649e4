"""Comparison of a provider's bill with the settled jobs, to the nano-dollar."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from core.domain.ids import JobId, ProviderJobId
from core.domain.money import NanoUsd, usd_text
from core.domain.states import ChargeState, CostBasis
from core.store.database import Connection
from core.store.money.reports.bill_file import Key
from core.store.money.reports.ledger_check import TIMEOUT_SECONDS, Finding

MISSING, EXTRA, DIFFERENT = "bill-missing", "bill-extra", "bill-different"


class DifferenceKind(StrEnum):
    """How a bill and a job differ.

    OPEN: billed, and not settled yet, which is no error. DIFFERENT: another amount.
    EXTRA: settled, but not billed. MISSING: billed, but no job has this id.
    """

    OPEN = "open"
    DIFFERENT = "different"
    EXTRA = "extra"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One job that the bill and the ledger show differently.

    job_id: None if no job has the id. billed_nano_usd: None if the bill does not name the job.
    basis: of the settled cost.
    """

    kind: DifferenceKind
    job_id: JobId | None
    provider_job_id: str | None
    billed_nano_usd: int | None
    settled_nano_usd: int
    basis: CostBasis | None

    def finding(self) -> Finding:
        """Return the difference as a finding of `ledger check`."""
        settled, name = usd_text(self.settled_nano_usd), self.provider_job_id or "no provider job"
        billed = usd_text(self.billed_nano_usd or 0)
        if self.job_id is None:
            text = f"billed with {billed} USD, but no job has this id"
            return Finding(check=MISSING, target=name, text=text)
        if self.billed_nano_usd is None:
            text = f"settled with {settled} USD for {name}, but not billed"
            return Finding(check=EXTRA, target=self.job_id, text=text)
        text = f"settled with {settled} USD, billed with {billed} USD as {name}"
        return Finding(check=DIFFERENT, target=self.job_id, text=text)

    def line(self) -> str:
        """Return an open bill as one line."""
        billed = usd_text(self.billed_nano_usd or 0)
        return f"{self.job_id}: {self.provider_job_id} is billed with {billed} USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of a comparison. lines: billed jobs."""

    lines: int
    billed_nano_usd: int
    settled_nano_usd: int
    differences: list[Difference]

    @property
    def findings(self) -> list[Finding]:
        return [each.finding() for each in self.differences if each.kind is not DifferenceKind.OPEN]

    @property
    def open(self) -> list[str]:
        """Lines of billed jobs that are not settled yet."""
        return [each.line() for each in self.differences if each.kind is DifferenceKind.OPEN]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Purchase:
    job_id: JobId
    provider: str
    provider_job_id: ProviderJobId | None
    state: ChargeState
    settled_nano_usd: NanoUsd
    basis: CostBasis | None


LIST_PURCHASES = """
SELECT j.job_id, j.provider, j.provider_job_id, c.state, c.settled_nano_usd, c.basis
FROM jobs AS j JOIN charges AS c ON c.job_id = j.job_id
WHERE j.send_number > 0 AND ($1::text IS NULL OR j.provider = $1)
ORDER BY j.job_id
"""


async def compare_bill(
    conn: Connection, billed: dict[Key, int], *, provider: str | None = None
) -> Comparison:
    """Compare the bill of one provider, or of all, with every job that was sent there."""
    rows = await conn.fetch(LIST_PURCHASES, provider, timeout=TIMEOUT_SECONDS)
    purchases = [
        _Purchase(
            job_id=row["job_id"],
            provider=row["provider"],
            provider_job_id=row["provider_job_id"],
            state=ChargeState(row["state"]),
            settled_nano_usd=row["settled_nano_usd"],
            basis=CostBasis(row["basis"]) if row["basis"] is not None else None,
        )
        for row in rows
    ]
    left = dict(billed)
    differences: list[Difference] = []
    for purchase, key in _with_keys(purchases, left):
        amount = left.pop(key, None) if key is not None else None
        if (difference := _difference(purchase, amount)) is not None:
            differences.append(difference)
    differences += [
        Difference(
            kind=DifferenceKind.MISSING,
            job_id=None,
            provider_job_id=name,
            billed_nano_usd=amount,
            settled_nano_usd=0,
            basis=None,
        )
        for (_, name), amount in left.items()
        if amount
    ]
    return Comparison(
        lines=len(billed),
        billed_nano_usd=sum(billed.values()),
        settled_nano_usd=sum(purchase.settled_nano_usd for purchase in purchases),
        differences=differences,
    )


def _with_keys(
    purchases: Iterable[_Purchase], billed: dict[Key, int]
) -> Iterator[tuple[_Purchase, Key | None]]:
    """Yield each purchase with its key in the bill, by its provider or without purchase."""
    for purchase in purchases:
        name = purchase.provider_job_id
        if name is None:
            yield purchase, None
        else:
            yield (
                purchase,
                (purchase.provider, name) if (purchase.provider, name) in billed else (None, name),
            )


def _difference(purchase: _Purchase, amount: int | None) -> Difference | None:
    if purchase.state is ChargeState.HELD:
        kind = DifferenceKind.OPEN if amount else None
    elif (amount or 0) == purchase.settled_nano_usd:
        kind = None
    else:
        kind = DifferenceKind.EXTRA if amount is None else DifferenceKind.DIFFERENT
    if kind is None:
        return None
    return Difference(
        kind=kind,
        job_id=purchase.job_id,
        provider_job_id=purchase.provider_job_id,
        billed_nano_usd=amount,
        settled_nano_usd=purchase.settled_nano_usd,
        basis=purchase.basis,
    )
