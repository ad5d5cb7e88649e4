"""Alarms of single users for the operator: a log event each, and a count in the metrics.

The user is in the log and in `takeone-admin users alarms`, because a metric has no label for users.
"""

from dataclasses import dataclass

from core.domain.money import NANO_PER_USD, usd_text
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import USER_SPEND_SPIKES
from core.store.database import Database
from core.store.measures.user_alarms import record_spikes

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserAlarms:
    """Reports users whose spending rises suddenly. spend_usd: the least amount; 0: none."""

    database: Database
    spend_usd: int

    async def report_spikes(self) -> None:
        """Report each user at most once a day (UTC)."""
        if self.spend_usd == 0:
            return
        async with self.database.as_system() as conn:
            spikes = await record_spikes(conn, least_nano_usd=self.spend_usd * NANO_PER_USD)
        for spike in spikes:
            USER_SPEND_SPIKES.inc()
            log.warning(
                "user.spend_spiked",
                user_id=spike.user_id,
                usd=usd_text(spike.nano_usd),
                usual_usd=usd_text(spike.usual_nano_usd),
            )
