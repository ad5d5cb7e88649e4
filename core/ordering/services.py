"""The connections and limits that ordering works with."""

from dataclasses import dataclass

from temporalio.client import Client

from core.platform.crypto.sealing import Sealer
from core.platform.egress.rules import OutboundRules
from core.providers.registry import Providers
from core.store.database import Database
from core.store.executions.concurrency_counters import ConcurrencyLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderingServices:
    """Opened once per process by the surface that takes orders.

    secrets: seals the webhook secret of a request. outbound: which webhook addresses are allowed.
    limits: of users without limits of their own.
    """

    database: Database
    temporal: Client
    providers: Providers
    secrets: Sealer
    outbound: OutboundRules
    limits: ConcurrencyLimits
