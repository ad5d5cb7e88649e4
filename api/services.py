"""The connections and settings of the routes, opened once per process.

Opening them does not need PostgreSQL, Temporal or S3 to be reachable.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request
from temporalio.client import Client

from api.events.hub import Hub
from api.events.limits import StreamLimits
from api.events.offers import Offers
from api.executions.outlook import Outlooks
from api.http.recovery_admission import RecoveryAdmission
from api.openai.models import checked_aliases
from core.jobs.key_ring import KeyRing
from core.media.pictures import PictureConverter
from core.ordering.assets.imports import AssetImporter, AssetLimits
from core.ordering.services import OrderingServices
from core.platform.crypto.callback_tokens import PURPOSE, CallbackTokens
from core.platform.crypto.sealing import Sealer
from core.platform.egress.client import Outbound
from core.platform.egress.rules import OutboundRules
from core.platform.oidc.issuer import Issuer
from core.platform.settings.processes import ApiProcess
from core.platform.temporal.client import connect
from core.platform.temporal.payload_encryption import payload_converter
from core.providers.registry import Providers
from core.store.accounts.rate_limit import RateLimits
from core.store.database import Database
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.files.object_storage import ObjectStore
from core.webhooks.asset_links import AssetLinks


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The clients and settings that requests share.

    temporal: connects at its first call.
    public_base_url: URL at which clients reach the API, without a trailing slash.
    files_are_public: stored files have permanent URLs on a CDN; otherwise URLs are signed and
    expire. links: builds the stable URLs of files.
    imports: imports files that users upload. outlooks: reads queue positions
    and estimates.
    streams: the open event streams. offers: reads what listeners of endpoints get.
    model_aliases: other names of video models on /v1. files_kept: the time from the end of an
    execution until its files are deleted; None: never.
    issuer: identity provider whose tokens are accepted in addition to API keys.
    temporal_ui_url: address of the Temporal Web UI; None: unknown.
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
    links: AssetLinks
    recovery: RecoveryAdmission
    rates: RateLimits
    limits: ConcurrencyLimits
    issuer: Issuer | None
    outbound: OutboundRules
    imports: AssetImporter
    outlooks: Outlooks
    streams: Hub
    offers: Offers
    model_aliases: Mapping[str, str]
    files_kept: timedelta | None
    temporal_ui_url: str | None = None

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
            imports=self.imports,
            keys=self.keys,
        )


@asynccontextmanager
async def open_services(settings: ApiProcess) -> AsyncGenerator[Services]:
    sealer = Sealer(settings.encryption_key_bytes())
    async with (
        Database.open(
            settings.database_url.get_secret_value(), max_connections=settings.database_pool_size
        ) as database,
        Providers.open(settings) as providers,
        ObjectStore.of(settings) as objects,
        Issuer.open(settings) as issuer,
        Outbound.open(settings.outbound_rules()) as outbound,
        outbound.client() as downloads,
    ):
        imports = AssetImporter(
            database=database,
            objects=objects,
            downloads=downloads,
            pictures=PictureConverter(),
            limits=AssetLimits(
                max_bytes=settings.asset_max_bytes,
                files=settings.assets_per_user,
                bytes=settings.asset_bytes_per_user,
            ),
        )
        recovery = RecoveryAdmission(database, objects)
        comparison = asyncio.create_task(recovery.compare_with_restore_marker())
        services = await _services(settings, sealer, providers, imports, recovery, issuer)
        try:
            async with services.streams.running():
                yield services
        finally:
            comparison.cancel()
            await asyncio.gather(comparison, return_exceptions=True)


async def _services(
    settings: ApiProcess,
    sealer: Sealer,
    providers: Providers,
    imports: AssetImporter,
    recovery: RecoveryAdmission,
    issuer: Issuer | None,
) -> Services:
    links = AssetLinks(public_base_url=settings.public_base_url, cdn_base_url=settings.cdn_base_url)
    outlooks = Outlooks(limits=ConcurrencyLimits.of(settings))
    offers = Offers(database=imports.database, sealer=sealer)
    kept_days = settings.files_kept_days
    stream_limits = StreamLimits(
        per_key=settings.streams_per_key,
        per_user=settings.streams_per_user,
        per_process=settings.streams_per_process,
    )
    return Services(
        database=imports.database,
        temporal=await connect(settings, payloads=payload_converter(settings), lazy=True),
        providers=providers,
        keys=KeyRing(database=imports.database, box=sealer),
        objects=imports.objects,
        secrets=sealer,
        tokens=CallbackTokens(sealer.derive_key(PURPOSE)),
        public_base_url=settings.public_base_url,
        files_are_public=settings.cdn_base_url is not None,
        links=links,
        recovery=recovery,
        rates=RateLimits(
            writes=settings.rate_limit_writes,
            reads=settings.rate_limit_reads,
            window_seconds=settings.rate_limit_window_seconds,
            user_factor=settings.rate_limit_user_factor,
        ),
        limits=outlooks.limits,
        issuer=issuer,
        outbound=settings.outbound_rules(),
        imports=imports,
        outlooks=outlooks,
        streams=Hub(imports.database, links, stream_limits, outlooks, offers),
        offers=offers,
        model_aliases=checked_aliases(dict(settings.openai_model_aliases), providers),
        files_kept=None if kept_days is None else timedelta(days=kept_days),
        temporal_ui_url=settings.temporal_ui_url,
    )


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services
