"""The gauges of money that was spent and gave its user nothing; the sweeping process has them."""

import time
from dataclasses import dataclass, field

from core.platform.observability import metrics
from core.store.database import Database
from core.store.money.undelivered_spend import Fruitless, measure_undelivered

EVERY_SECONDS = 60.0
ENDED_WITHIN_SECONDS = 7 * 86_400.0
"""What ended longer ago was seen by somebody, or never will be."""
PENDING_FOR_SECONDS = 600.0
"""Three tries were made by then: it is not the receiver's restart."""


@dataclass(slots=True, kw_only=True)
class Spending:
    database: Database
    _measured_at: float | None = field(default=None, init=False)

    async def measure(self) -> None:
        """At most once a minute."""
        now = time.monotonic()
        if self._measured_at is not None and now - self._measured_at < EVERY_SECONDS:
            return
        self._measured_at = now
        async with self.database.as_system() as conn:
            found = await measure_undelivered(
                conn,
                ended_within_seconds=ENDED_WITHIN_SECONDS,
                pending_for_seconds=PENDING_FOR_SECONDS,
            )
        for outcome in Fruitless:
            measured = found.get(outcome)
            metrics.SPENT_UNDELIVERED.labels(outcome).set(measured.nano_usd if measured else 0)
            metrics.SPENT_UNDELIVERED_OLDEST.labels(outcome).set(
                measured.oldest_seconds if measured else 0
            )

    def forget(self) -> None:
        """It is another process' to tell now."""
        self._measured_at = None
        metrics.SPENT_UNDELIVERED.clear()
        metrics.SPENT_UNDELIVERED_OLDEST.clear()
