"""What the routes work with, opened once per process. Nothing here waits for PostgreSQL, Temporal
or S3 to be up.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from temporalio.client import Client

from api.http.restore_gate import Gate
from core.jobs.key_ring import KeyRing
from core.ordering.services import OrderingServices
from core.platform.crypto.callback_tokens import PURPOSE, CallbackTokens
from core.platform.crypto.sealing import Sealer
from core.platform.egress.rules import OutboundRules
from core.platform.oidc.issuer import Issuer
from core.platform.settings.processes import ApiProcess
from core.platform.temporal.client import connect
from core.platform.temporal.payload_encryption import payload_converter
from core.providers.registry import Providers
from core.store.accounts.rate_limit import RateLimits
from core.store.database import Database
from core.store.executions.concurrency_counters import LoadLimits
from core.store.files.object_storage import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """temporal: connects at its first call. public_base_url: under which we are reached, without a
    slash at the end.

    files_are_public: their addresses are for good, on a CDN; else each is signed and expires.
    issuer: whose tokens are accepted beside API keys.
    """

    database: Database
    temporal: Client
    providers: Providers
    keys: KeyRing
    objects: ObjectStore
    secrets: Sealer
    tokens: CallbackTokens
    public_base_url: str
    files_are_public: bool
    gate: Gate
    rates: RateLimits
    limits: LoadLimits
    issuer: Issuer | None
    outbound: OutboundRules

    @property
    def ordering(self) -> OrderingServices:
        """The part that the application layer works with."""
        return OrderingServices(
            database=self.database,
            temporal=self.temporal,
            providers=self.providers,
            secrets=self.secrets,
            outbound=self.outbound,
            limits=self.limits,
        )


@asynccontextmanager
async def open_services(settings: ApiProcess) -> AsyncGenerator[Services]:
    sealer = Sealer(settings.encryption_key_bytes())
    async with (
        Database.open(
            settings.database_url.get_secret_value(), max_connections=settings.database_pool_size
        ) as database,
        Providers.open(settings) as providers,
        ObjectStore.open(
            endpoint_url=settings.s3_endpoint_url,
            bucket=settings.s3_bucket,
            access_key_id=settings.aws_access_key_id,
            secret_access_key=settings.aws_secret_access_key.get_secret_value(),
            region=settings.aws_region,
            cdn_base_url=settings.cdn_base_url,
        ) as objects,
        Issuer.open(settings) as issuer,
    ):
        gate = Gate(database, objects)
        comparing = asyncio.create_task(gate.compare_with_mark())
        try:
            yield await _services(settings, sealer, database, providers, objects, gate, issuer)
        finally:
            comparing.cancel()
            await asyncio.gather(comparing, return_exceptions=True)


async def _services(
    settings: ApiProcess,
    sealer: Sealer,
    database: Database,
    providers: Providers,
    objects: ObjectStore,
    gate: Gate,
    issuer: Issuer | None,
) -> Services:
    return Services(
        database=database,
        temporal=await connect(settings, payloads=payload_converter(settings), lazy=True),
        providers=providers,
        keys=KeyRing(database=database, box=sealer),
        objects=objects,
        secrets=sealer,
        tokens=CallbackTokens(sealer.derive_key(PURPOSE)),
        public_base_url=settings.public_base_url,
        files_are_public=settings.cdn_base_url is not None,
        gate=gate,
        rates=RateLimits(
            writes=settings.rate_limit_writes,
            reads=settings.rate_limit_reads,
            window_seconds=settings.rate_limit_window_seconds,
            user_factor=settings.rate_limit_user_factor,
        ),
        limits=LoadLimits.of(settings),
        issuer=issuer,
        outbound=settings.outbound_rules(),
    )


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
