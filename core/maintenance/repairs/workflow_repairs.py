"""Repairs of executions and deliveries whose rows and workflows disagree after a crash or outage.

Every repair is safe to repeat and safe to race with the normal path: starts are idempotent, and a
row ends once.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from temporalio.client import Client

from activities.executions import ExecutionActivities
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId
from core.domain.messages.executions import ExecutionRef, FinishInput
from core.domain.states import ExecutionStatus
from core.maintenance.repairs.recent_repairs import RecentRepairs
from core.maintenance.repairs.workflow_queries import (
    COMPLETED,
    TIMED_OUT,
    LatestRun,
    count_running_workflows,
    find_completed_run,
    find_latest_run,
    is_delivered,
    is_running,
    list_running_workflows,
)
from core.maintenance.restores.delivered_webhooks import is_delivered_by_execution
from core.ordering.workflow_starts import (
    signal_cancel,
    start_delivery,
    start_execution,
    terminate_workflow,
)
from core.platform.observability import tracing
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import DELIVERY_RUN_TIMEOUT, END_SLACK
from core.store.database import DATABASE_DOWN, Database
from core.store.executions.ends import find_ended
from core.store.executions.executions import mark_cancel_requested
from core.store.executions.unfinished import (
    FRONT,
    Place,
    RunningExecution,
    StoredOrder,
    get_order,
    is_open,
    list_queued,
    list_running,
)
from core.store.jobs.callbacks import notify_open_jobs
from core.store.recovery.restore_marker import pause_behind
from core.store.webhooks.events import mark_delivered
from core.store.webhooks.pending_deliveries import (
    PendingDelivery,
    fail_overdue,
    list_pending,
    resume_delivery,
)

Item = TypeVar("Item")
log = get_logger(__name__)

START_OVERDUE_SECONDS: Final = 10.0
"""The age at which an accepted execution without a workflow is started here. The API's own start
times out after three seconds.
"""
CHECK_AFTER_SECONDS: Final = 20.0
"""Running executions younger than this are not checked: their workflow was just started."""
DELIVERY_OVERDUE_SECONDS: Final = 15.0
"""How long an attempt of a pending webhook is overdue when its delivery is started here."""
DELIVERY_PAGES: Final = 25
"""Pages of overdue deliveries in one run: a resend of thousands starts within a minute."""
SIGNAL_AGAIN_SECONDS: Final = 60.0
"""A cancel that Temporal accepted is repeated after this time only: each signal is a history event.
"""
LOOK_AGAIN_SECONDS: Final = 60.0
"""A queued execution whose workflow waits for a worker is looked at again after this time only: in
a backlog of thousands, looking costs the processor time that would shorten it.
"""
STUCK_TASK_ATTEMPTS: Final = 5
"""Tries of a workflow task after which a late execution's workflow counts as stuck. The server's
pauses between them grow to minutes; a restarted worker needs one try.
"""
MAX_TEMPORAL_FAILURES: Final = 3
"""Stop after this many consecutive failures: Temporal is down, not one row wrong."""
PAGE: Final = 200
SLICE: Final = 500
"""Running executions that are compared with Temporal by one count."""
LISTED: Final = 64
"""Running executions that are compared with one list of Temporal. It costs some seventy counts of
the same range.
"""
SLICES: Final = 20
"""Slices in one run: 10,000 running executions come round in every run, more in several."""


@dataclass(slots=True, kw_only=True)
class WorkflowRepairs:
    """Starts, ends and signals workflows by the state of their rows."""

    client: Client
    database: Database
    executions: ExecutionActivities
    _queued_after: Place = field(default=FRONT, init=False)
    _running_after: str = field(default="", init=False)
    _ending_after: str = field(default="", init=False)
    _delivery_after: str = field(default="", init=False)
    _signalled: RecentRepairs = field(default_factory=RecentRepairs, init=False)
    _waiting: RecentRepairs = field(default_factory=RecentRepairs, init=False)

    async def start_queued(self) -> None:
        """Start executions whose start was lost, or that waited for a slot of their user.

        End those that are past the queue limit. One page in each run.
        """
        async with self.database.as_system() as conn:
            page = await list_queued(
                conn,
                self.executions.limits,
                older_than_seconds=START_OVERDUE_SECONDS,
                after=self._queued_after,
                limit=PAGE,
            )
        self._queued_after = page[-1].place if len(page) == PAGE else FRONT
        await _for_each(page, self._start_or_end)

    async def check_running(self) -> None:
        """Compare running executions with Temporal's list of running workflows.

        End executions whose workflow was terminated or failed, and start those that Temporal does
        not have. A bounded number in each run; the next run continues.
        """
        for _ in range(SLICES):
            rows = await self._running(self._running_after, limit=SLICE)
            missing = await self._missing(rows) if rows else []
            # Each of them is looked at singly: the list is behind, or the workflow has closed.
            await _for_each(missing[:PAGE], self._check)
            if len(missing) > PAGE:
                self._running_after = missing[PAGE - 1].ref.execution_id
                return
            self._running_after = rows[-1].ref.execution_id if len(rows) == SLICE else ""
            if not self._running_after:
                return

    async def _missing(self, rows: list[RunningExecution]) -> list[RunningExecution]:
        """Return the executions whose workflow is not among the running ones.

        An equal count shows that none is missing, unless a workflow in this range of ids is just
        beginning or ending. A missing one then shows in one of the next runs. Where the counts
        differ, halves are counted until few are left: executions begin and end at any time, and a
        list costs far more.
        """
        ends = rows[0].ref.execution_id, rows[-1].ref.execution_id
        counted = await count_running_workflows(self.client, *ends)
        if counted == len(rows):
            return []
        if counted == 0:
            return rows
        if len(rows) > LISTED:
            half = len(rows) // 2
            return [*await self._missing(rows[:half]), *await self._missing(rows[half:])]
        listed = await list_running_workflows(self.client, *ends)
        return [row for row in rows if row.ref.execution_id not in listed]

    async def end_running(self) -> None:
        """Cancel executions that are past their deadline, repeat lost cancels, end what is stuck.

        One page in each run.
        """
        page = await self._running(self._ending_after, limit=PAGE, ending=True)
        self._ending_after = page[-1].ref.execution_id if len(page) == PAGE else ""
        await _for_each(page, self._check)

    async def _running(
        self, after: str, *, limit: int, ending: bool = False
    ) -> list[RunningExecution]:
        async with self.database.as_system() as conn:
            return await list_running(
                conn,
                self.executions.limits,
                older_than_seconds=CHECK_AFTER_SECONDS,
                overdue_seconds=END_SLACK.total_seconds(),
                after=after,
                limit=limit,
                ending=ending,
            )

    async def start_deliveries(self) -> None:
        """Start deliveries whose start was lost or whose workflow an operator terminated.

        End those that are past the limit of a delivery: their workflow could not record its end. A
        bounded number in each run; the next run continues.
        """
        async with self.database.as_system() as conn:
            failed = await fail_overdue(
                conn, older_than_seconds=DELIVERY_RUN_TIMEOUT.total_seconds()
            )
        for event_id in failed:
            log.error("reconciler.delivery_lost", event_id=event_id)
        for _ in range(DELIVERY_PAGES):
            async with self.database.as_system() as conn:
                page = await list_pending(
                    conn,
                    overdue_seconds=DELIVERY_OVERDUE_SECONDS,
                    limit=PAGE,
                    after=self._delivery_after,
                )
            self._delivery_after = page[-1].order.event_id if len(page) == PAGE else ""
            await _for_each(page, self._deliver)
            if not self._delivery_after:
                return

    async def _start_or_end(self, queued: StoredOrder) -> None:
        if not queued.late and await self._waits_for_worker(queued.ref):
            return
        if await self._is_restored(queued.ref):
            return
        if queued.late:
            await self._fail(queued.ref, FailureCode.QUEUE_TIMED_OUT)
            log.warning("execution.queue_timed_out", execution_id=queued.ref.execution_id)
            return
        await start_execution(self.client, self.database, queued.order(), prompt=queued.prompt)
        log.info("reconciler.execution_started", execution_id=queued.ref.execution_id)

    async def _check(self, execution: RunningExecution) -> None:
        ref = execution.ref
        run = await find_latest_run(self.client, ref.execution_id)
        if run is None or run.close_status is not None:
            await self._start_or_end_closed(execution, run)
        elif execution.overdue or (execution.late and run.task_attempts >= STUCK_TASK_ATTEMPTS):
            await self._end_stuck(ref, run)
        elif execution.cancel_reason is not None:
            await self._signal_cancel(ref, execution.cancel_reason)
        elif execution.late:
            await self._cancel_late(ref)

    async def _start_or_end_closed(
        self, execution: RunningExecution, run: LatestRun | None
    ) -> None:
        """Start or end a running execution without a running workflow."""
        ref = execution.ref
        if not await self._is_open(ref):
            return  # it ended between the two reads, as most do
        if run is not None and await self._is_restored(ref):
            return
        status = run.close_status if run is not None else None
        if execution.overdue:
            await self._end_closed(ref, status or "not_found", FailureCode.DEADLINE_EXCEEDED)
        elif status in (None, COMPLETED, TIMED_OUT):
            # A run times out before the execution if it waited long for its first worker.
            await self._start_again(ref.execution_id)
        elif status == "terminated":
            await self._end_closed(ref, status, FailureCode.TERMINATED)
        else:
            await self._end_closed(ref, status, FailureCode.INTERNAL_ERROR)

    async def _end_stuck(self, ref: ExecutionRef, run: LatestRun) -> None:
        """Close a workflow that cannot end itself, and end its execution."""
        if await terminate_workflow(
            self.client, ref.execution_id, run_id=run.run_id, reason="past its deadline"
        ):
            await self._end_closed(ref, "stuck", FailureCode.DEADLINE_EXCEEDED)

    async def _cancel_late(self, ref: ExecutionRef) -> None:
        reason = FailureCode.DEADLINE_EXCEEDED
        async with self.database.as_system() as conn:
            await mark_cancel_requested(conn, ref.execution_id, reason, generation=ref.generation)
            await notify_open_jobs(conn, ref.execution_id)
        await self._signal_cancel(ref, reason)

    async def _is_open(self, ref: ExecutionRef) -> bool:
        async with self.database.as_system() as conn:
            return await is_open(conn, ref)

    async def _is_restored(self, ref: ExecutionRef) -> bool:
        """Return whether the workflow ended this generation while its row has not ended.

        Then the database was restored from an older backup, which the restore marker does not show
        if nothing was sent since. All submits are paused.
        """
        run = await find_completed_run(self.client, ref.execution_id)
        if run is None or run.generation != ref.generation:
            return False
        async with self.database.as_system() as conn:
            if not await is_open(conn, ref, queued_before=run.started_at):
                return False
            await pause_behind(conn)
        log.error(
            "database.restored_from_backup",
            execution_id=ref.execution_id,
            action="run takeone-admin recover",
        )
        return True

    async def _waits_for_worker(self, ref: ExecutionRef) -> bool:
        """Return whether Temporal has the workflow, which no worker has claimed yet."""
        if self._waiting.has(ref.execution_id, within_seconds=LOOK_AGAIN_SECONDS):
            return True
        running = await is_running(self.client, ref.execution_id, ref.generation)
        if running:
            self._waiting.add(ref.execution_id)
        return running

    async def _signal_cancel(self, ref: ExecutionRef, reason: str) -> None:
        """Signal a cancel, unless Temporal accepted the same signal within the last minute."""
        if self._signalled.has(ref.execution_id, within_seconds=SIGNAL_AGAIN_SECONDS):
            return
        if await signal_cancel(self.client, ref.execution_id, reason, generation=ref.generation):
            self._signalled.add(ref.execution_id)

    async def _start_again(self, execution_id: ExecutionId) -> None:
        """Start a running execution that has no run of its generation.

        This is a new Temporal server or namespace, or an operator reset a run of an earlier
        generation. The new run continues from the jobs' rows, so nothing is bought again.
        """
        async with self.database.as_system() as conn:
            stored = await get_order(conn, execution_id)
        await start_execution(self.client, self.database, stored.order(), prompt=stored.prompt)
        log.warning("reconciler.execution_restarted", execution_id=execution_id)

    async def _end_closed(self, ref: ExecutionRef, status: str, code: FailureCode) -> None:
        """End an execution whose workflow has closed. What was sent stays an open bill."""
        if await self._fail(ref, code):
            log.error(
                "reconciler.workflow_lost", execution_id=ref.execution_id, workflow_status=status
            )

    async def _fail(self, ref: ExecutionRef, code: FailureCode) -> bool:
        """End an execution as failed. Return False if its workflow or a retry was faster."""
        await self.executions.finish(
            FinishInput(execution=ref, status=ExecutionStatus.FAILED, failure=Failure.of(code))
        )
        async with self.database.as_system() as conn:
            ended = await find_ended(conn, ref)
        return ended is not None and ended.error_code == code

    async def _deliver(self, pending: PendingDelivery) -> None:
        with tracing.within(pending.traceparent):
            await self._start_delivery(pending)

    async def _start_delivery(self, pending: PendingDelivery) -> None:
        """Start a delivery, unless a workflow shows that the receiver accepted it.

        A database that was restored from an older backup does not have that attempt.
        """
        order = pending.order
        if await self._is_delivered_at_first(pending):
            delivered = True
        elif await start_delivery(self.client, order):
            return
        else:
            delivered = await is_delivered(self.client, order)
        async with self.database.as_system() as conn:
            if delivered:
                await mark_delivered(conn, order)
                return
            again = await resume_delivery(conn, order)
        if again is not None:
            await start_delivery(self.client, again)

    async def _is_delivered_at_first(self, pending: PendingDelivery) -> bool:
        order, execution_id = pending.order, pending.execution_id
        return (
            execution_id is not None
            and order.delivery == 1
            and await is_delivered_by_execution(self.client, execution_id, order.event_id)
        )


async def _for_each(items: Iterable[Item], repair: Callable[[Item], Awaitable[None]]) -> None:
    """Repair every row. One bad row does not stop the others; Temporal or PostgreSQL down does."""
    failures = 0
    for item in items:
        try:
            await repair(item)
        except UNREACHABLE as error:
            failures += 1
            if failures == MAX_TEMPORAL_FAILURES:
                raise
            log.warning("reconciler.temporal_call_failed", item=_id(item), reason=str(error))
        except DATABASE_DOWN:
            raise
        except Exception as error:  # recorded: it may concern this row alone
            log.exception("reconciler.row_failed", item=_id(item), reason=repr(error))
        else:
            failures = 0


def _id(item: object) -> str:
    """Return a row's id for the log, never its content."""
    if isinstance(item, StoredOrder | RunningExecution):
        return item.ref.execution_id
    return item.order.event_id if isinstance(item, PendingDelivery) else type(item).__name__
