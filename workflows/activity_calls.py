"""The activities of an execution as its workflow calls them: queue, limits and retries of each.

A result states what the workflow must decide by. Only a call that cannot fail for good raises.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.assets import AssetActivities
    from activities.executions import ExecutionActivities
    from activities.jobs import JobActivities
    from activities.media import MediaActivities
    from activities.webhooks import WebhookActivities
    from core.domain.failures import Failure, FailureCode
    from core.domain.messages.assets import StoreAssetResult
    from core.domain.messages.jobs import (
        FindJobResult,
        JobRef,
        ReuseOrder,
        SettleJobResult,
        SubmitJobResult,
        SubmitOutcome,
        WaitJobResult,
    )
    from core.domain.messages.media import MediaOrder, MediaResult, PosterOrder
    from core.domain.messages.webhooks import (
        AttemptOutcome,
        AttemptResult,
        DeliveryOrder,
        DeliveryStart,
    )
    from core.domain.plans import Step
    from core.platform.temporal import policies

Message = TypeVar("Message")
Result = TypeVar("Result")


async def database_step(
    activity: Callable[[Any, Message], Awaitable[Result]], message: Message
) -> Result:
    """Run a short transaction as a local activity, repeated until PostgreSQL answers."""
    return await workflow.execute_local_activity_method(
        activity,
        message,
        retry_policy=policies.DATABASE,
        start_to_close_timeout=policies.DATABASE_STEP,
    )


async def submit(step: Step, job: JobRef, *, own_key: bool) -> SubmitJobResult:
    """Send a job at most once. UNKNOWN also for a lost worker, a time-out or a database outage.

    The job's row shows whether it was sent; `find` reads it.
    """
    try:
        return await workflow.execute_activity_method(
            JobActivities.submit,
            job,
            task_queue=policies.submit_queue(step.provider, own_key=own_key),
            retry_policy=policies.ONCE,
            start_to_close_timeout=policies.SUBMIT_START_TO_CLOSE,
            heartbeat_timeout=policies.HEARTBEAT,
            schedule_to_close_timeout=timedelta(seconds=step.deadline_seconds),
            priority=policies.CONTINUING if step.needs else policies.BEGINNING,
            summary=f"{step.name}: {step.model}, sent at most once",
        )
    except ActivityError:
        return SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)


async def find(step: Step, job: JobRef) -> FindJobResult:
    """Look for a send of unknown outcome."""
    return await workflow.execute_activity_method(
        JobActivities.find,
        job,
        task_queue=policies.WAIT_QUEUE,
        retry_policy=policies.LOOKUP,
        start_to_close_timeout=_watch_limit(step),
        heartbeat_timeout=policies.HEARTBEAT,
        summary=f"{step.name}: was it accepted?",
    )


async def wait(step: Step, job: JobRef, *, activity_id: str | None) -> WaitJobResult:
    """Wait for the poller's completion.

    activity_id: by which the poller completes it. Then there is no heartbeat: a lost completion
    ends with the time-out. None: a run of an earlier version, whose wait occupies a slot.
    """
    return await workflow.execute_activity_method(
        JobActivities.wait,
        job,
        task_queue=policies.WAIT_QUEUE,
        retry_policy=policies.NETWORK,
        start_to_close_timeout=_watch_limit(step),
        heartbeat_timeout=policies.WAIT_HEARTBEAT if activity_id is None else None,
        activity_id=activity_id,
        summary=f"{step.name}: {step.provider} is working",
    )


async def cancel(step: Step, job: JobRef, *, own_key: bool) -> None:
    """Ask the provider to end a job. A failure is logged: the wait then ends by itself."""
    try:
        await workflow.execute_activity_method(
            JobActivities.cancel,
            job,
            task_queue=policies.submit_queue(step.provider, own_key=own_key),
            retry_policy=policies.NETWORK,
            start_to_close_timeout=policies.CANCEL_START_TO_CLOSE,
            schedule_to_close_timeout=policies.CANCEL_SCHEDULE_TO_CLOSE,
            priority=policies.FINISHING,
            summary=f"{step.name}: ask {step.provider} to end it",
        )
    except ActivityError:
        workflow.logger.warning("job.cancel_failed")


async def store(job: JobRef, *, names: str, within: timedelta) -> StoreAssetResult:
    """Store the files of a job and of its `more_jobs`. STORAGE_UNAVAILABLE once time is up."""
    try:
        return await workflow.execute_activity_method(
            AssetActivities.store,
            job,
            task_queue=policies.ASSETS_QUEUE,
            retry_policy=policies.NETWORK,
            start_to_close_timeout=policies.STORE_START_TO_CLOSE,
            schedule_to_close_timeout=within,
            heartbeat_timeout=policies.HEARTBEAT,
            priority=policies.FINISHING,
            summary=f"{names}: to our storage",
        )
    except ActivityError:
        return StoreAssetResult(
            asset_id=None,
            failure=Failure.of(FailureCode.STORAGE_UNAVAILABLE),
            more_jobs=job.more_jobs,
        )


async def reuse(step: Step, order: ReuseOrder) -> SettleJobResult | None:
    """Complete a job with copies of the files of an earlier purchase.

    Return None if the files are gone, or if no worker copied them in time.
    """
    try:
        result = await workflow.execute_activity_method(
            AssetActivities.reuse,
            order,
            task_queue=policies.ASSETS_QUEUE,
            retry_policy=policies.NETWORK,
            start_to_close_timeout=policies.STORE_START_TO_CLOSE,
            schedule_to_close_timeout=policies.STORE_START_TO_CLOSE,
            heartbeat_timeout=policies.HEARTBEAT,
            priority=policies.CONTINUING if step.needs else policies.BEGINNING,
            summary=f"{step.name}: the files of {order.source}",
        )
    except ActivityError:
        return None
    return result if result.state.ended else None


def run_media_job(step: Step, order: MediaOrder) -> workflow.ActivityHandle[MediaResult]:
    """Start a media step's job. A cancel of the handle ends with the end of its processes."""
    return workflow.start_activity_method(
        MediaActivities.run,
        order,
        task_queue=policies.MEDIA_QUEUE,
        retry_policy=policies.MEDIA,
        start_to_close_timeout=timedelta(seconds=step.deadline_seconds) + policies.WATCH_SLACK,
        heartbeat_timeout=policies.HEARTBEAT,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        # All the same: Temporal shares a queue between users within each priority only.
        priority=policies.CONTINUING,
        summary=f"{step.name}: {step.kind}",
    )


async def make_poster(order: PosterOrder) -> None:
    """Make the poster of a finished video. A failure is logged: the video has none."""
    try:
        await workflow.execute_activity_method(
            MediaActivities.make_poster,
            order,
            task_queue=policies.MEDIA_QUEUE,
            retry_policy=policies.POSTER,
            start_to_close_timeout=policies.POSTER_START_TO_CLOSE,
            schedule_to_close_timeout=policies.POSTER_SCHEDULE_TO_CLOSE,
            heartbeat_timeout=policies.HEARTBEAT,
            priority=policies.BEGINNING,
            summary="poster of the result",
        )
    except ActivityError:
        workflow.logger.warning("poster.make_failed")


async def attempt_webhook(order: DeliveryOrder) -> AttemptResult:
    """Make the first attempt to deliver a webhook.

    RETRY also for lost workers, PostgreSQL down, or no slot in time: the next attempt is due at
    once.
    """
    try:
        return await workflow.execute_activity_method(
            WebhookActivities.attempt_first,
            order,
            task_queue=policies.WEBHOOKS_QUEUE,
            retry_policy=policies.FIRST_ATTEMPT,
            schedule_to_start_timeout=policies.FIRST_ATTEMPT_SCHEDULE_TO_START,
            start_to_close_timeout=policies.ATTEMPT_START_TO_CLOSE,
            heartbeat_timeout=policies.HEARTBEAT,
            summary=f"webhook {order.event_id}, first attempt",
        )
    except ActivityError:
        return AttemptResult(outcome=AttemptOutcome.RETRY, number=0)


async def start_delivery(start: DeliveryStart) -> None:
    """Start `deliver_webhook`. A failure is logged: the reconciler starts it."""
    try:
        await workflow.execute_local_activity_method(
            ExecutionActivities.start_delivery,
            start,
            retry_policy=policies.DATABASE,
            start_to_close_timeout=policies.DATABASE_STEP,
            schedule_to_close_timeout=policies.DELIVERY_START_LIMIT,
        )
    except FailureError:  # a local activity's own error, not an ActivityError
        workflow.logger.warning("webhook.delivery_start_failed")


def _watch_limit(step: Step) -> timedelta:
    return timedelta(seconds=step.deadline_seconds) + policies.CANCEL_GRACE + policies.WATCH_SLACK
