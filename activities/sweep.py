"""The sweep: what fell between two systems is picked up again.

A loop in every worker, one at a time, every ten seconds.

Everything it does is safe to repeat and safe to race: it starts what may be started twice, and ends what ends once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import asyncpg

from activities.executions import ExecutionActivities
from activities.late_bills import LateBills
from contracts.executions import ExecutionOrder, ExecutionRef, FinishInput
from contracts.failures import Failure, FailureCode
from contracts.ids import ExecutionId
from contracts.states import ExecutionStatus
from contracts.webhooks import DeliveryOrder
from runtime.logging import get_logger
from store.database import Connection, Database
from store.executions import list_queued_orders, list_running, mark_cancel_requested
from store.webhooks import list_pending, next_delivery

log = get_logger(__name__)

EVERY_SECONDS = 10.0
STARTED_BY_NOW_SECONDS = 10.0
"""The API starts what it accepts within its own time-out of three seconds; after this it must have failed."""
GONE_AFTER_SECONDS = 20.0
"""A running execution younger than this is not looked up at Temporal: it was there a moment ago."""
DELIVERED_BY_NOW_SECONDS = 15.0
PAGE = 200
LOCK_KEY = 0x7A4B_0002
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalOrders:
    """What the sweep may ask of Temporal; each is safe to repeat.

    closed: how the workflow of an execution closed, None while it runs; "not_found" if Temporal does not know it.
    """

    start_execution: Callable[[ExecutionOrder, str], Awaitable[None]]
    signal_cancel: Callable[[ExecutionId, str], Awaitable[bool]]
    start_delivery: Callable[[DeliveryOrder], Awaitable[bool]]
    closed: Callable[[ExecutionId], Awaitable[str | None]]
    measure_queues: Callable[[], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Sweep:
    database: Database
    executions: ExecutionActivities
    late_bills: LateBills
    orders: TemporalOrders
    unreachable: tuple[type[Exception], ...]
    """What a call to Temporal raises while it is down."""
    _running_after: str = field(default="", init=False)

    async def run(self) -> None:
        """Until cancelled.

        Whoever holds the lock sweeps; the others stand by, and take over when its connection ends.
        """
        while True:
            try:
                async with self.database.listening_connection() as connection:
                    while True:
                        if await connection.fetchval(TRY_LOCK, LOCK_KEY):
                            await self.sweep_for_ever(connection)
                        await asyncio.sleep(EVERY_SECONDS)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("the sweep was interrupted", reason=type(error).__name__)
                await asyncio.sleep(EVERY_SECONDS)

    async def sweep_for_ever(self, lock: Connection) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(EVERY_SECONDS)
            await lock.fetchval("SELECT 1")  # the lock lives as long as its connection

    async def sweep(self) -> None:
        """One round. A part that fails is logged and does not keep the others from theirs."""
        for part in (
            self.start_queued,
            self.look_after_running,
            self.start_deliveries,
            self.late_bills.settle,
            self.orders.measure_queues,
        ):
            try:
                await part()
            except self.unreachable as error:
                log.warning("the sweep could not reach Temporal", part=part.__name__, reason=type(error).__name__)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("a part of the sweep failed", part=part.__name__, reason=str(error))
            except Exception as error:  # recorded: one row that cannot be read must not end the sweep
                log.exception("a part of the sweep broke", part=part.__name__, reason=repr(error))

    async def start_queued(self) -> None:
        """Accepted, and its start was lost: Temporal was down, or the API died between its commit and the start."""
        async with self.database.as_system() as conn:
            queued = await list_queued_orders(conn, older_than_seconds=STARTED_BY_NOW_SECONDS, limit=PAGE)
        for item in queued:
            await self.orders.start_execution(item.order, item.prompt)
            log.info("execution started by the sweep", execution_id=item.order.execution_id)

    async def look_after_running(self) -> None:
        """Ends what an operator terminated, repeats cancels that were lost, orders an end to what is past its
        deadline.
        """
        async with self.database.as_system() as conn:
            page = await list_running(
                conn, older_than_seconds=GONE_AFTER_SECONDS, after=self._running_after, limit=PAGE
            )
        self._running_after = page[-1].ref.execution_id if len(page) == PAGE else ""
        for execution in page:
            closed = await self.orders.closed(execution.ref.execution_id)
            if closed is not None:
                await self._end_closed(execution.ref, closed)
            elif execution.cancel_reason is not None:
                await self.orders.signal_cancel(execution.ref.execution_id, execution.cancel_reason)
            elif execution.late:
                async with self.database.as_system() as conn:
                    await mark_cancel_requested(conn, execution.ref.execution_id, FailureCode.DEADLINE_EXCEEDED)
                await self.orders.signal_cancel(execution.ref.execution_id, FailureCode.DEADLINE_EXCEEDED)

    async def _end_closed(self, ref: ExecutionRef, closed: str) -> None:
        """Its workflow has closed, its row has not: what was sent stays an open bill, the rest goes back, the user is
        told.
        """
        log.error("an execution lost its workflow", execution_id=ref.execution_id, closed=closed)
        code = FailureCode.TERMINATED if closed == "terminated" else FailureCode.INTERNAL_ERROR
        await self.executions.finish(
            FinishInput(execution=ref, status=ExecutionStatus.FAILED, failure=Failure.of(code))
        )

    async def start_deliveries(self) -> None:
        """Webhooks that nobody delivers: their start was lost, or an operator terminated the delivery."""
        after = ""
        while True:
            async with self.database.as_system() as conn:
                page = await list_pending(conn, older_than_seconds=DELIVERED_BY_NOW_SECONDS, limit=PAGE, after=after)
            for order in page:
                if not await self.orders.start_delivery(order):
                    async with self.database.as_system() as conn:
                        again = await next_delivery(conn, order.event_id)
                    await self.orders.start_delivery(again)
            if len(page) < PAGE:
                return
            after = page[-1].event_id
