"""The delivery of a webhook on a real Temporal server, through days that are skipped."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from standardwebhooks.webhooks import Webhook
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, Worker

from activities.webhooks import WebhookActivities
from core.domain.messages.webhooks import AttemptOutcome, AttemptResult, DeliveryOrder, WebhookState
from core.platform.temporal.policies import WEBHOOKS_QUEUE
from core.store.database import Database
from core.store.webhooks.events import AttemptRecord, get_webhook, list_attempts
from core.webhooks.concurrency import AttemptSlots
from core.webhooks.retry_schedule import RETRY_DELAYS_SECONDS
from deploy.local.servers.programs import program
from tests.support.outbound import LOCAL_HTTP
from tests.support.receiver import Receiver, drop, hang, reply
from tests.support.servers import PostgresServer, TemporalServer, new_database
from tests.support.webhook_rows import (
    BODY,
    DEFAULT_SECRET,
    SEALER,
    Stored,
    another_webhook,
    store_webhook,
)
from workflows.deliver_webhook import DeliverWebhookWorkflow

pytestmark = pytest.mark.guarantee("G5")

Handle = WorkflowHandle[DeliverWebhookWorkflow, AttemptResult]
EVENTS_OF_A_DELIVERY = 11


@pytest.fixture(scope="module")
async def skipping() -> AsyncGenerator[WorkflowEnvironment]:
    """A server of our own, on which a workflow that only waits does not have to."""
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(program("temporal")),
        dev_server_log_level="error",
        dev_server_extra_args=[
            "--dynamic-config-value",
            "frontend.WorkflowTimeSkippingEnabled=true",
            "--dynamic-config-value",
            'history.timerProcessorMaxTimeShift="1ms"',
        ],
    )
    try:
        yield environment
    finally:
        await environment.shutdown()


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """One for all tests here: each has users of its own."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=4) as opened,
    ):
        yield opened


@asynccontextmanager
async def workers(
    client: Client,
    database: Database,
    queue: str,
    *,
    slots: int = 100,
    attempt_slots: AttemptSlots | None = None,
) -> AsyncGenerator[None]:
    """What a worker process runs of a delivery. The workflow's queue is the test's own."""
    activities = WebhookActivities(
        database=database, sealer=SEALER, http=LOCAL_HTTP, slots=attempt_slots or AttemptSlots()
    )
    async with (
        Worker(
            client, task_queue=queue, workflows=[DeliverWebhookWorkflow], max_cached_workflows=0
        ),
        Worker(
            client,
            task_queue=WEBHOOKS_QUEUE,
            activities=[activities.attempt, activities.finish],
            max_concurrent_activities=slots,
        ),
    ):
        yield


async def start(client: Client, order: DeliveryOrder, queue: str) -> Handle:
    return await client.start_workflow(
        DeliverWebhookWorkflow.run,
        order,
        id=f"deliver/{order.event_id}/{order.delivery}",
        task_queue=queue,
    )


async def rows_of(database: Database, stored: Stored) -> tuple[WebhookState, list[AttemptRecord]]:
    async with database.as_user(stored.user_id) as conn:
        webhook = await get_webhook(conn, stored.event_id)
        return webhook.state, list(await list_attempts(conn, stored.event_id))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)


async def test_delivery_at_the_first_try_takes_eleven_events(
    temporal_server: TemporalServer, database: Database
) -> None:
    client = await Client.connect(temporal_server.address)
    queue = f"test-{uuid4()}"
    async with Receiver.open(reply(200)) as receiver, workers(client, database, queue):
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)
        result = await asyncio.wait_for(handle.result(), 20)
    assert result == AttemptResult(outcome=AttemptOutcome.DELIVERED, number=1, status_code=200)
    (request,) = receiver.received
    Webhook(DEFAULT_SECRET).verify(request.body, request.headers)
    history = await handle.fetch_history()
    assert len(history.events) <= EVENTS_OF_A_DELIVERY
    assert receiver.url not in history.to_json()
    await Replayer(workflows=[DeliverWebhookWorkflow]).replay_workflow(history)
    assert (await rows_of(database, stored))[0] is WebhookState.DELIVERED


async def test_delivery_after_failures_is_the_same_request_again(
    skipping: WorkflowEnvironment, database: Database
) -> None:
    """500, a dropped connection, 503, then 200: four equal bodies, and no history for
    the waiting.
    """
    client, queue = skipping.client, f"test-{uuid4()}"
    async with (
        Receiver.open(reply(500), drop, reply(503), reply(200)) as receiver,
        workers(client, database, queue),
    ):
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)
        result = await asyncio.wait_for(handle.result(), 30)
    assert result == AttemptResult(outcome=AttemptOutcome.DELIVERED, number=4, status_code=200)
    assert [request.body for request in receiver.received] == [BODY] * 4
    assert {request.headers["webhook-id"] for request in receiver.received} == {stored.event_id}
    for request in receiver.received:
        Webhook(DEFAULT_SECRET).verify(request.body, request.headers)
    state, tried = await rows_of(database, stored)
    assert state is WebhookState.DELIVERED
    assert [(one.number, one.status_code, one.error) for one in tried] == [
        (1, 500, "http_error"),
        (2, None, "no_valid_answer"),
        (3, 503, "http_error"),
        (4, 200, None),
    ]
    ours = [
        event for event in (await handle.fetch_history()).events if not event.worker_may_ignore
    ]  # the rest: skips
    assert len(ours) <= EVENTS_OF_A_DELIVERY


async def test_delivery_goes_on_with_another_worker(
    temporal_server: TemporalServer, database: Database
) -> None:
    """A worker is stopped in the middle of a try: the try stays recorded, the next worker makes the
    next one.
    """
    client = await Client.connect(temporal_server.address)
    queue = f"test-{uuid4()}"
    async with Receiver.open(hang, reply(200)) as receiver:
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)

        async def hangs() -> bool:
            return len(receiver.received) == 1

        async with workers(client, database, queue):
            await until(hangs)
        async with workers(client, database, queue):
            result = await asyncio.wait_for(handle.result(), 40)
    assert result == AttemptResult(outcome=AttemptOutcome.DELIVERED, number=2, status_code=200)
    state, (cut, delivered) = await rows_of(database, stored)
    assert state is WebhookState.DELIVERED
    assert (cut.duration_ms, cut.status_code, delivered.status_code) == (None, None, 200)
    assert len((await handle.fetch_history()).events) <= EVENTS_OF_A_DELIVERY


async def test_delivery_that_is_never_taken_fails_visibly_after_days(
    skipping: WorkflowEnvironment, database: Database
) -> None:
    client, queue = skipping.client, f"test-{uuid4()}"
    async with Receiver.open(reply(500)) as receiver, workers(client, database, queue):
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)
        result = await asyncio.wait_for(handle.result(), 60)
    assert result == AttemptResult(outcome=AttemptOutcome.EXHAUSTED, number=10, status_code=500)
    state, tried = await rows_of(database, stored)
    assert state is WebhookState.FAILED
    assert len(tried) == len(receiver.received) == 10
    described = await handle.describe()
    assert described.status is WorkflowExecutionStatus.COMPLETED
    assert described.close_time is not None
    took = (described.close_time - described.start_time).total_seconds()
    assert sum(RETRY_DELAYS_SECONDS) <= took <= 1.15 * sum(RETRY_DELAYS_SECONDS) + 60


async def test_delivery_to_a_gone_receiver_fails_at_once(
    skipping: WorkflowEnvironment, database: Database
) -> None:
    client, queue = skipping.client, f"test-{uuid4()}"
    async with Receiver.open(reply(500), reply(410)) as receiver, workers(client, database, queue):
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)
        result = await asyncio.wait_for(handle.result(), 30)
        assert result == AttemptResult(outcome=AttemptOutcome.GONE, number=2, status_code=410)
        assert len(receiver.received) == 2
    assert (await rows_of(database, stored))[0] is WebhookState.FAILED


async def test_delivery_honours_retry_after(
    skipping: WorkflowEnvironment, database: Database
) -> None:
    client, queue = skipping.client, f"test-{uuid4()}"
    async with (
        Receiver.open(reply(429, headers={"retry-after": "7200"}), reply(200)) as receiver,
        workers(client, database, queue),
    ):
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)
        await asyncio.wait_for(handle.result(), 30)
    described = await handle.describe()
    assert described.close_time is not None
    assert (
        timedelta(hours=2)
        <= described.close_time - described.start_time
        <= timedelta(hours=2, minutes=1)
    )


async def test_endpoint_that_hangs_delays_no_other(
    temporal_server: TemporalServer, database: Database
) -> None:
    """More webhooks than a worker has slots are for a receiver that never answers.

    Without limits per endpoint they would occupy every slot for 15 s at a time.
    """
    client = await Client.connect(temporal_server.address)
    queue = f"test-{uuid4()}"
    attempt_slots = AttemptSlots(per_user=3, per_endpoint=2)
    async with Receiver.open(hang) as dead, Receiver.open() as well:
        first = await store_webhook(database, dead.url)
        backlog = [
            first,
            *[await another_webhook(database, first.user_id, dead.url) for _ in range(11)],
        ]
        healthy = [
            await another_webhook(database, first.user_id, well.url),
            await store_webhook(database, well.url),
        ]
        async with workers(client, database, queue, slots=4, attempt_slots=attempt_slots):
            dying = [await start(client, stored.order, queue) for stored in backlog]

            async def hangs() -> bool:
                return len(dead.received) == 2

            await until(hangs)
            handles = [await start(client, stored.order, queue) for stored in healthy]
            results = await asyncio.wait_for(
                asyncio.gather(*(handle.result() for handle in handles)), 8
            )
            assert len(dead.received) == 2
            for handle in dying:
                await handle.terminate("the test is over")
    assert [result.outcome for result in results] == [AttemptOutcome.DELIVERED] * 2
    tries = [(await rows_of(database, stored))[1] for stored in backlog]
    assert sorted(len(tried) for tried in tries) == [0] * 10 + [1] * 2


async def test_delivery_cancelled_by_an_operator_fails_visibly(
    temporal_server: TemporalServer, database: Database
) -> None:
    client = await Client.connect(temporal_server.address)
    queue = f"test-{uuid4()}"
    async with Receiver.open(reply(500)) as receiver, workers(client, database, queue):
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)
        await until(lambda: _recorded(database, stored))
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), 20)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert (await rows_of(database, stored))[0] is WebhookState.FAILED


async def test_delivery_whose_activity_fails_for_good_fails_visibly(
    temporal_server: TemporalServer, database: Database
) -> None:
    """A delivery that timed out or was ended by hand is marked as failed."""
    client = await Client.connect(temporal_server.address)
    queue = f"test-{uuid4()}"
    async with Receiver.open(hang) as receiver, workers(client, database, queue):
        stored = await store_webhook(database, receiver.url)
        handle = await start(client, stored.order, queue)
        await until(lambda: _begun(database, stored))
        (pending,) = (await handle.describe()).raw_description.pending_activities
        activity = client.get_async_activity_handle(
            workflow_id=handle.id, run_id=None, activity_id=pending.activity_id
        )
        await activity.fail(ApplicationError("ended by hand", non_retryable=True))
        result = await asyncio.wait_for(handle.result(), 20)
    assert result == AttemptResult(outcome=AttemptOutcome.EXHAUSTED, number=1)
    assert (await rows_of(database, stored))[0] is WebhookState.FAILED


async def _recorded(database: Database, stored: Stored) -> bool:
    _, tried = await rows_of(database, stored)
    return any(one.duration_ms is not None for one in tried)


async def _begun(database: Database, stored: Stored) -> bool:
    return bool((await rows_of(database, stored))[1])
