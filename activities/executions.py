"""Executions: claimed by one run, cancelled by order, ended once with their books closed and their event written."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import activity

from activities.links import AssetLinks
from activities.outcomes import error_json, result_json, webhook_body
from contracts.executions import (
    CancelInput,
    ClaimOutcome,
    ClaimResult,
    ExecutionOutcome,
    ExecutionRef,
    FinishInput,
)
from contracts.failures import FailureCode
from contracts.ids import derived_event_id
from contracts.states import ExecutionStatus
from contracts.webhooks import DeliveryOrder, EventType
from runtime import metrics
from runtime.logging import get_logger
from store.assets import list_execution_assets
from store.callbacks import notify_open_jobs
from store.charges import count_video, get_money, move_budget, release_charge
from store.database import Connection, Database
from store.executions import (
    EndedExecution,
    OpenExecution,
    claim_execution,
    find_ended,
    get_progress,
    lock_open_execution,
    mark_cancel_requested,
    mark_ended,
)
from store.jobs import cancel_waiting_jobs
from store.webhooks import NewWebhook, insert_webhook

log = get_logger(__name__)

EVENT_TYPES = {
    ExecutionStatus.COMPLETED: EventType.EXECUTION_COMPLETED,
    ExecutionStatus.FAILED: EventType.EXECUTION_FAILED,
    ExecutionStatus.CANCELLED: EventType.EXECUTION_CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionActivities:
    """start_delivery: starts the workflow that delivers an event; safe to repeat, and repeated by the sweep."""

    database: Database
    links: AssetLinks
    start_delivery: Callable[[DeliveryOrder], Awaitable[bool]]

    @activity.defn(name="claim_execution")
    async def claim(self, ref: ExecutionRef) -> ClaimResult:
        """Take the execution for this run. Repeating within the run answers the same."""
        async with self.database.as_user(ref.user_id) as conn:
            claim = await claim_execution(conn, ref)
        if claim.outcome is not ClaimOutcome.LOST:
            metrics.EXECUTIONS_STARTED.labels(ref.type).inc()
            log.info("execution started", execution_id=ref.execution_id, generation=ref.generation)
        return claim

    @activity.defn(name="cancel_execution")
    async def cancel(self, order: CancelInput) -> None:
        """Write down a cancel that was ordered at Temporal, as the API would have. Repeating is safe."""
        async with self.database.as_user(order.execution.user_id) as conn:
            await mark_cancel_requested(
                conn, order.execution.execution_id, order.reason, generation=order.execution.generation
            )
            await notify_open_jobs(conn, order.execution.execution_id)

    @activity.defn(name="finish_execution")
    async def finish(self, order: FinishInput) -> ExecutionOutcome:
        """End state, released money and webhook event in one transaction; then the delivery.

        Repeating answers the first end.
        """
        ref = order.execution
        async with self.database.as_user(ref.user_id) as conn:
            execution = await lock_open_execution(conn, ref)
            if execution is not None:
                await self._end(conn, execution, order)
            ended = await find_ended(conn, ref)
            money = await get_money(conn, ref.execution_id)
        if ended is None:
            return ExecutionOutcome(status=None)
        if execution is not None:
            _count(ended)
        if ended.pending_event_id is not None:
            await self.start_delivery(DeliveryOrder(user_id=ref.user_id, event_id=ended.pending_event_id))
        log.info("execution ended", execution_id=ref.execution_id, status=ended.status)
        return ExecutionOutcome(
            status=ended.status,
            spent_nano_usd=money.settled_nano_usd,
            event_id=ended.pending_event_id,
            failure=order.failure,
        )

    async def _end(self, conn: Connection, execution: OpenExecution, order: FinishInput) -> None:
        """Everything an end means, in the caller's transaction. The budget, a user's hot row, is touched last."""
        execution_id, status = execution.execution_id, order.status
        moves = [await release_charge(conn, job_id) for job_id in await cancel_waiting_jobs(conn, execution_id)]
        money = await get_money(conn, execution_id)
        completed = status is ExecutionStatus.COMPLETED
        result = result_json(await list_execution_assets(conn, execution_id), self.links) if completed else None
        error = error_json(order.failure, money) if order.failure is not None else None
        progress = 100 if completed else await get_progress(conn, execution_id)
        await mark_ended(conn, execution_id, status, progress=progress, result=result, error=error)
        if execution.webhook_url is not None:
            event_id = derived_event_id(execution_id, execution.generation)
            event = NewWebhook(
                event_id=event_id,
                execution_id=execution_id,
                generation=execution.generation,
                user_id=execution.user_id,
                type=EVENT_TYPES[status],
                url=execution.webhook_url,
                webhook_secret_sealed=execution.webhook_secret_sealed,
                body=webhook_body(event_id, EVENT_TYPES[status], execution, status, result, error, money),
            )
            await insert_webhook(conn, event)
        for move in moves:
            if move is not None:
                await move_budget(conn, move)
        await count_video(conn, execution_id, completed=completed)


def _count(ended: EndedExecution) -> None:
    if ended.status is ExecutionStatus.COMPLETED:
        metrics.EXECUTIONS_COMPLETED.labels(ended.type).inc()
    elif ended.status is ExecutionStatus.CANCELLED:
        metrics.EXECUTIONS_CANCELLED.labels(ended.type).inc()
    else:
        metrics.EXECUTIONS_FAILED.labels(ended.type, ended.error_code or FailureCode.INTERNAL_ERROR.value).inc()
    seconds = (ended.ended_at - ended.created_at).total_seconds()
    metrics.EXECUTION_DURATION.labels(ended.type, ended.status.value).observe(seconds)
