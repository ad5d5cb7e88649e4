"""The workflow of the tutorials: each call is an activity, retried until it succeeds."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from tests.chaos.baseline.activities import Activities, Order

QUEUE = "baseline"
CALL_LIMIT = timedelta(seconds=30)
"""The start-to-close limit, which Temporal requires.

A shorter limit resumes a killed worker's work sooner, but pays slow calls twice.
"""
POLL_LIMIT = timedelta(minutes=10)
HEARTBEAT = timedelta(seconds=10)


@workflow.defn(name="baseline_video")
class BaselineVideoWorkflow:
    """Image · submit video · poll · webhook.

    No retry policy is set: the default has no limit of attempts.
    """

    @workflow.run
    async def run(self, order: Order) -> str:
        limit = (
            timedelta(seconds=order.call_limit_seconds) if order.call_limit_seconds else CALL_LIMIT
        )
        image_url = await workflow.execute_activity_method(
            Activities.make_image, order, start_to_close_timeout=limit
        )
        video_id = await workflow.execute_activity_method(
            Activities.submit_video, args=[order, image_url], start_to_close_timeout=limit
        )
        video_url = await workflow.execute_activity_method(
            Activities.poll_video,
            video_id,
            start_to_close_timeout=POLL_LIMIT,
            heartbeat_timeout=HEARTBEAT,
        )
        await workflow.execute_activity_method(
            Activities.send_webhook, args=[order, video_url], start_to_close_timeout=limit
        )
        return video_url
