"""With which key a provider is asked: for as long as anything about a job is open, with the one it
was sent with.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import ProviderKeyId
from core.domain.messages.jobs import key_scope
from core.platform.crypto.sealing import Sealer, SealError
from core.platform.observability.logging import get_logger
from core.providers.port import Provider
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.jobs.jobs import JobRecord
from core.store.providers.user_keys import KeyErasedError, open_key

log = get_logger(__name__)

KEPT: Final = 1000
"""Adapters with users' own keys in the memory of a process, at most; the one used longest ago goes
first.
"""
KEPT_SECONDS: Final = 600.0
"""So much later at most, a key that was erased is in no process's memory either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """Users' own keys in use: each opened when it is needed first, its adapter kept for a while."""

    database: Database
    box: Sealer
    _kept: OrderedDict[str, tuple[float, Provider]] = field(
        default_factory=OrderedDict[str, "tuple[float, Provider]"], init=False, repr=False
    )

    async def of_job(self, providers: Providers, job: JobRecord) -> Provider | None:
        """Whom to ask about a job.

        None: nobody can be asked, for the provider is not on offer here (any more), or the key
        cannot be opened. The job's deadline still ends it.
        """
        provider = self._find(job.scope)
        if provider is None and job.provider_key_id is None:
            provider = _services(providers, job.provider)
        elif provider is None:
            async with self.database.as_user(job.user_id) as conn:
                provider = await self.open(conn, providers, job.provider, job.provider_key_id)
        if provider is None:
            log.warning(
                "the provider of a job cannot be asked", job_id=job.job_id, provider=job.provider
            )
        return provider

    async def open(
        self,
        conn: Connection,
        providers: Providers,
        name: str,
        provider_key_id: ProviderKeyId | None,
    ) -> Provider | None:
        """An adapter with this key, None: with the service's. conn: as the key's user, or as
        system.

        None: as in of_job.
        """
        if provider_key_id is None:
            return _services(providers, name)
        scope = key_scope(name, provider_key_id)
        kept = self._find(scope)
        if kept is not None:
            return kept
        try:
            provider = providers.keyed(name, await open_key(conn, self.box, provider_key_id))
        except (KeyErasedError, SealError, LookupError, ValueError) as error:
            log.error(  # noqa: TRY400 - a trace could show more of a key than its id
                "a user's own key cannot be used",
                provider_key_id=provider_key_id,
                reason=type(error).__name__,
            )
            return None
        self._kept[scope] = (time.monotonic() + KEPT_SECONDS, provider)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return provider

    def _find(self, scope: str) -> Provider | None:
        until, provider = self._kept.get(scope, (0.0, None))
        if provider is None or time.monotonic() > until:
            self._kept.pop(scope, None)
            return None
        self._kept.move_to_end(scope)
        return provider


def _services(providers: Providers, name: str) -> Provider | None:
    return providers.provider(name) if name in providers.names else None
