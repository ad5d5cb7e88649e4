"""Booking of what a provider's bill proves: open bills, and costs that were assumed or released.

Run as system. Every booking is one of the ledger's own operations, so repeating changes nothing.
"""

from core.domain.money import NanoUsd
from core.domain.states import CostBasis
from core.store.database import Connection
from core.store.jobs.manual_changes import settle_by_hand
from core.store.money.adjustments import adjust_charge
from core.store.money.reports.provider_bill import Difference, DifferenceKind

CORRECTABLE = (None, CostBasis.ASSUMED)
"""Basis of a cost that a bill may replace. A reported or computed cost is final."""


def can_book(difference: Difference) -> bool:
    """Return whether the bill decides the cost of the job.

    It does for an open bill, and for a cost without evidence: an assumed one, or a released hold.
    """
    if difference.job_id is None or difference.billed_nano_usd is None:
        return False
    if difference.billed_nano_usd < 0:
        return False
    return difference.kind is DifferenceKind.OPEN or difference.basis in CORRECTABLE


async def book(conn: Connection, difference: Difference) -> None:
    """Book the billed amount as the reported cost of a job.

    Raises RefusedError while the job may still continue: its cost is then settled when it ends.
    """
    assert difference.job_id is not None  # noqa: S101 - see can_book
    assert difference.billed_nano_usd is not None  # noqa: S101
    cost = NanoUsd(difference.billed_nano_usd)
    if difference.kind is DifferenceKind.OPEN:
        await settle_by_hand(conn, difference.job_id, cost, confirmed=True)
    await adjust_charge(conn, difference.job_id, cost, CostBasis.REPORTED)
