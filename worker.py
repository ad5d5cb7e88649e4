"""`python worker.py`: the worker process. It runs workflows, activities and the reconciler.

`python worker.py replay` checks before a rollout whether this version can continue what runs.
"""

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import Final

import uvloop
from temporalio.client import Client
from temporalio.service import RPCError

from activities.media import MediaActivities
from activities.registration import (
    Activities,
    make_poller,
    make_workers,
    open_activities,
    open_media,
)
from core.jobs.initial_series import start_at_zero
from core.maintenance.open_bills import OpenBillSettler
from core.maintenance.reconciler import Reconciler, build_reconciler
from core.maintenance.replay import replay_stored
from core.maintenance.restores.detector import RestoreDetector
from core.maintenance.retention import retention_days
from core.platform.observability import tracing
from core.platform.observability.logging import configure_logging, get_logger
from core.platform.observability.metrics_server import MetricsPortError, start_metrics_server
from core.platform.settings.base import SettingError
from core.platform.settings.load import describe_settings, load, secret_values
from core.platform.settings.processes import ReplayProcess, WorkerProcess
from core.platform.temporal.client import (
    SearchAttributeTypeError,
    TemporalConnectError,
    TemporalSettingsError,
    connect,
    connect_with_retries,
)
from core.platform.temporal.payload_encryption import payload_converter
from core.platform.temporal.policies import task_queues
from core.store.database import DATABASE_DOWN, Database
from core.store.login import LoginRefusedError, UnsafeLoginError
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.execution import ExecutionWorkflow

log = get_logger(__name__)

WORKFLOWS: Final = (ExecutionWorkflow, DeliverWebhookWorkflow)
DATABASE_BEHIND_EXIT: Final = 3
"""The database was restored from an older backup. A supervisor may start the worker again: it then
waits for `takeone-admin recover`.
"""


async def serve(settings: WorkerProcess) -> int:
    """Work until SIGTERM or SIGINT, or until the database is found to be behind.

    Then take no new work, finish and record running calls, and hand waiting jobs over to other
    workers. Return the exit code. Raises UnsafeLoginError.
    """
    stopping = asyncio.Event()
    for stop in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(stop, stopping.set)
    async with Database.open(
        settings.database_url.get_secret_value(), max_connections=1
    ) as database:
        await database.refuse_unsafe_login()
    client = await connect_with_retries(
        settings,
        stopping,
        payloads=payload_converter(settings),
        metrics_port=settings.sdk_metrics_port,
        metrics_host=settings.metrics_host,
    )
    if client is None:
        return 0
    async with open_activities(settings, client) as activities:
        start_at_zero(activities.providers)
        reconciler = build_reconciler(
            client=client,
            database=activities.database,
            objects=activities.objects,
            executions=activities.executions,
            open_bills=OpenBillSettler(
                database=activities.database, providers=activities.providers, keys=activities.keys
            ),
            admission=activities.jobs.admission,
            task_queues=task_queues(activities.providers.known_names),
            retention_days=retention_days(settings),
            user_spend_alarm_usd=settings.user_spend_alarm_usd,
        )
        detector = RestoreDetector(
            database=activities.database,
            objects=activities.objects,
            serial_watch=activities.serial_watch,
            leads=lambda: reconciler.leads,
        )
        if not await detector.wait_until_current(stopping):
            return 0
        async with open_media(settings, activities) as media:
            await work(settings, client, activities, media, reconciler, detector, stopping)
    log.info("worker.stopped")
    return DATABASE_BEHIND_EXIT if activities.serial_watch.behind.is_set() else 0


async def work(
    settings: WorkerProcess,
    client: Client,
    activities: Activities,
    media: MediaActivities,
    reconciler: Reconciler,
    detector: RestoreDetector,
    stopping: asyncio.Event,
) -> None:
    """Run the Temporal workers and the background loops until they have to stop."""
    workers = make_workers(client, activities, media, settings, WORKFLOWS)
    async with AsyncExitStack() as running:
        for worker in workers:
            await running.enter_async_context(worker)
        watching = asyncio.create_task(detector.watch())
        reconciling = asyncio.create_task(reconciler.run())
        polling = asyncio.create_task(make_poller(client, activities).run())
        stop = asyncio.create_task(stopping.wait())
        log.info("worker.started", namespace=client.namespace, providers=activities.providers.names)
        tasks = (stop, watching, reconciling, polling)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        log.info("worker.stopping")
        for task in tasks:
            task.cancel()
        # All workers at once: a worker that waits for another's drain would still take paid calls.
        await asyncio.gather(
            *tasks,
            *(worker.shutdown() for worker in workers),
            return_exceptions=True,
        )
        for task in done:  # a loop that ended by an error ends the process, for a supervisor to see
            task.result()


async def replay(settings: ReplayProcess, limit: int) -> int:
    """Replay stored histories and print what this version cannot continue.

    Return 1 if there is any. Raises TemporalConnectError or RPCError.
    """
    client = await connect(settings, payloads=payload_converter(settings))
    count = failed = 0
    async for replayed in replay_stored(client, WORKFLOWS, limit=limit):
        count += 1
        if replayed.reason is not None:
            failed += 1
            state = "running" if replayed.running else "closed"
            _print(f"{replayed.workflow_id}  run {replayed.run_id}  {state}  {replayed.reason}")
    _print(f"{count} histories replayed, {failed} failed")
    return 1 if failed else 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python worker.py",
        description="Run the workflows, activities and reconciler of Takeone. Any number of worker "
        "processes may run at the same time.",
        epilog=describe_settings(WorkerProcess),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command = parser.add_subparsers(dest="command", metavar="replay").add_parser(
        "replay",
        help="check whether this version can continue the workflows that Temporal stores",
        description="Replay the histories of running workflows, then of the last closed ones. "
        "Nothing is executed or changed. The exit code is 1 if a history fails: then do not give "
        "these workflows to this version.",
        epilog=describe_settings(ReplayProcess),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--limit", type=_at_least_one, default=1000, help="histories at most (default: 1000)"
    )
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main() -> int:
    arguments = _parser().parse_args()
    try:
        return _replay(arguments.limit) if arguments.command == "replay" else _work()
    except (UnsafeLoginError, LoginRefusedError) as error:
        sys.stderr.write(f"DATABASE_URL: {error}\n")
        return 2
    except (
        MetricsPortError,
        SettingError,
        TemporalSettingsError,
        SearchAttributeTypeError,
    ) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (TemporalConnectError, RPCError, *DATABASE_DOWN) as error:
        sys.stderr.write(f"{' '.join(str(error).split()) or type(error).__name__}\n")
        return 1


def _replay(limit: int) -> int:
    settings = load(ReplayProcess)
    level = "CRITICAL"  # the SDK logs each failure, which the list reports
    configure_logging(level, settings.log_format, secrets=secret_values(settings))
    return uvloop.run(replay(settings, limit))


def _work() -> int:
    settings = load(WorkerProcess)
    configure_logging(settings.log_level, settings.log_format, secrets=secret_values(settings))
    if settings.wait_slots is not None:
        log.warning("settings.setting_ignored", setting="WAIT_SLOTS")
    tracing.configure(settings, service="takeone-worker")
    metrics_server = start_metrics_server(
        settings.metrics_host, settings.metrics_port, build_id=settings.temporal_worker_build_id
    )
    try:
        return uvloop.run(serve(settings))
    finally:
        tracing.stop()
        if metrics_server is not None:
            metrics_server.stop()


if __name__ == "__main__":
    sys.exit(main())
