"""The connections and limits that ordering works with."""

from dataclasses import dataclass
from typing import Protocol

from temporalio.client import Client

from core.domain.ids import ProviderKeyId
from core.ordering.assets.imports import AssetImporter
from core.platform.crypto.sealing import Sealer
from core.platform.egress.rules import OutboundRules
from core.providers.port import Provider
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits


class Keys(Protocol):
    """Adapters with the service's keys and with those of users."""

    async def open(
        self,
        conn: Connection,
        providers: Providers,
        name: str,
        provider_key_id: ProviderKeyId | None,
    ) -> Provider | None:
        """Return an adapter with this key, or with the service's key for None.

        conn: as the key's user. None: there is no such key, or it cannot be opened.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderingServices:
    """Opened once per process by the surface that takes orders.

    secrets: seals the webhook secret of a request. outbound: which webhook addresses are allowed.
    limits: of users without limits of their own. imports: imports the files that orders name.
    keys: opens adapters that call their provider.
    """

    database: Database
    temporal: Client
    providers: Providers
    secrets: Sealer
    outbound: OutboundRules
    limits: ConcurrencyLimits
    imports: AssetImporter
    keys: Keys
