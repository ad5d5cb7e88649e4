"""Where workflows run while the current version of the workers changes, on a real server."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from core.domain.ids import EventId, UserId
from core.domain.messages.webhooks import DeliveryOrder
from core.ordering.workflow_starts import start_delivery
from core.platform.settings.temporal import WorkerVersionSettings
from core.platform.temporal.worker_versions import worker_deployment
from tests.support.rollout import Deployment, builds_of, retry_at_once
from tests.support.servers import TemporalServer

OLD, NEW, UNVERSIONED = "1.0", "2.0", ""
LATER = timedelta(hours=1)


@workflow.defn(name="deliver_webhook")
class Delivery:
    """A delivery whose receiver is down: its next attempt is due in an hour."""

    @workflow.run
    async def run(self, order: DeliveryOrder) -> None:
        await workflow.execute_activity(
            "attempt_webhook",
            order,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(initial_interval=LATER, maximum_interval=LATER),
        )


@workflow.defn(name="execution")
class Execution:
    """An execution that waits."""

    def __init__(self) -> None:
        self.is_ready = False

    @workflow.signal
    def ready(self) -> None:
        self.is_ready = True

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.is_ready)


@dataclass(slots=True, kw_only=True)
class Installation:
    """Workers of several versions on one task queue. delivered: events whose receiver is up."""

    client: Client
    deployment: Deployment
    queue: str
    stack: AsyncExitStack
    delivered: set[str] = field(default_factory=set[str])

    async def start_worker(self, build_id: str) -> None:
        @activity.defn(name="attempt_webhook")
        async def attempt(order: DeliveryOrder) -> None:
            if order.event_id not in self.delivered:
                raise RuntimeError("the receiver is down")

        versioned = build_id != UNVERSIONED
        settings = WorkerVersionSettings(
            temporal_deployment_name=self.deployment.name if versioned else None,
            temporal_worker_build_id=build_id if versioned else None,
        )
        await self.stack.enter_async_context(
            Worker(
                await Client.connect(self.deployment.address, namespace=self.client.namespace),
                task_queue=self.queue,
                workflows=[Delivery, Execution],
                activities=[attempt],
                workflow_runner=UnsandboxedWorkflowRunner(),
                deployment_config=worker_deployment(settings),
            )
        )

    async def deliver(self) -> WorkflowHandle[Delivery, None]:
        """Start a delivery, and wait for its first attempt."""
        order = DeliveryOrder(user_id=UserId("usr_1"), event_id=EventId(f"evt_{uuid4().hex}"))
        assert await start_delivery(self.client, order)
        handle = self.client.get_workflow_handle_for(Delivery.run, f"deliver/{order.event_id}/1")
        while True:
            description = (await handle.describe()).raw_description
            if any(pending.attempt == 2 for pending in description.pending_activities):
                self.delivered.add(order.event_id)
                return handle

    async def execute(self) -> WorkflowHandle[Execution, None]:
        """Start an execution, and wait for its first task."""
        handle = await self.client.start_workflow(
            Execution.run, id=f"exec_{uuid4().hex}", task_queue=self.queue
        )
        while not await builds_of(self.client, handle.id):
            pass
        return handle

    async def builds_of_delivered(self, handle: WorkflowHandle[Delivery, None]) -> list[str]:
        """Return where a delivery ran, after its next attempt succeeded."""
        await retry_at_once(self.client, handle.id)
        await handle.result()
        return await builds_of(self.client, handle.id)


@pytest.fixture
async def installation(
    temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Installation]:
    async with _installation(temporal_server, monkeypatch) as opened:
        yield opened


@asynccontextmanager
async def _installation(
    server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Installation]:
    """Open an installation whose queue and deployment are not those of other tests."""
    client = await Client.connect(server.address, namespace=server.namespace)
    queue = f"executions-{uuid4()}"
    monkeypatch.setattr("core.ordering.workflow_starts.EXECUTIONS_QUEUE", queue)
    deployment = Deployment(client=client, address=server.address, name=f"takeone-{uuid4()}")
    async with AsyncExitStack() as stack:
        yield Installation(client=client, deployment=deployment, queue=queue, stack=stack)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_deliveries_follow_the_version_that_executions_stay_with(
    installation: Installation,
) -> None:
    """Without versions, to a first one, to a second one, and back to none."""
    await installation.start_worker(UNVERSIONED)
    delivery, execution = await installation.deliver(), await installation.execute()
    for build_id in (OLD, NEW):
        await installation.start_worker(build_id)
    moved = {UNVERSIONED: OLD, OLD: NEW, NEW: UNVERSIONED}
    for before, after in moved.items():
        await installation.deployment.make_current(after or None)
        assert await installation.builds_of_delivered(delivery) == [before, after]
        await execution.signal(Execution.ready)
        await execution.result()
        # Only an execution without a version moves to one.
        stays = [before] if before else [before, after]
        assert await builds_of(installation.client, execution.id) == stays
        if after:
            delivery, execution = await installation.deliver(), await installation.execute()
