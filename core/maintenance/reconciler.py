"""The reconciler: background tasks that repair state left inconsistent by a crash or an outage.

It runs in every worker process, and one process leads at a time. Its tasks are independent: each
has its own interval and time limit, and a failing or slow task delays no other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
from temporalio.client import Client

from activities.executions import ExecutionActivities
from core.maintenance.cleanup import Cleanup
from core.maintenance.gauges import Gauges
from core.maintenance.open_bills import OpenBillSettler
from core.maintenance.workflow_repairs import WorkflowRepairs
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.store.database import Connection, Database
from core.store.files.object_storage import ObjectStore

log = get_logger(__name__)

EVERY_SECONDS: Final = 10.0
"""The usual interval: a lost start or delivery is noticed within seconds."""
EVERY_MINUTE: Final = 60.0
EVERY_HOUR: Final = 3600.0
TASK_SECONDS: Final = 600.0
"""The time limit of one run of a task, far above the usual. All tasks are safe to interrupt."""
LOCK_TIMEOUT_SECONDS: Final = 10.0
"""How long the leader's connection may stay silent: a half-open one would block leadership."""
LOCK_KEY: Final = 0x7A4B_0002
TRY_LOCK: Final = "SELECT pg_try_advisory_lock($1)"
CONNECTION_LOST: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerTask:
    """A repair that is repeated. name: in log events. every_seconds: the pause between runs."""

    name: str
    run: Callable[[], Awaitable[None]]
    every_seconds: float = EVERY_SECONDS


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Runs the tasks while this process leads. leads: whether it does now."""

    database: Database
    tasks: Sequence[ReconcilerTask]
    gauges: Gauges
    leads: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Compete for leadership and lead, until cancelled.

        The process that holds the advisory lock leads; another takes over when its connection ends.
        """
        while True:
            try:
                async with self.database.listening_connection() as connection:
                    while True:
                        if await connection.fetchval(
                            TRY_LOCK, LOCK_KEY, timeout=LOCK_TIMEOUT_SECONDS
                        ):
                            await self.lead(connection)
                        await asyncio.sleep(EVERY_SECONDS)
            except CONNECTION_LOST as error:
                log.warning("reconciler.leadership_lost", reason=type(error).__name__)
                await asyncio.sleep(EVERY_SECONDS)

    async def lead(self, lock: Connection) -> None:
        """Run all tasks until the lock's connection fails; raise its error."""
        self.leads = True
        loops = [asyncio.create_task(self._repeat(task), name=task.name) for task in self.tasks]
        try:
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                # The lock lasts as long as its connection.
                await lock.fetchval("SELECT 1", timeout=LOCK_TIMEOUT_SECONDS)
        finally:
            self.leads = False
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            self.gauges.clear()

    async def _repeat(self, task: ReconcilerTask) -> None:
        while True:
            await attempt(task)
            await asyncio.sleep(task.every_seconds)


async def attempt(task: ReconcilerTask) -> None:
    """Run a task once within its time limit. Errors are logged; the next run tries again."""
    try:
        async with asyncio.timeout(TASK_SECONDS):
            await task.run()
    except UNREACHABLE as error:
        log.warning("reconciler.temporal_unreachable", task=task.name, reason=type(error).__name__)
    except CONNECTION_LOST as error:
        log.warning("reconciler.task_failed", task=task.name, reason=str(error))
    except Exception as error:  # recorded: one unreadable row must not end the task
        log.exception("reconciler.task_crashed", task=task.name, reason=repr(error))


def build_reconciler(
    *,
    client: Client,
    database: Database,
    objects: ObjectStore,
    executions: ExecutionActivities,
    open_bills: OpenBillSettler,
    task_queues: Sequence[str],
) -> Reconciler:
    """Return a reconciler with all its tasks."""
    repairs = WorkflowRepairs(client=client, database=database, executions=executions)
    cleanup = Cleanup(database=database, objects=objects)
    gauges = Gauges(
        client=client,
        database=database,
        provider_names=open_bills.providers.names,
        task_queues=task_queues,
    )
    task = ReconcilerTask
    return Reconciler(
        database=database,
        gauges=gauges,
        tasks=(
            task(name="start_queued", run=repairs.start_queued),
            task(name="check_running", run=repairs.check_running),
            task(name="start_deliveries", run=repairs.start_deliveries),
            task(name="settle_open_bills", run=open_bills.settle),
            task(name="abort_uploads", run=cleanup.abort_stale_uploads, every_seconds=EVERY_HOUR),
            task(name="delete_idempotency_keys", run=cleanup.delete_idempotency_keys),
            task(name="erase_provider_keys", run=cleanup.erase_provider_keys),
            task(name="measure_jobs", run=gauges.measure_jobs),
            task(
                name="measure_undelivered_spend",
                run=gauges.measure_undelivered_spend,
                every_seconds=EVERY_MINUTE,
            ),
            task(name="measure_queues", run=gauges.measure_queues),
        ),
    )
