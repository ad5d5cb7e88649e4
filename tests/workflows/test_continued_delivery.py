"""A first attempt that fails in the execution's workflow and is continued by the delivery's own."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities.webhooks import WebhookActivities
from core.domain.messages.executions import ExecutionOrder
from core.domain.messages.webhooks import (
    AttemptOutcome,
    AttemptResult,
    DeliveryOrder,
    DeliveryStart,
    WebhookState,
)
from core.ordering.workflow_starts import delivery_workflow_id, start_delivery
from core.platform.temporal.policies import EXECUTIONS_QUEUE, FIRST_ATTEMPT_SECONDS
from core.store.database import Database
from core.store.webhooks.events import get_webhook, list_attempts
from tests.support.outbound import LOCAL_HTTP
from tests.support.receiver import Receiver, drop, reply
from tests.support.servers import FreshDatabase
from tests.support.webhook_rows import BODY, SEALER, store_webhook
from tests.workflows.fake_activities import PLAN, FakeActivities, workers
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.execution import ExecutionWorkflow

pytestmark = pytest.mark.guarantee("G5")


@dataclass(slots=True, kw_only=True)
class WithRealWebhooks(FakeActivities):
    """Everything but the webhook is a stand-in."""

    client: Client
    webhooks: WebhookActivities

    @activity.defn(name="deliver_webhook_once")
    async def deliver(self, order: DeliveryOrder) -> AttemptResult:
        return await self.webhooks.attempt_first(order)

    @activity.defn(name="start_webhook_delivery")
    async def start_delivery(self, start: DeliveryStart) -> None:
        self.delivery_pauses.append(start.pause_seconds)
        await start_delivery(self.client, start.delivery, pause_seconds=start.pause_seconds)


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as opened:
        yield opened


async def test_delivery_continues_the_schedule_of_the_first_attempt(
    skipping_temporal: Client, database: Database
) -> None:
    client, queue = skipping_temporal, f"executions-{uuid4()}"
    webhooks = WebhookActivities(database=database, sealer=SEALER, http=LOCAL_HTTP)
    delivery = Worker(client, task_queue=EXECUTIONS_QUEUE, workflows=[DeliverWebhookWorkflow])
    async with Receiver.open(reply(503), drop, reply(200)) as receiver, asyncio.timeout(40):
        stored = await store_webhook(
            database, receiver.url, first_attempt_seconds=FIRST_ATTEMPT_SECONDS
        )
        stage = WithRealWebhooks(
            answers={"finish": ["webhook"]},
            event_id=stored.event_id,
            client=client,
            webhooks=webhooks,
        )
        order = ExecutionOrder(
            execution_id=stored.execution_id, user_id=stored.user_id, generation=1, plan=PLAN
        )
        served = [webhooks.attempt, webhooks.finish]
        async with delivery, workers(client, stage, queue, delivery=served):
            outcome = await client.execute_workflow(
                ExecutionWorkflow.run, order, id=stored.execution_id, task_queue=queue
            )
            handle = client.get_workflow_handle(
                delivery_workflow_id(stored.order), result_type=AttemptResult
            )
            result = await handle.result()
    assert (outcome.webhook, result.outcome) == (AttemptOutcome.RETRY, AttemptOutcome.DELIVERED)
    assert (result.number, [request.body for request in receiver.received]) == (3, [BODY] * 3)
    assert {request.headers["webhook-id"] for request in receiver.received} == {stored.event_id}
    (pause,) = stage.delivery_pauses
    assert 5 <= pause <= 5.75
    description = await handle.describe()
    first_task = description.raw_description.workflow_execution_info.execution_time.ToDatetime()
    assert (first_task - description.start_time.replace(tzinfo=None)).total_seconds() >= pause - 0.1
    async with database.as_user(stored.user_id) as conn:
        assert (await get_webhook(conn, stored.event_id)).state is WebhookState.DELIVERED
        tried = await list_attempts(conn, stored.event_id)
    assert [(one.delivery, one.number, one.status_code) for one in tried] == [
        (1, 1, 503),
        (1, 2, None),
        (1, 3, 200),
    ]
