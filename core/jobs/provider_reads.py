"""Admission of urgent reads at providers: they share the rate of status reads and come first."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from core.platform.observability import metrics
from core.providers.port import ProviderUnavailableError
from core.providers.registry import Providers, reads_per_minute
from core.store.database import Database
from core.store.providers.read_rate import take_urgent_read

PATIENCE_SECONDS: Final = 5.0
"""How long a call waits for its key's rate: a fraction of the time that its activity has."""
MAX_PAUSE_SECONDS: Final = 1.0
MIN_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReads:
    """Admits lists, cancels and reads of files' addresses.

    per_minute: by provider, the rate of each of its keys.
    """

    database: Database
    per_minute: Mapping[str, int]

    @classmethod
    def of(cls, database: Database, providers: Providers) -> Self:
        return cls(database=database, per_minute=reads_per_minute(providers.known_names))

    async def admit(self, scope: str) -> None:
        """Wait until a read with the key of this scope is within the rate.

        Raises ProviderUnavailableError with the time to wait if that takes too long: the caller
        repeats the read as after any other failure.
        """
        provider = scope.partition("/")[0]
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            async with self.database.as_system() as conn:
                seconds = await take_urgent_read(conn, scope, self.per_minute[provider])
            if not seconds:
                return
            metrics.LOOKS_LIMITED.labels(provider).inc()
            if asyncio.get_running_loop().time() + seconds > end:
                raise ProviderUnavailableError(
                    "the rate of reads with this key is used up", retry_after_seconds=seconds
                )
            await asyncio.sleep(min(MAX_PAUSE_SECONDS, max(MIN_PAUSE_SECONDS, seconds)))
