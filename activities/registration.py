"""The activities of a worker process: their clients, and the task queue that serves each."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from activities.approvals import ApprovalActivities
from activities.assets import AssetActivities
from activities.executions import ExecutionActivities
from activities.jobs import JobActivities
from activities.media import MediaActivities
from activities.webhooks import WebhookActivities
from core.jobs.key_ring import KeyRing
from core.jobs.rendering.files import RunFiles
from core.jobs.rendering.posters import Posters
from core.jobs.rendering.runs import MediaRuns
from core.jobs.submission.admission import ProviderAdmission, submit_rate
from core.jobs.submission.brief_waits import BriefWaits
from core.jobs.waiting.poller import JobPoller
from core.jobs.waiting.wakeups import Wakeups
from core.media.engine.engine import Engine
from core.platform.crypto.callback_tokens import PURPOSE, CallbackTokens
from core.platform.crypto.sealing import Sealer
from core.platform.egress.client import Outbound
from core.platform.observability.logging import get_logger
from core.platform.settings.base import SettingError
from core.platform.settings.processes import WorkerProcess
from core.platform.temporal import policies
from core.platform.temporal.worker_versions import worker_deployment
from core.platform.urls import callback_base_url, callback_note
from core.providers.registry import (
    Providers,
    calls_back,
    needs_callbacks,
    provider_address,
    reads_per_minute,
)
from core.store.database import Database
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.files.job_files import JobFiles
from core.store.files.object_storage import ObjectStore
from core.store.recovery.restore_marker import SerialWatch
from core.webhooks.asset_links import AssetLinks
from core.webhooks.concurrency import AttemptSlots
from core.webhooks.sender import WebhookHttpSettings

log = get_logger(__name__)

OBJECT_KEY_PURPOSE = "object-key"
LOOKUP_SLOTS: Final = 2000
"""Concurrent look-ups of sends with an unknown outcome. Waits for providers occupy no slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activities:
    """The activity objects of a process, with the clients that they share."""

    executions: ExecutionActivities
    approvals: ApprovalActivities
    jobs: JobActivities
    assets: AssetActivities
    webhooks: WebhookActivities
    database: Database
    objects: ObjectStore
    providers: Providers
    keys: KeyRing
    serial_watch: SerialWatch


@asynccontextmanager
async def open_activities(settings: WorkerProcess, client: Client) -> AsyncGenerator[Activities]:
    """Open the clients and yield the activities that use them; close all clients at the end."""
    sealer, serial_watch = Sealer(settings.encryption_key_bytes()), SerialWatch()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(_open_database(settings, serial_watch))
        providers = await stack.enter_async_context(Providers.open(settings))
        objects = await stack.enter_async_context(ObjectStore.of(settings))
        outbound = await stack.enter_async_context(Outbound.open(settings.outbound_rules()))
        downloads = await stack.enter_async_context(outbound.client())
        keys = KeyRing(database=database, box=sealer)
        key_secret = sealer.derive_key(OBJECT_KEY_PURPOSE)[0]
        executions = _executions(settings, client, database)
        wakeups = Wakeups()
        await stack.enter_async_context(wakeups.listening(database))
        yield Activities(
            database=database,
            objects=objects,
            providers=providers,
            keys=keys,
            serial_watch=serial_watch,
            executions=executions,
            approvals=ApprovalActivities.of(executions),
            jobs=JobActivities(
                database=database,
                providers=providers,
                objects=objects,
                tokens=CallbackTokens(sealer.derive_key(PURPOSE)),
                callback_urls=callback_urls(settings, providers.known_names),
                wakeups=wakeups,
                serial_watch=serial_watch,
                keys=keys,
                admission=ProviderAdmission.of(settings, providers.known_names),
                brief_waits=BriefWaits(
                    database=database,
                    providers=providers,
                    wakeups=wakeups,
                    limit=settings.submit_slots // 2,
                ),
                files=JobFiles(objects=objects, key_secret=key_secret),
            ),
            assets=AssetActivities(
                database=database,
                providers=providers,
                keys=keys,
                objects=objects,
                downloads=downloads,
                key_secret=key_secret,
            ),
            webhooks=WebhookActivities(
                database=database,
                sealer=sealer,
                http=WebhookHttpSettings(outbound=outbound),
                slots=AttemptSlots.of(settings.webhook_slots),
            ),
        )


def _executions(settings: WorkerProcess, client: Client, database: Database) -> ExecutionActivities:
    return ExecutionActivities(
        client=client,
        database=database,
        links=AssetLinks(
            public_base_url=settings.public_base_url, cdn_base_url=settings.cdn_base_url
        ),
        limits=ConcurrencyLimits.of(settings),
        makes_posters=settings.media_posters,
    )


@asynccontextmanager
async def open_media(
    settings: WorkerProcess, activities: Activities
) -> AsyncGenerator[MediaActivities]:
    """Start the media engine and yield the activities that use it. Raises SettingError."""
    engine = await Engine.start(settings)
    files = RunFiles(database=activities.database, files=activities.assets.files)
    try:
        yield MediaActivities(
            runs=MediaRuns(database=activities.database, engine=engine, files=files),
            posters=Posters(database=activities.database, engine=engine, files=files),
            links=activities.executions.links,
        )
    finally:
        engine.close()


def callback_urls(settings: WorkerProcess, names: tuple[str, ...]) -> dict[str, str]:
    """Return the callback address of each provider that can reach this service.

    Raises SettingError if a provider cannot reach it whose results arrive only by callback.
    """
    urls: dict[str, str] = {}
    for name in filter(calls_back, names):
        address = provider_address(settings, name)
        base = callback_base_url(settings.public_base_url, address)
        log.info(
            "callbacks.configured",
            provider=name,
            note=callback_note(name, settings.public_base_url, address),
        )
        if base is None and needs_callbacks(settings, name):
            raise SettingError(
                f"{name} returns results only by callback, and {address} cannot reach "
                f"{settings.public_base_url}. Set PUBLIC_URL to an address that it can reach."
            )
        if base is not None:
            urls[name] = f"{base}/callbacks/{name}"
    return urls


def _open_database(
    settings: WorkerProcess, serial_watch: SerialWatch
) -> AbstractAsyncContextManager[Database]:
    return Database.open(
        settings.database_url.get_secret_value(),
        max_connections=settings.database_pool_size,
        verify=serial_watch.verify,
    )


def make_poller(client: Client, activities: Activities) -> JobPoller:
    """Return the poller that completes the waiting activities."""
    return JobPoller(
        client=client,
        database=activities.database,
        providers=activities.providers,
        keys=activities.keys,
        wakeups=activities.jobs.wakeups,
        reads_per_minute=reads_per_minute(activities.providers.known_names),
    )


def _worker(
    client: Client,
    deployment: WorkerDeploymentConfig | None,
    queue: str,
    slots: int,
    served: list[Any],
    **options: Any,
) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        activities=served,
        max_concurrent_activities=slots,
        graceful_shutdown_timeout=policies.GRACEFUL_SHUTDOWN,
        deployment_config=deployment,
        **options,
    )


def make_workers(
    client: Client,
    activities: Activities,
    media: MediaActivities,
    settings: WorkerProcess,
    workflows: tuple[type[Any], ...],
) -> list[Worker]:
    """Return one Worker per task queue, each with its own slots (reasons: policies.py)."""
    assets, webhooks = activities.assets, activities.webhooks
    worker = partial(_worker, client, worker_deployment(settings))
    return [
        worker(
            policies.EXECUTIONS_QUEUE,
            settings.execution_slots,
            [
                activities.executions.claim,
                activities.executions.cancel,
                activities.executions.finish,
                activities.executions.start_delivery,
                activities.approvals.look,
                activities.jobs.settle,
                activities.jobs.claim_purchase,
                media.fail,
            ],
            workflows=workflows,
            workflow_runner=UnsandboxedWorkflowRunner(),  # saves processor time: decision 16
            max_concurrent_workflow_tasks=settings.execution_slots,
            max_concurrent_local_activities=settings.execution_slots,
            sticky_queue_schedule_to_start_timeout=policies.STICKY_SCHEDULE_TO_START,
        ),
        *(
            worker(
                policies.submit_queue(name, own_key=own_key),
                settings.submit_slots,
                [activities.jobs.submit, activities.jobs.cancel],
                max_task_queue_activities_per_second=(
                    None if own_key else submit_rate(settings, name)
                ),
            )
            for name, own_key in product(activities.providers.known_names, (False, True))
        ),
        worker(policies.WAIT_QUEUE, LOOKUP_SLOTS, [activities.jobs.wait, activities.jobs.find]),
        worker(policies.ASSETS_QUEUE, settings.asset_slots, [assets.store, assets.reuse]),
        worker(policies.MEDIA_QUEUE, media.runs.engine.slots, [media.run, media.make_poster]),
        worker(
            policies.WEBHOOKS_QUEUE,
            settings.webhook_slots,
            [webhooks.attempt_first, webhooks.attempt, webhooks.finish],
        ),
    ]
