"""Repair of lost signals: a decision is committed, but its workflow still waits for it."""

from dataclasses import dataclass, field
from typing import Final

from temporalio.client import Client

from core.maintenance.repairs.recent_repairs import RecentRepairs
from core.ordering.workflow_starts import signal_decision
from core.platform.observability.logging import get_logger
from core.store.approvals.decisions import list_unnoted
from core.store.database import Database

log = get_logger(__name__)

OVERDUE_SECONDS: Final = 5.0
"""The age at which a decision is signalled here. The API's own signal times out after three
seconds.
"""
SIGNAL_AGAIN_SECONDS: Final = 60.0
"""A signal that Temporal accepted is repeated after this time only: each one is a history event."""
PAGE: Final = 200


@dataclass(slots=True, kw_only=True)
class DecisionRepairs:
    """Signals decisions to the workflows that have not continued with them.

    A workflow that is not running is started by another repair, and reads the row itself.
    """

    client: Client
    database: Database
    _after: tuple[str, str] = field(default=("", ""), init=False)
    _signalled: RecentRepairs = field(default_factory=RecentRepairs, init=False)

    async def signal(self) -> None:
        """Repeat the signals of decisions. One page in each run."""
        async with self.database.as_system() as conn:
            page = await list_unnoted(
                conn, older_than_seconds=OVERDUE_SECONDS, after=self._after, limit=PAGE
            )
        self._after = (page[-1].ref.execution_id, page[-1].step) if len(page) == PAGE else ("", "")
        due = [
            decision
            for decision in page
            if not self._signalled.has(
                decision.ref.execution_id, within_seconds=SIGNAL_AGAIN_SECONDS
            )
        ]
        for decision in due:
            ref = decision.ref
            await signal_decision(
                self.client, ref.execution_id, decision.step, generation=ref.generation
            )
            self._signalled.add(ref.execution_id)
            log.info("reconciler.decision_signalled", execution_id=ref.execution_id)
