"""The sweep: what fell between two systems is picked up again.

A loop in every worker, one at a time, every ten seconds.

Everything it does is safe to repeat and safe to race: it starts what may be started twice, and ends
what ends once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import asyncpg

from activities.executions import ExecutionActivities
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId
from core.domain.media import StorageRefusedError, StorageUnavailableError
from core.domain.messages.executions import ExecutionOrder, ExecutionRef, FinishInput
from core.domain.messages.webhooks import DeliveryOrder
from core.domain.states import ExecutionStatus
from core.jobs.admission import forget_providers, measure_providers
from core.maintenance.open_bills import LateBills
from core.maintenance.spending_gauges import Spending
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal import policies
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.executions.executions import (
    RunningExecution,
    find_ended,
    list_running,
    mark_cancel_requested,
)
from core.store.executions.idempotency import delete_expired
from core.store.executions.unfinished import (
    FRONT,
    Place,
    StoredOrder,
    count_open_bills,
    count_unknown,
    get_order,
    is_open,
    list_queued,
)
from core.store.files.object_storage import ObjectStore
from core.store.jobs.callbacks import notify_open_jobs
from core.store.providers.user_keys import erase_unused
from core.store.recovery.restore_marker import pause_behind
from core.store.webhooks.events import list_pending, mark_delivered, resume_delivery

Item = TypeVar("Item")
log = get_logger(__name__)

EVERY_SECONDS = 10.0
STARTED_BY_NOW_SECONDS = 10.0
"""The API starts what it accepts within its own time-out of three seconds; after this it must have
failed.
"""
GONE_AFTER_SECONDS = 20.0
"""A running execution younger than this is not looked up at Temporal: it was there a moment ago."""
DELIVERED_BY_NOW_SECONDS = 15.0
SIGNAL_AGAIN_SECONDS = 60.0
"""A cancel that Temporal took is not told again in every round: each would be one more event in the
history.
"""
SIGNALS_KEPT = 10_000
UPLOADS_EVERY_SECONDS = 3600.0
LOCK_TIMEOUT_SECONDS = 10.0
"""A half-open connection would be silent for ever, and nobody would sweep."""
GIVE_UP_AFTER = 3
"""Rows in a row that Temporal does not answer for: then it is not the row."""
PAGE = 200
KEYS_PAGE = 1000
LOCK_KEY = 0x7A4B_0002
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"


NOT_FOUND = "not_found"
COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalOrders:
    """What the sweep may ask of Temporal; each is safe to repeat.

    closed: how the workflow of an execution closed, None while it runs; "not_found" if Temporal
    does not know it. walked: the latest run of an execution, if it went to its end.
    delivered: whether the workflow of a delivery ended with the receiver's yes.
    """

    start_execution: Callable[[ExecutionOrder, str], Awaitable[None]]
    signal_cancel: Callable[[ExecutionRef, str], Awaitable[bool]]
    start_delivery: Callable[[DeliveryOrder], Awaitable[bool]]
    closed: Callable[[ExecutionId], Awaitable[str | None]]
    measure_queues: Callable[[], Awaitable[None]]
    walked: Callable[[ExecutionId], Awaitable["Walked | None"]]
    delivered: Callable[[DeliveryOrder], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """A run that claimed its execution and ended it: its rows say so, too, unless the database went
    back.
    """

    generation: int
    started_at: datetime


@dataclass(slots=True, kw_only=True)
class Sweep:
    database: Database
    executions: ExecutionActivities
    late_bills: LateBills
    objects: ObjectStore
    orders: TemporalOrders
    unreachable: tuple[type[Exception], ...]
    """What a call to Temporal raises while it is down."""
    _queued_after: Place = field(default=FRONT, init=False)
    _running_after: str = field(default="", init=False)
    _signalled_at: dict[ExecutionId, float] = field(
        default_factory=dict[ExecutionId, float], init=False
    )
    _uploads_at: float | None = field(default=None, init=False)
    leads: bool = field(default=False, init=False)
    """Whether it is this process that sweeps now."""
    _spending: Spending = field(init=False)

    def __post_init__(self) -> None:
        self._spending = Spending(database=self.database)

    async def run(self) -> None:
        """Until cancelled.

        Whoever holds the lock sweeps; the others stand by, and take over when its connection ends.
        """
        while True:
            try:
                async with self.database.listening_connection() as connection:
                    while True:
                        if await connection.fetchval(
                            TRY_LOCK, LOCK_KEY, timeout=LOCK_TIMEOUT_SECONDS
                        ):
                            await self.sweep_for_ever(connection)
                        await asyncio.sleep(EVERY_SECONDS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("the sweep was interrupted", reason=type(error).__name__)
                await asyncio.sleep(EVERY_SECONDS)

    async def sweep_for_ever(self, lock: Connection) -> None:
        """Until the lock's connection fails. What was measured is then another's to tell."""
        self.leads = True
        try:
            while True:
                await self.sweep()
                await asyncio.sleep(EVERY_SECONDS)
                # The lock lives as long as its connection.
                await lock.fetchval("SELECT 1", timeout=LOCK_TIMEOUT_SECONDS)
        finally:
            self.leads = False
            metrics.JOBS_UNKNOWN.clear()
            metrics.OPEN_BILLS.clear()
            forget_providers()
            self._spending.forget()

    async def sweep(self) -> None:
        """One round. A part that fails is logged and does not keep the others from theirs."""
        for part in (
            self.start_queued,
            self.look_after_running,
            self.start_deliveries,
            self.late_bills.settle,
            self.abort_uploads,
            self.forget_keys,
            self.erase_provider_keys,
            self.count_open,
            self._spending.measure,
            self.orders.measure_queues,
        ):
            try:
                await part()
            except self.unreachable as error:
                log.warning(
                    "the sweep could not reach Temporal",
                    part=part.__name__,
                    reason=type(error).__name__,
                )
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("a part of the sweep failed", part=part.__name__, reason=str(error))
            except (
                Exception
            ) as error:  # recorded: one row that cannot be read must not end the sweep
                log.exception("a part of the sweep broke", part=part.__name__, reason=repr(error))

    async def start_queued(self) -> None:
        """Accepted, and its start was lost: Temporal was down, or the API died between its commit
        and the start.

        Also what waits for room of its user and was not started when there was some.
        """
        async with self.database.as_system() as conn:
            page = await list_queued(
                conn,
                self.executions.limits,
                older_than_seconds=STARTED_BY_NOW_SECONDS,
                after=self._queued_after,
                limit=PAGE,
            )
        self._queued_after = page[-1].place if len(page) == PAGE else FRONT
        await self._each(page, self._start_or_end)

    async def _start_or_end(self, queued: StoredOrder) -> None:
        if await self._has_gone_back(queued.ref):
            return
        if queued.late:
            await self._fail(queued.ref, FailureCode.DEADLINE_EXCEEDED)
            return
        await self.orders.start_execution(queued.order(), queued.prompt)
        log.info("execution started by the sweep", execution_id=queued.ref.execution_id)

    async def look_after_running(self) -> None:
        """Ends what an operator terminated, starts what Temporal has forgotten, repeats cancels
        that were lost, orders an end to what is past its deadline.
        """
        async with self.database.as_system() as conn:
            page = await list_running(
                conn, older_than_seconds=GONE_AFTER_SECONDS, after=self._running_after, limit=PAGE
            )
        self._running_after = page[-1].ref.execution_id if len(page) == PAGE else ""
        await self._each(page, self._look_after)

    async def _look_after(self, execution: RunningExecution) -> None:
        execution_id = execution.ref.execution_id
        closed = await self.orders.closed(execution_id)
        if closed is not None and not await self._is_open(execution.ref):
            return  # it ended between our two looks, as most do
        if closed == NOT_FOUND:
            await self._start_again(execution_id)
        elif closed is not None:
            if await self._has_gone_back(execution.ref):
                return
            if closed == COMPLETED:
                await self._start_again(execution_id)
            else:
                await self._end_closed(execution.ref, closed)
        elif execution.cancel_reason is not None:
            await self._signal(execution.ref, execution.cancel_reason)
        elif execution.late:
            async with self.database.as_system() as conn:
                await mark_cancel_requested(
                    conn,
                    execution_id,
                    FailureCode.DEADLINE_EXCEEDED,
                    generation=execution.ref.generation,
                )
                await notify_open_jobs(conn, execution_id)
            await self._signal(execution.ref, FailureCode.DEADLINE_EXCEEDED)

    async def _is_open(self, ref: ExecutionRef) -> bool:
        async with self.database.as_system() as conn:
            return await is_open(conn, ref)

    async def _has_gone_back(self, ref: ExecutionRef) -> bool:
        """Whether its workflow has ended this generation while its row has not: then the database
        was restored to the past, which its mark does not show where nothing was sent since.
        Everything pauses.
        """
        walked = await self.orders.walked(ref.execution_id)
        if walked is None or walked.generation != ref.generation:
            return False
        async with self.database.as_system() as conn:
            if not await is_open(conn, ref, queued_before=walked.started_at):
                return False
            await pause_behind(conn)
        log.error(
            "an execution has ended at Temporal, and not in the database: it has gone back to the past. "
            "Run: takeone-admin recover",
            execution_id=ref.execution_id,
        )
        return True

    async def _signal(self, ref: ExecutionRef, reason: str) -> None:
        """Tell a workflow of its cancel, unless Temporal took the same less than a minute ago."""
        now, execution_id = time.monotonic(), ref.execution_id
        last = self._signalled_at.get(execution_id)
        if last is not None and now - last < SIGNAL_AGAIN_SECONDS:
            return
        if await self.orders.signal_cancel(ref, reason):
            self._signalled_at.pop(execution_id, None)  # the last told is the last in order
            self._signalled_at[execution_id] = now
        while len(self._signalled_at) > SIGNALS_KEPT:
            del self._signalled_at[next(iter(self._signalled_at))]

    async def _start_again(self, execution_id: ExecutionId) -> None:
        """Temporal is a fresh one, or another namespace; or its last run was of an earlier
        generation that an operator reset. The new run claims this generation and goes on from
        the rows of its jobs: nothing is bought again.
        """
        async with self.database.as_system() as conn:
            stored = await get_order(conn, execution_id)
        await self.orders.start_execution(stored.order(), stored.prompt)
        log.warning(
            "Temporal had no run of a running execution; started again", execution_id=execution_id
        )

    async def _end_closed(self, ref: ExecutionRef, closed: str) -> None:
        """Its workflow has closed, its row has not: what was sent stays an open bill, the rest goes
        back, the user is told.
        """
        code = FailureCode.TERMINATED if closed == "terminated" else FailureCode.INTERNAL_ERROR
        if await self._fail(ref, code):
            log.error(
                "an execution lost its workflow", execution_id=ref.execution_id, closed=closed
            )

    async def _fail(self, ref: ExecutionRef, code: FailureCode) -> bool:
        """End an execution. False: its workflow, or a retry, was first."""
        await self.executions.finish(
            FinishInput(execution=ref, status=ExecutionStatus.FAILED, failure=Failure.of(code))
        )
        async with self.database.as_system() as conn:
            ended = await find_ended(conn, ref)
        return ended is not None and ended.error_code == code

    async def start_deliveries(self) -> None:
        """Webhooks that nobody delivers: their start was lost, or an operator terminated the
        delivery.
        """
        after = ""
        while True:
            async with self.database.as_system() as conn:
                page = await list_pending(
                    conn, older_than_seconds=DELIVERED_BY_NOW_SECONDS, limit=PAGE, after=after
                )
            await self._each(page, self._deliver)
            if len(page) < PAGE:
                return
            after = page[-1].event_id

    async def _deliver(self, order: DeliveryOrder) -> None:
        if await self.orders.start_delivery(order):
            return
        delivered = await self.orders.delivered(order)
        async with self.database.as_system() as conn:
            if delivered:  # and this row, of a database that was recovered, does not know it
                await mark_delivered(conn, order)
                return
            again = await resume_delivery(conn, order)
        if again is not None:
            await self.orders.start_delivery(again)

    async def forget_keys(self) -> None:
        """Idempotency keys whose life is over."""
        deleted = KEYS_PAGE
        while deleted == KEYS_PAGE:
            async with self.database.as_system() as conn:
                deleted = await delete_expired(conn, limit=KEYS_PAGE)

    async def erase_provider_keys(self) -> None:
        """Users' keys at providers that were replaced or deleted, once nothing is open that was
        bought with them.
        """
        async with self.database.as_system() as conn:
            erased = await erase_unused(conn)
        for provider_key_id in erased:
            log.info("provider key erased", provider_key_id=provider_key_id)

    async def abort_uploads(self) -> None:
        """Once an hour: the parts of uploads whose process was killed cost money, and nothing shows
        them.
        """
        now = time.monotonic()
        if self._uploads_at is not None and now - self._uploads_at < UPLOADS_EVERY_SECONDS:
            return
        self._uploads_at = now
        try:
            await self.objects.add_abandoned_upload_rule()
            aborted = await self.objects.abort_stale_uploads(
                older_than_seconds=int(policies.STALE_UPLOAD.total_seconds())
            )
        except (StorageUnavailableError, StorageRefusedError) as error:
            log.warning("stale uploads could not be aborted", reason=str(error))
        else:
            log.info("stale uploads aborted", number=aborted)

    async def count_open(self) -> None:
        """The gauges of what is not known yet; 0 for a provider without any."""
        async with self.database.as_system() as conn:
            counts = (
                (metrics.JOBS_UNKNOWN, await count_unknown(conn)),
                (metrics.OPEN_BILLS, await count_open_bills(conn)),
            )
            await measure_providers(conn, self.late_bills.providers.names)
        for gauge, found in counts:
            gauge.clear()  # of a provider that is no longer on offer, too
            for provider in {*self.late_bills.providers.names, *found}:
                gauge.labels(provider).set(found.get(provider, 0))

    async def _each(self, items: Iterable[Item], act: Callable[[Item], Awaitable[None]]) -> None:
        """One that fails does not keep those behind it from theirs; Temporal or PostgreSQL being
        down does.
        """
        silent = 0
        for item in items:
            try:
                await act(item)
            except self.unreachable as error:
                silent += 1
                if silent == GIVE_UP_AFTER:
                    raise
                log.warning(
                    "the sweep could not order it of Temporal", item=_name(item), reason=str(error)
                )
            except DATABASE_DOWN:
                raise
            except Exception as error:  # recorded: it may be this row alone
                log.exception(
                    "the sweep could not handle a row", item=_name(item), reason=repr(error)
                )
            else:
                silent = 0


def _name(item: object) -> str:
    """What to call a row in the log; never its content."""
    if isinstance(item, StoredOrder | RunningExecution):
        return item.ref.execution_id
    return item.event_id if isinstance(item, DeliveryOrder) else type(item).__name__
