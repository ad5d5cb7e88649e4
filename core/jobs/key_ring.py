"""Provider adapters for a job: its model, and the key that its send was made with."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import ProviderKeyId
from core.domain.messages.jobs import key_scope
from core.platform.crypto.sealing import Sealer, SealError
from core.platform.observability.logging import get_logger
from core.providers.models import Model
from core.providers.port import Provider
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.jobs.jobs import JobRecord
from core.store.providers.user_keys import KeyErasedError, open_key

log = get_logger(__name__)

CACHE_SIZE: Final = 1000
"""Adapters with users' own keys in the memory of a process; the least recently used is dropped."""
CACHE_SECONDS: Final = 600.0
"""After this time an erased key is in no process's memory either."""


def known_model(providers: Providers, job: JobRecord) -> tuple[Provider, Model] | None:
    """Return a job's provider and model; None if this version does not know the model.

    Only for prices and request bodies: the adapter may have no key. Another provider may have a
    model of the same name, so the job's own provider decides.
    """
    provider = providers.known(job.provider)
    if provider is None:
        return None
    model = next((model for model in provider.models if model.id == job.model), None)
    return (provider, model) if model is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRing:
    """Adapters with users' own keys: opened at first use and cached for a while."""

    database: Database
    box: Sealer
    _cache: OrderedDict[str, tuple[float, Provider]] = field(
        default_factory=OrderedDict[str, "tuple[float, Provider]"], init=False, repr=False
    )

    async def of_job(self, providers: Providers, job: JobRecord) -> Provider | None:
        """Return the adapter for calls about a job, with the key that its send was made with.

        None: the provider is not configured here, or the key cannot be opened. The job's deadline
        still ends it.
        """
        provider = self.in_memory(providers, job.provider, job.provider_key_id)
        if provider is None:
            async with self.database.as_user(job.user_id) as conn:
                provider = await self.open(conn, providers, job.provider, job.provider_key_id)
        if provider is None:
            log.warning("job.provider_not_available", job_id=job.job_id, provider=job.provider)
        return provider

    def in_memory(
        self, providers: Providers, name: str, provider_key_id: ProviderKeyId | None
    ) -> Provider | None:
        """Return an adapter with this key that needs no query; None: `open` it."""
        if provider_key_id is None:
            return _with_service_key(providers, name)
        return self._find(key_scope(name, provider_key_id))

    async def open(
        self,
        conn: Connection,
        providers: Providers,
        name: str,
        provider_key_id: ProviderKeyId | None,
    ) -> Provider | None:
        """Return an adapter with this key, or with the service's key for None.

        conn: as the key's user, or as system. Return None as `of_job` does.
        """
        adapter = self.in_memory(providers, name, provider_key_id)
        if adapter is not None or provider_key_id is None:
            return adapter
        scope = key_scope(name, provider_key_id)
        try:
            provider = providers.keyed(name, await open_key(conn, self.box, provider_key_id))
        except (KeyErasedError, SealError, LookupError, ValueError) as error:
            log.error(  # noqa: TRY400 - a stack trace could contain more of a key than its id
                "provider_key.open_failed",
                provider_key_id=provider_key_id,
                reason=type(error).__name__,
            )
            return None
        self._cache[scope] = (time.monotonic() + CACHE_SECONDS, provider)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return provider

    def _find(self, scope: str) -> Provider | None:
        expires_at, provider = self._cache.get(scope, (0.0, None))
        if provider is None or time.monotonic() > expires_at:
            self._cache.pop(scope, None)
            return None
        self._cache.move_to_end(scope)
        return provider


def _with_service_key(providers: Providers, name: str) -> Provider | None:
    return providers.provider(name) if name in providers.names else None
