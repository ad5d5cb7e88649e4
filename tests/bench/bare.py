"""The smallest Temporal workflow with the product's checkpoints: the cost without guarantees.

It has the same steps, kinds of activities and waits at the same times. It has no rows, no money, no
lookup of a lost answer, no cancel, no search attributes and no signatures.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from core.platform.temporal import policies
    from tests.bench.bare_activities import BareActivities, BareOrder, Made, Sent, Waited

PREFIX = "bare-"
QUEUE = PREFIX + policies.EXECUTIONS_QUEUE
_LIMIT = timedelta(minutes=2)
_ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name="bare_video")
class BareVideoWorkflow:
    """Claim, buy the image, buy the video, finish, and start the delivery.

    Each step is submitted, awaited and settled; the image is stored while the video is made.
    """

    @workflow.run
    async def run(self, order: BareOrder) -> None:
        await _local(BareActivities.note, order)
        image = await _buy(order.image())
        await _local(BareActivities.note, order)
        storing = asyncio.create_task(_store(image))
        video = await _buy(order.video(image.url))
        await _local(BareActivities.note, order)
        await asyncio.gather(storing, _store(video))
        await _local(BareActivities.start_delivery, order)


@workflow.defn(name="bare_delivery")
class BareDeliveryWorkflow:
    @workflow.run
    async def run(self, order: BareOrder) -> None:
        await _activity(BareActivities.deliver, order, policies.WEBHOOKS_QUEUE)


async def _buy(asked: Sent) -> Made:
    waited: Waited = await _activity(
        BareActivities.submit, asked, policies.submit_queue(asked.provider)
    )
    return await _activity(
        BareActivities.wait, waited, policies.WAIT_QUEUE, heartbeat_timeout=policies.HEARTBEAT
    )


async def _store(made: Made) -> None:
    await _activity(BareActivities.store, made, policies.ASSETS_QUEUE)


async def _activity(activity: Any, message: Any, queue: str, **more: Any) -> Any:
    return await workflow.execute_activity_method(
        activity,
        message,
        task_queue=PREFIX + queue,
        start_to_close_timeout=_LIMIT,
        retry_policy=_ONCE,
        **more,
    )


async def _local(activity: Any, message: BareOrder) -> None:
    await workflow.execute_local_activity_method(
        activity, message, start_to_close_timeout=policies.DATABASE_STEP
    )
