"""Activities of executions: claim, cancel and finish."""

import asyncio
from dataclasses import dataclass, replace

from temporalio import activity
from temporalio.client import Client

from core.domain.failures import FailureCode
from core.domain.ids import derived_event_id
from core.domain.messages.executions import (
    CURRENT_PATH,
    CancelInput,
    ClaimOutcome,
    ClaimResult,
    ExecutionOutcome,
    ExecutionRef,
    FinishInput,
)
from core.domain.messages.webhooks import DeliveryOrder, DeliveryStart
from core.domain.states import ExecutionStatus
from core.domain.webhook_payload import ExecutionEvent, end_event_type, execution_body
from core.ordering.workflow_starts import start_delivery, start_execution
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import FIRST_ATTEMPT_SECONDS, START_RPC_TIMEOUT
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.executions.ends import (
    EndedExecution,
    OpenExecution,
    find_ended,
    lock_open_execution,
    mark_ended,
)
from core.store.executions.executions import (
    NO_LIMITS,
    claim_execution,
    get_progress,
    mark_cancel_requested,
)
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.unfinished import StoredOrder, find_next
from core.store.files.assets import list_execution_assets
from core.store.jobs.callbacks import notify_open_jobs
from core.store.jobs.jobs import cancel_waiting_jobs
from core.store.money.budget_counters import end_holds
from core.store.money.charges import ExecutionMoney, get_money, release_charge
from core.store.webhooks.events import NewWebhook, insert_webhook, mark_delivered, next_sequence
from core.webhooks.asset_links import AssetLinks
from core.webhooks.execution_result import error_json, result_json

log = get_logger(__name__)

NOT_STARTED = (*UNREACHABLE, *DATABASE_DOWN, LookupError, TypeError, ValueError)
"""What a start may raise: Temporal or PostgreSQL is down, or a row cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionActivities:
    """The clients of the execution activities. client: starts deliveries and queued executions.

    makes_posters: every finished video gets a poster.
    """

    client: Client
    database: Database
    links: AssetLinks
    limits: ConcurrencyLimits = NO_LIMITS
    makes_posters: bool = False

    @activity.defn(name="claim_execution")
    async def claim(self, ref: ExecutionRef) -> ClaimResult:
        """Claim the execution's generation for this run, `queued` → `running`.

        Repeating is safe: within the run it returns the same result.
        """
        async with self.database.as_user(ref.user_id) as conn:
            claim = await claim_execution(conn, ref, self.limits)
        if claim.outcome is ClaimOutcome.WAITING:
            log.info("execution.deferred", execution_id=ref.execution_id, generation=ref.generation)
        elif claim.outcome is not ClaimOutcome.LOST:
            metrics.EXECUTIONS_STARTED.labels(ref.type).inc()
            log.info("execution.started", execution_id=ref.execution_id, generation=ref.generation)
        return replace(claim, path=CURRENT_PATH)

    @activity.defn(name="cancel_execution")
    async def cancel(self, order: CancelInput) -> None:
        """Commit a cancel that was requested in Temporal, as the API does for its callers.

        Repeating is safe: the first reason stays.
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
        """Write the end state, release the rest of the hold and store the webhook event.

        All of it is one transaction. Then start the user's next queued execution, and the delivery
        unless the caller makes its first attempt. Repeating is safe: a row that has ended stays as
        it is, and its status is returned.
        """
        ref = order.execution
        async with self.database.as_user(ref.user_id) as conn:
            execution = await lock_open_execution(conn, ref)
            if execution is not None:
                money, following = await self._end(conn, execution, order)
            else:
                money = await get_money(conn, ref.execution_id)
                # The first try may have been lost before it started the next execution.
                following = await find_next(conn, ref.user_id, self.limits)
            ended = await find_ended(conn, ref)
        if ended is None:
            return ExecutionOutcome(status=None)
        if execution is not None:
            _count(ended)
        event_id = ended.pending_event_id
        if event_id is not None and not order.attempts_webhook:
            await start_delivery(self.client, DeliveryOrder(user_id=ref.user_id, event_id=event_id))
        if following is not None:
            await self.try_start(following)
        log.info("execution.ended", execution_id=ref.execution_id, status=ended.status)
        return ExecutionOutcome(
            status=ended.status,
            spent_nano_usd=money.settled_nano_usd,
            event_id=event_id,
            failure=order.failure,
            attempt_webhook=event_id is not None and order.attempts_webhook,
            poster_of=ended.poster_of if self.makes_posters else None,
        )

    @activity.defn(name="start_webhook_delivery")
    async def start_delivery(self, start: DeliveryStart) -> None:
        """Start the delivery of a webhook whose first attempt did not deliver it.

        Repeating is safe: a delivery is started once.
        """
        await start_delivery(self.client, start.delivery, pause_seconds=start.pause_seconds)
        log.info(
            "webhook.delivery_started",
            event_id=start.delivery.event_id,
            pause_seconds=round(start.pause_seconds, 1),
        )

    async def try_start(self, queued: StoredOrder) -> None:
        """Start a queued execution. The reconciler starts it later if this fails.

        Errors are logged only: another execution's start must not prevent this one's end.
        """
        try:
            async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
                await start_execution(
                    self.client, self.database, queued.order(), prompt=queued.prompt
                )
        except NOT_STARTED as error:
            log.warning(
                "execution.start_failed",
                execution_id=queued.ref.execution_id,
                reason=str(error)[:200],
            )

    async def _end(
        self, conn: Connection, execution: OpenExecution, order: FinishInput
    ) -> tuple[ExecutionMoney, StoredOrder | None]:
        """Write everything that an end changes, hot rows last, in the caller's transaction.

        Return the money and the user's queued execution that may start now.
        """
        execution_id, status = execution.execution_id, order.status
        moves = [
            await release_charge(conn, job_id)
            for job_id in await cancel_waiting_jobs(conn, execution_id)
        ]
        money = await get_money(conn, execution_id)
        completed = status is ExecutionStatus.COMPLETED
        result = None
        if completed:
            assets = await list_execution_assets(conn, execution_id)
            result = result_json(assets, self.links, execution.outputs)
        error = error_json(order.failure, money) if order.failure is not None else None
        progress = 100 if completed else await get_progress(conn, execution_id)
        await mark_ended(conn, execution_id, status, progress=progress, result=result, error=error)
        if execution.webhook_url is not None:
            event_id = derived_event_id(execution_id, execution.generation)
            event = ExecutionEvent(
                event_id=event_id,
                type=end_event_type(status, execution.surface),
                execution_id=execution_id,
                generation=execution.generation,
                sequence=await next_sequence(conn, execution_id, execution.generation),
                status=status,
                result=result,
                error=error,
                estimated_nano_usd=execution.estimated_nano_usd,
                held_nano_usd=money.held_nano_usd,
                settled_nano_usd=money.settled_nano_usd,
                saved_nano_usd=money.saved_nano_usd,
                final=money.final,
                metadata=execution.metadata,
                surface=execution.surface,
            )
            await _insert_event(
                conn,
                execution,
                execution.webhook_url,
                event,
                first_attempt_seconds=FIRST_ATTEMPT_SECONDS if order.attempts_webhook else 0.0,
            )
        following = await find_next(conn, execution.user_id, self.limits)
        await end_holds(
            conn, execution_id, [move for move in moves if move is not None], completed=completed
        )
        return money, following


async def _insert_event(
    conn: Connection,
    execution: OpenExecution,
    url: str,
    event: ExecutionEvent,
    *,
    first_attempt_seconds: float,
) -> None:
    webhook = NewWebhook(
        event_id=event.event_id,
        execution_id=event.execution_id,
        generation=event.generation,
        sequence=event.sequence,
        user_id=execution.user_id,
        type=event.type,
        url=url,
        body=execution_body(event),
        first_attempt_seconds=first_attempt_seconds,
    )
    await insert_webhook(conn, webhook)
    if execution.delivered:
        await mark_delivered(
            conn, DeliveryOrder(user_id=execution.user_id, event_id=event.event_id)
        )


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
