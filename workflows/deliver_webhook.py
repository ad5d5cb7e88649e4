"""The delivery of one webhook event to a user's endpoint: attempted for days, then failed."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.webhooks import WebhookActivities
    from core.domain.messages.webhooks import AttemptResult, DeliveryOrder
    from core.platform.temporal import policies


@workflow.defn(name="deliver_webhook")
class DeliverWebhookWorkflow:
    """One delivery of one event.

    A single activity makes all attempts, so pauses of days add no history.
    """

    @workflow.run
    async def run(self, order: DeliveryOrder) -> AttemptResult:
        workflow.set_current_details(
            f"**delivering**, delivery {order.delivery}; the pending activity shows the attempts"
        )
        try:
            result = await self._attempt(order)
        except ActivityError as error:
            # Out of time, or cancelled by an operator. The user sees a failed delivery and may
            # resend it.
            result = await self._finish(order)
            if is_cancelled_exception(error):
                self._show(result)
                raise
        self._show(result)
        return result

    async def _attempt(self, order: DeliveryOrder) -> AttemptResult:
        """Attempt until the receiver accepts or returns 410, or the schedule is exhausted."""
        return await workflow.execute_activity_method(
            WebhookActivities.attempt,
            order,
            task_queue=policies.WEBHOOKS_QUEUE,
            retry_policy=policies.LOST_ATTEMPT,
            start_to_close_timeout=policies.ATTEMPT_START_TO_CLOSE,
            schedule_to_close_timeout=policies.DELIVERY_SCHEDULE_TO_CLOSE,
            heartbeat_timeout=policies.HEARTBEAT,
            summary=f"{order.event_id}, delivery {order.delivery}",
        )

    async def _finish(self, order: DeliveryOrder) -> AttemptResult:
        return await workflow.execute_activity_method(
            WebhookActivities.finish,
            order,
            task_queue=policies.WEBHOOKS_QUEUE,
            retry_policy=policies.DATABASE,
            start_to_close_timeout=policies.DATABASE_STEP,
            summary="mark it failed",
        )

    def _show(self, result: AttemptResult) -> None:
        workflow.set_current_details(f"**{result.outcome}** after {result.number} attempts")
