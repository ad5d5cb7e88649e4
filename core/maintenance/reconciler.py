"""The reconciler: background tasks that repair state left inconsistent by a crash or an outage.

It runs in every worker process, and one process leads at a time, by a lease in the database. Its
tasks are independent: each has its own interval and time limit, and a failing or slow task delays
no other.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from temporalio.client import Client

from activities.executions import ExecutionActivities
from core.jobs.submission.admission import ProviderAdmission
from core.maintenance.cleanup import Cleanup
from core.maintenance.gauges import Gauges
from core.maintenance.open_bills import OpenBillSettler
from core.maintenance.repairs.decisions import DecisionRepairs
from core.maintenance.repairs.workflow_repairs import WorkflowRepairs
from core.maintenance.retention import Retention
from core.maintenance.user_alarms import UserAlarms
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.store.database import DATABASE_ERRORS, Database
from core.store.executions.retention import DataKind
from core.store.files.object_storage import ObjectStore
from core.store.leases import release_lease, take_lease
from core.store.measures.reconciler_runs import LEASE, record_runs
from core.store.stalled import end_stalled_transactions

log = get_logger(__name__)

EVERY_SECONDS: Final = 10.0
"""The usual interval: a lost start or delivery is noticed within seconds."""
EVERY_MINUTE: Final = 60.0
EVERY_HOUR: Final = 3600.0
TASK_SECONDS: Final = 600.0
"""The time limit of one run of a task, far above the usual. All tasks are safe to interrupt."""
LEASE_SECONDS: Final = 15.0
"""How long a leader that stopped or lost the database keeps all others from leading."""
STOP_BEFORE_SECONDS: Final = 3.0
"""A leader that could not renew its lease stops its tasks this long before the lease expires."""
RENEW_SECONDS: Final = 4.0
"""Between renewals, and between tries to take the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerTask:
    """A repair that is repeated. name: in log events. every_seconds: the pause between runs."""

    name: str
    run: Callable[[], Awaitable[None]]
    every_seconds: float = EVERY_SECONDS


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Runs the tasks while this process holds the lease."""

    database: Database
    tasks: Sequence[ReconcilerTask]
    gauges: Gauges
    _token: str = field(default_factory=lambda: secrets.token_hex(16), init=False)
    _leads_until: float = field(default=0.0, init=False)
    _succeeded: dict[str, float] = field(default_factory=dict[str, float], init=False)

    @property
    def leads(self) -> bool:
        """Return whether this process leads now. Also right after it was stopped for a while."""
        return time.monotonic() < self._leads_until

    async def run(self) -> None:
        """Compete for the lease and lead, until cancelled."""
        try:
            while True:
                await self._take()
                if self.leads:
                    await self._lead()
                await asyncio.sleep(RENEW_SECONDS)
        finally:
            if self.leads:
                await self._release()

    async def _take(self) -> None:
        """Take or renew the lease, if possible.

        Before, in every process: a stopped process may hold the lock of the lease's row.
        """
        try:
            async with self.database.as_system() as conn:
                stalled = await end_stalled_transactions(conn)
        except DATABASE_ERRORS as error:
            log.warning("reconciler.stalled_not_ended", reason=type(error).__name__)
        else:
            if stalled:
                log.warning("reconciler.stalled_ended", sessions=stalled)
        began = time.monotonic()
        try:
            async with self.database.as_system() as conn:
                taken = await take_lease(conn, LEASE, self._token, seconds=LEASE_SECONDS)
        except DATABASE_ERRORS as error:
            log.warning("reconciler.lease_not_renewed", reason=type(error).__name__)
            return  # a lease that this process holds stays valid until its time
        self._leads_until = began + LEASE_SECONDS - STOP_BEFORE_SECONDS if taken else 0.0

    async def _lead(self) -> None:
        """Run all tasks until the lease is lost. Raise any error of a renewal but an outage."""
        log.info("reconciler.leadership_taken")
        # The renewal is a task of its own: on a silent connection it waits longer than the lease.
        renewing = asyncio.create_task(self._renew())
        recording = ReconcilerTask(
            name="record_runs", run=self._record_runs, every_seconds=EVERY_SECONDS
        )
        loops = [
            asyncio.create_task(self._repeat(task), name=task.name)
            for task in (*self.tasks, recording)
        ]
        try:
            while self.leads and not renewing.done():
                await asyncio.wait({renewing}, timeout=self._leads_until - time.monotonic())
            if renewing.done():
                renewing.result()
            log.warning("reconciler.leadership_lost")
        finally:
            for loop in (renewing, *loops):
                loop.cancel()
            await asyncio.gather(renewing, *loops, return_exceptions=True)
            self.gauges.clear()

    async def _renew(self) -> None:
        while self.leads:
            await asyncio.sleep(RENEW_SECONDS)
            await self._take()

    async def _release(self) -> None:
        """Let another process lead at once."""
        self._leads_until = 0.0
        try:
            async with self.database.as_system() as conn:
                await release_lease(conn, LEASE, self._token)
        except DATABASE_ERRORS as error:
            log.info("reconciler.lease_not_released", reason=type(error).__name__)

    async def _repeat(self, task: ReconcilerTask) -> None:
        running = asyncio.current_task()
        assert running is not None  # noqa: S101 - a coroutine always runs in a task
        while True:
            if await attempt(task):
                self._succeeded[task.name] = time.monotonic()
            if running.cancelling():  # an error of the task has replaced the cancel
                return
            await asyncio.sleep(task.every_seconds)

    async def _record_runs(self) -> None:
        """Store when the tasks last succeeded, all in one statement."""
        now = time.monotonic()
        every = {task.name: task.every_seconds for task in self.tasks}
        ages = {name: now - at for name, at in self._succeeded.items() if name in every}
        async with self.database.as_system() as conn:
            await record_runs(conn, every, ages)


async def attempt(task: ReconcilerTask) -> bool:
    """Run a task once within its time limit. Return whether it succeeded.

    Errors are logged; the next run tries again.
    """
    began = time.monotonic()
    try:
        async with asyncio.timeout(TASK_SECONDS):
            await task.run()
        metrics.RECONCILER_TASK_SECONDS.labels(task.name).set(time.monotonic() - began)
        metrics.RECONCILER_SUCCESS.labels(task.name).set_to_current_time()
    except UNREACHABLE as error:
        log.warning("reconciler.temporal_unreachable", task=task.name, reason=type(error).__name__)
    except DATABASE_ERRORS as error:
        log.warning("reconciler.task_failed", task=task.name, reason=str(error))
    except Exception as error:  # recorded: one unreadable row must not end the task
        log.exception("reconciler.task_crashed", task=task.name, reason=repr(error))
    else:
        return True
    return False


def build_reconciler(
    *,
    client: Client,
    database: Database,
    objects: ObjectStore,
    executions: ExecutionActivities,
    open_bills: OpenBillSettler,
    admission: ProviderAdmission,
    task_queues: Sequence[str],
    retention_days: Mapping[DataKind, int] | None = None,
    user_spend_alarm_usd: int = 0,
) -> Reconciler:
    """Return a reconciler with all its tasks.

    retention_days: by kind; a missing kind is kept. user_spend_alarm_usd: dollars in an hour from
    which a user may be reported; 0: none.
    """
    repairs = WorkflowRepairs(client=client, database=database, executions=executions)
    decisions = DecisionRepairs(client=client, database=database)
    cleanup = Cleanup(database=database, objects=objects)
    retention = Retention(database=database, days=retention_days or {})
    alarms = UserAlarms(database=database, spend_usd=user_spend_alarm_usd)
    gauges = Gauges(
        client=client,
        database=database,
        limits=executions.limits,
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
            task(name="end_running", run=repairs.end_running),
            task(name="start_deliveries", run=repairs.start_deliveries),
            task(name="signal_decisions", run=decisions.signal),
            task(name="settle_open_bills", run=open_bills.settle),
            task(name="abort_uploads", run=cleanup.abort_stale_uploads, every_seconds=EVERY_HOUR),
            task(name="delete_files", run=cleanup.delete_files),
            task(name="apply_retention", run=retention.apply, every_seconds=EVERY_MINUTE),
            task(name="delete_idempotency_keys", run=cleanup.delete_idempotency_keys),
            task(name="erase_provider_keys", run=cleanup.erase_provider_keys),
            task(name="delete_unused_listening", run=cleanup.delete_unused_listening),
            *_measurements(gauges, admission, database),
            task(
                name="report_spend_spikes",
                run=alarms.report_spikes,
                every_seconds=EVERY_MINUTE,
            ),
        ),
    )


def _measurements(
    gauges: Gauges, admission: ProviderAdmission, database: Database
) -> list[ReconcilerTask]:
    """Return the tasks that only measure."""
    often = {
        "measure_jobs": gauges.measure_jobs,
        "measure_executions": gauges.measure_executions,
        "measure_money": gauges.measure_money,
        "measure_queues": gauges.measure_queues,
    }
    every_minute = {
        "measure_undelivered_spend": gauges.measure_undelivered_spend,
        "measure_provider_queues": lambda: admission.measure_queues(database),
        "measure_durations": gauges.measure_durations,
    }
    return [
        *(ReconcilerTask(name=name, run=run) for name, run in often.items()),
        *(
            ReconcilerTask(name=name, run=run, every_seconds=EVERY_MINUTE)
            for name, run in every_minute.items()
        ),
    ]
