"""`python worker.py`: settings → clients → activity objects → Temporal Workers; and the sweep."""

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvloop
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.assets import AssetActivities
from activities.executions import ExecutionActivities
from activities.jobs import JobActivities
from activities.webhooks import WebhookActivities
from core.domain.ids import ExecutionId
from core.domain.messages.executions import ExecutionOrder, ExecutionRef
from core.domain.messages.webhooks import DeliveryOrder
from core.jobs.admission import ProviderGate, submit_paces
from core.jobs.key_ring import KeyRing
from core.jobs.wakeups import Wakeups
from core.maintenance import workflow_queries as inquiries
from core.maintenance.open_bills import LateBills
from core.maintenance.reconciler import Sweep, TemporalOrders, Walked
from core.maintenance.restore_detector import MarkKeeper
from core.ordering import workflow_starts as orders
from core.platform.crypto.callback_tokens import PURPOSE, CallbackTokens
from core.platform.crypto.sealing import Sealer
from core.platform.egress.client import Outbound
from core.platform.observability.logging import configure_logging, get_logger
from core.platform.observability.metrics import MetricsPortError, start_metrics_server
from core.platform.settings.processes import (
    WorkerProcess,
    callback_base_url,
    callback_note,
    describe_settings,
    load,
    secret_values,
)
from core.platform.temporal import policies
from core.platform.temporal.client import (
    UNREACHABLE,
    TemporalConnectError,
    connect,
    ensure_search_attributes,
    queue_backlogs,
)
from core.platform.temporal.payload_encryption import payload_converter
from core.providers.registry import Providers, provider_address
from core.store.database import DATABASE_DOWN, Database
from core.store.executions.concurrency_counters import LoadLimits
from core.store.files.object_storage import ObjectStore
from core.store.recovery.restore_marker import HighWater
from core.webhooks.asset_links import AssetLinks
from core.webhooks.concurrency import EndpointRooms
from core.webhooks.sender import WebhookHttpSettings
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.execution import ExecutionWorkflow

log = get_logger(__name__)

WORKFLOWS = (ExecutionWorkflow, DeliverWebhookWorkflow)
CONNECT_RETRY_SECONDS = 2.0
OBJECT_KEY_PURPOSE = "object-key"
DATABASE_BEHIND_EXIT = 3
"""The database has gone back to the past: a supervisor may start this again, it then waits for
`recover`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Every activity object of this process, given its clients."""

    executions: ExecutionActivities
    jobs: JobActivities
    assets: AssetActivities
    webhooks: WebhookActivities
    late_bills: LateBills
    wakeups: Wakeups
    high_water: HighWater
    database: Database
    objects: ObjectStore
    providers: Providers


@asynccontextmanager
async def open_crew(settings: WorkerProcess, client: Client) -> AsyncGenerator[Crew]:
    """The clients and the activities that use them; closed together."""
    sealer = Sealer(settings.encryption_key_bytes())
    high_water = HighWater()
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(
                settings.database_url.get_secret_value(),
                max_connections=settings.database_pool_size,
                verify=high_water.verify,
            )
        )
        providers = await stack.enter_async_context(Providers.open(settings))
        objects = await stack.enter_async_context(ObjectStore.of(settings))
        outbound = await stack.enter_async_context(Outbound.open(settings.outbound_rules()))
        downloads = await stack.enter_async_context(outbound.client())
        keys = KeyRing(database=database, box=sealer)
        wakeups = Wakeups()
        await stack.enter_async_context(wakeups.listening(database))

        yield Crew(
            database=database,
            objects=objects,
            providers=providers,
            wakeups=wakeups,
            high_water=high_water,
            executions=execution_activities(settings, client, database),
            jobs=JobActivities(
                database=database,
                providers=providers,
                objects=objects,
                tokens=CallbackTokens(sealer.derive_key(PURPOSE)),
                callback_urls=callback_urls(settings, providers.known_names),
                wakeups=wakeups,
                high_water=high_water,
                keys=keys,
                gate=ProviderGate.of(settings, providers.known_names),
            ),
            assets=AssetActivities(
                database=database,
                providers=providers,
                keys=keys,
                objects=objects,
                downloads=downloads,
                key_secret=sealer.derive_key(OBJECT_KEY_PURPOSE)[0],
            ),
            webhooks=WebhookActivities(
                database,
                sealer,
                WebhookHttpSettings(outbound=outbound),
                EndpointRooms(
                    per_user=max(1, min(policies.TRIES_PER_USER, settings.webhook_slots // 4))
                ),
            ),
            late_bills=LateBills(database=database, providers=providers, keys=keys),
        )


def execution_activities(
    settings: WorkerProcess, client: Client, database: Database
) -> ExecutionActivities:
    """Given what starts workflows."""

    async def start_delivery(order: DeliveryOrder) -> bool:
        return await orders.start_delivery(client, order)

    async def start_execution(order: ExecutionOrder, prompt: str) -> None:
        await orders.start_execution(client, database, order, prompt=prompt)

    return ExecutionActivities(
        database=database,
        links=AssetLinks(
            public_base_url=settings.public_base_url, cdn_base_url=settings.cdn_base_url
        ),
        start_delivery=start_delivery,
        start_execution=start_execution,
        limits=LoadLimits.of(settings),
    )


def callback_urls(settings: WorkerProcess, names: tuple[str, ...]) -> dict[str, str]:
    """Where each provider calls back; one that could not reach us is not asked to."""
    found: dict[str, str] = {}
    for name in names:
        address = provider_address(settings, name)
        log.info(callback_note(name, settings.public_base_url, address))
        base = callback_base_url(settings.public_base_url, address)
        if base is not None:
            found[name] = f"{base}/callbacks/{name}"
    return found


def make_workers(client: Client, crew: Crew, settings: WorkerProcess) -> list[Worker]:
    """One Worker per task queue, each with slots of its own (core/platform/temporal/policies.py
    says why).
    """

    def worker(queue: str, slots: int, activities: list[Any], **more: Any) -> Worker:
        return Worker(
            client,
            task_queue=queue,
            activities=activities,
            max_concurrent_activities=slots,
            graceful_shutdown_timeout=policies.GRACEFUL_SHUTDOWN,
            **more,
        )

    return [
        worker(
            policies.EXECUTIONS_QUEUE,
            settings.execution_slots,
            [
                crew.executions.claim,
                crew.executions.cancel,
                crew.executions.finish,
                crew.jobs.settle,
            ],
            workflows=WORKFLOWS,
            max_concurrent_workflow_tasks=settings.execution_slots,
            max_concurrent_local_activities=settings.execution_slots,
            sticky_queue_schedule_to_start_timeout=policies.STICKY_SCHEDULE_TO_START,
        ),
        *(
            worker(
                policies.submit_queue(name),
                settings.submit_slots,
                [crew.jobs.submit, crew.jobs.cancel],
                **pace,
            )
            for name, pace in submit_paces(settings, crew.providers.known_names)
        ),
        worker(policies.WAIT_QUEUE, settings.wait_slots, [crew.jobs.wait, crew.jobs.find]),
        worker(policies.ASSETS_QUEUE, settings.asset_slots, [crew.assets.store]),
        worker(
            policies.WEBHOOKS_QUEUE,
            settings.webhook_slots,
            [crew.webhooks.attempt, crew.webhooks.finish],
        ),
    ]


def make_sweep(client: Client, crew: Crew) -> Sweep:
    queues = (
        policies.EXECUTIONS_QUEUE,
        *(policies.submit_queue(name) for name in crew.providers.known_names),
        policies.WAIT_QUEUE,
        policies.ASSETS_QUEUE,
        policies.WEBHOOKS_QUEUE,
    )

    async def signal_cancel(ref: ExecutionRef, reason: str) -> bool:
        return await orders.signal_cancel(
            client, ref.execution_id, reason, generation=ref.generation
        )

    async def closed(execution_id: ExecutionId) -> str | None:
        return await inquiries.how_it_closed(client, execution_id)

    async def walked(execution_id: ExecutionId) -> Walked | None:
        return await inquiries.walked(client, execution_id)

    async def delivered(order: DeliveryOrder) -> bool:
        return await inquiries.delivered(client, order)

    async def measure_queues() -> None:
        await queue_backlogs(client, queues)

    return Sweep(
        database=crew.database,
        executions=crew.executions,
        late_bills=crew.late_bills,
        objects=crew.objects,
        orders=TemporalOrders(
            start_execution=crew.executions.start_execution,
            signal_cancel=signal_cancel,
            start_delivery=crew.executions.start_delivery,
            closed=closed,
            measure_queues=measure_queues,
            walked=walked,
            delivered=delivered,
        ),
        unreachable=UNREACHABLE,
    )


async def connect_patiently(settings: WorkerProcess, stopping: asyncio.Event) -> Client | None:
    """A worker without Temporal has nothing to do: it waits for it, and says so.

    None when it was told to stop meanwhile.
    """
    while not stopping.is_set():
        try:
            client = await connect(
                settings,
                payloads=payload_converter(settings),
                metrics_port=settings.sdk_metrics_port,
                metrics_host=settings.metrics_host,
            )
            await ensure_search_attributes(client)
        except TemporalConnectError as error:
            log.warning("waiting for Temporal", reason=str(error))
            await asyncio.sleep(CONNECT_RETRY_SECONDS)
        else:
            return client
    return None


async def serve(settings: WorkerProcess) -> int:
    """Until SIGTERM or SIGINT; then no new work is taken, what is sent is answered, and waiting is
    handed over.

    Also until the database is found to have gone back to the past: the next start waits until it
    was recovered. Raises UnsafeLoginError.
    """
    stopping = asyncio.Event()
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, stopping.set)
    async with Database.open(
        settings.database_url.get_secret_value(), max_connections=1
    ) as database:
        await database.refuse_unsafe_login()
    client = await connect_patiently(settings, stopping)
    if client is None:
        return 0
    async with open_crew(settings, client) as crew, AsyncExitStack() as running:
        sweep = make_sweep(client, crew)
        keeper = MarkKeeper(
            database=crew.database,
            objects=crew.objects,
            high_water=crew.high_water,
            leads=lambda: sweep.leads,
        )
        if not await keeper.wait_until_current(stopping):
            return 0
        workers = make_workers(client, crew, settings)
        for worker in workers:
            await running.enter_async_context(worker)
        watching = asyncio.create_task(keeper.watch())
        sweeping = asyncio.create_task(sweep.run())
        log.info("worker started", namespace=client.namespace, providers=crew.providers.names)
        told = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait({told, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching in done:
            watching.result()
        log.info("worker is stopping: no new work, running calls are finished")
        told.cancel()
        watching.cancel()
        sweeping.cancel()
        # All at once: one that still drains must not keep another taking paid calls that the end
        # would cut.
        await asyncio.gather(
            sweeping, watching, *(worker.shutdown() for worker in workers), return_exceptions=True
        )
    log.info("worker stopped")
    return DATABASE_BEHIND_EXIT if crew.high_water.behind.is_set() else 0


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="python worker.py",
        description="Runs the workflows and activities of Takeone, and its sweep. Start as many as you like.",
        epilog=describe_settings(WorkerProcess),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main() -> int:
    _parser().parse_args()
    settings = load(WorkerProcess)
    configure_logging(settings.log_level, settings.log_format, secrets=secret_values(settings))
    try:
        return _work(settings)
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        sys.stderr.write(f"DATABASE_URL: {error}\n")
        return 2
    except (TemporalConnectError, RPCError, *DATABASE_DOWN) as error:
        sys.stderr.write(f"{' '.join(str(error).split()) or type(error).__name__}\n")
        return 1


def _work(settings: WorkerProcess) -> int:
    try:
        metrics_server = start_metrics_server(settings.metrics_host, settings.metrics_port)
    except MetricsPortError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        return uvloop.run(serve(settings))
    finally:
        if metrics_server is not None:
            metrics_server.stop()


if __name__ == "__main__":
    sys.exit(main())
