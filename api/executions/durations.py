"""The measured durations of models, kept in the process for a minute."""

import time
from typing import Final

from core.store.database import Connection
from core.store.providers.job_durations import NO_HISTORY, DurationHistory, read_history

MAX_AGE_SECONDS: Final = 60.0
"""The reconciler measures about once a minute."""


class RecentDurations:
    """A process's copy of the measurements: one small read a minute, however many requests."""

    def __init__(self) -> None:
        self._history = NO_HISTORY
        self._read_at: float | None = None

    async def get(self, conn: Connection) -> DurationHistory:
        """Return the measurements, read with this connection if the copy is too old."""
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < MAX_AGE_SECONDS:
            return self._history
        if self._read_at is not None:
            self._read_at = now  # other requests continue with the old copy meanwhile
        self._history = await read_history(conn)
        self._read_at = now
        return self._history
