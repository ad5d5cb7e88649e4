"""Executions: claimed by one run, cancelled by order, ended once with their books closed and their
event written.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import activity

from core.domain.failures import FailureCode
from core.domain.ids import derived_event_id
from core.domain.messages.executions import (
    CancelInput,
    ClaimOutcome,
    ClaimResult,
    ExecutionOrder,
    ExecutionOutcome,
    ExecutionRef,
    FinishInput,
)
from core.domain.messages.webhooks import DeliveryOrder, EventType
from core.domain.states import ExecutionStatus
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.executions.concurrency_counters import LoadLimits
from core.store.executions.executions import (
    NO_LIMITS,
    EndedExecution,
    OpenExecution,
    claim_execution,
    find_ended,
    get_progress,
    lock_open_execution,
    mark_cancel_requested,
    mark_ended,
)
from core.store.executions.unfinished import StoredOrder, find_next
from core.store.files.assets import list_execution_assets
from core.store.jobs.callbacks import notify_open_jobs
from core.store.jobs.jobs import cancel_waiting_jobs
from core.store.money.budget_counters import end_holds
from core.store.money.charges import get_money, release_charge
from core.store.webhooks.events import NewWebhook, insert_webhook, next_sequence
from core.webhooks.asset_links import AssetLinks
from core.webhooks.payload import error_json, result_json, webhook_body

log = get_logger(__name__)

NOT_STARTED = (*UNREACHABLE, *DATABASE_DOWN, LookupError, TypeError, ValueError)
"""What a start may raise: Temporal or PostgreSQL is away, or a row cannot be read."""

EVENT_TYPES = {
    ExecutionStatus.COMPLETED: EventType.EXECUTION_COMPLETED,
    ExecutionStatus.FAILED: EventType.EXECUTION_FAILED,
    ExecutionStatus.CANCELLED: EventType.EXECUTION_CANCELLED,
}


async def _leave_to_the_sweep(_order: ExecutionOrder, _prompt: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionActivities:
    """start_delivery: starts the workflow that delivers an event; safe to repeat, and repeated by
    the sweep.

    start_execution: starts, or finds, the workflow of an execution; what is not started here, the
    sweep starts.
    """

    database: Database
    links: AssetLinks
    start_delivery: Callable[[DeliveryOrder], Awaitable[bool]]
    start_execution: Callable[[ExecutionOrder, str], Awaitable[None]] = _leave_to_the_sweep
    limits: LoadLimits = NO_LIMITS

    @activity.defn(name="claim_execution")
    async def claim(self, ref: ExecutionRef) -> ClaimResult:
        """Take the execution for this run. Repeating within the run answers the same."""
        async with self.database.as_user(ref.user_id) as conn:
            claim = await claim_execution(conn, ref, self.limits)
        if claim.outcome is ClaimOutcome.WAITING:
            log.info(
                "execution waits for room", execution_id=ref.execution_id, generation=ref.generation
            )
        elif claim.outcome is not ClaimOutcome.LOST:
            metrics.EXECUTIONS_STARTED.labels(ref.type).inc()
            log.info("execution started", execution_id=ref.execution_id, generation=ref.generation)
        return claim

    @activity.defn(name="cancel_execution")
    async def cancel(self, order: CancelInput) -> None:
        """Write down a cancel that was ordered at Temporal, as the API would have. Repeating is
        safe.
        """
        async with self.database.as_user(order.execution.user_id) as conn:
            await mark_cancel_requested(
                conn,
                order.execution.execution_id,
                order.reason,
                generation=order.execution.generation,
            )
            await notify_open_jobs(conn, order.execution.execution_id)

    @activity.defn(name="finish_execution")
    async def finish(self, order: FinishInput) -> ExecutionOutcome:
        """End state, released money and webhook event in one transaction; then the delivery, and
        whoever waited for its room.

        Repeating answers the first end.
        """
        ref = order.execution
        async with self.database.as_user(ref.user_id) as conn:
            execution = await lock_open_execution(conn, ref)
            if execution is not None:
                following = await self._end(conn, execution, order)
            else:
                following = await find_next(
                    conn, ref.user_id, self.limits
                )  # the first try may have died before
            ended = await find_ended(conn, ref)
            money = await get_money(conn, ref.execution_id)
        if ended is None:
            return ExecutionOutcome(status=None)
        if execution is not None:
            _count(ended)
        if ended.pending_event_id is not None:
            await self.start_delivery(
                DeliveryOrder(user_id=ref.user_id, event_id=ended.pending_event_id)
            )
        if following is not None:
            await self._start(following)
        log.info("execution ended", execution_id=ref.execution_id, status=ended.status)
        return ExecutionOutcome(
            status=ended.status,
            spent_nano_usd=money.settled_nano_usd,
            event_id=ended.pending_event_id,
            failure=order.failure,
        )

    async def _start(self, queued: StoredOrder) -> None:
        """Only the quick way to a start: the sweep starts what was not."""
        try:
            async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
                await self.start_execution(queued.order(), queued.prompt)
        except (
            NOT_STARTED
        ) as error:  # another execution's start must not keep this one from its end
            log.warning(
                "execution not started yet",
                execution_id=queued.ref.execution_id,
                reason=str(error)[:200],
            )

    async def _end(
        self, conn: Connection, execution: OpenExecution, order: FinishInput
    ) -> StoredOrder | None:
        """Everything an end means, in the caller's transaction; the hot rows last. Returns who has
        room now.
        """
        execution_id, status = execution.execution_id, order.status
        moves = [
            await release_charge(conn, job_id)
            for job_id in await cancel_waiting_jobs(conn, execution_id)
        ]
        money = await get_money(conn, execution_id)
        completed = status is ExecutionStatus.COMPLETED
        result = (
            result_json(await list_execution_assets(conn, execution_id), self.links)
            if completed
            else None
        )
        error = error_json(order.failure, money) if order.failure is not None else None
        progress = 100 if completed else await get_progress(conn, execution_id)
        await mark_ended(conn, execution_id, status, progress=progress, result=result, error=error)
        if execution.webhook_url is not None:
            event_id = derived_event_id(execution_id, execution.generation)
            sequence = await next_sequence(conn, execution_id, execution.generation)
            type_ = EVENT_TYPES[status]
            event = NewWebhook(
                event_id=event_id,
                execution_id=execution_id,
                generation=execution.generation,
                sequence=sequence,
                user_id=execution.user_id,
                type=type_,
                url=execution.webhook_url,
                body=webhook_body(
                    event_id, type_, sequence, execution, status, result, error, money
                ),
            )
            await insert_webhook(conn, event)
        following = await find_next(conn, execution.user_id, self.limits)
        await end_holds(
            conn, execution_id, [move for move in moves if move is not None], completed=completed
        )
        return following


def _count(ended: EndedExecution) -> None:
    if ended.status is ExecutionStatus.COMPLETED:
        metrics.EXECUTIONS_COMPLETED.labels(ended.type).inc()
    elif ended.status is ExecutionStatus.CANCELLED:
        metrics.EXECUTIONS_CANCELLED.labels(ended.type).inc()
    else:
        metrics.EXECUTIONS_FAILED.labels(
            ended.type, ended.error_code or FailureCode.INTERNAL_ERROR.value
        ).inc()
    seconds = (ended.ended_at - ended.created_at).total_seconds()
    metrics.EXECUTION_DURATION.labels(ended.type, ended.status.value).observe(seconds)
