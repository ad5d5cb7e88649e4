"""Retention: old data is deleted in small batches, by kind. Without a setting, it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import RETENTION_DELETED
from core.platform.settings.worker import RetentionSettings
from core.store.database import Database
from core.store.executions.retention import DataKind, delete_expired

log = get_logger(__name__)

for _kind in DataKind:
    RETENTION_DELETED.labels(_kind)  # start at zero, so that the first is an increase

BATCH: Final = 200
EXECUTIONS_BATCH: Final = 20
"""An execution takes several statements, all in the transaction of its batch."""
BATCHES: Final = 50
"""Batches of a kind in one run: a first deletion of years of data is spread over many runs."""


def retention_days(settings: RetentionSettings) -> dict[DataKind, int]:
    """Return the retention of each kind that has one."""
    days = {
        DataKind.EXECUTIONS: settings.retention_days_executions,
        DataKind.SENDS: settings.retention_days_sends,
        DataKind.CALLBACKS: settings.retention_days_callbacks,
        DataKind.WEBHOOKS: settings.retention_days_webhooks,
        DataKind.WEBHOOK_ATTEMPTS: settings.retention_days_webhook_attempts,
        DataKind.FILES: settings.retention_days_files,
        DataKind.UPLOADS: settings.retention_days_uploads,
    }
    return {kind: number for kind, number in days.items() if number is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Deletes data that is older than its retention. days: by kind; a missing kind is kept."""

    database: Database
    days: Mapping[DataKind, int]

    async def apply(self) -> None:
        """Delete what is too old, at most BATCHES batches of each kind. Safe to interrupt."""
        for kind, days in self.days.items():
            number = await self._delete(kind, days)
            if number:
                RETENTION_DELETED.labels(kind).inc(number)
                log.info("retention.applied", kind=kind, days=days, number=number)

    async def _delete(self, kind: DataKind, days: int) -> int:
        limit = EXECUTIONS_BATCH if kind is DataKind.EXECUTIONS else BATCH
        total = 0
        for _ in range(BATCHES):
            async with self.database.as_system() as conn:
                deleted = await delete_expired(conn, kind, days=days, limit=limit)
            total += deleted
            if deleted < limit:
                break
        return total
