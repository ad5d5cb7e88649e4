"""On real Temporal: an execution whose workflow cannot progress ends past its deadline."""

import asyncio
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import TimeoutError as RunTimeoutError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import core.maintenance.repairs.workflow_repairs
import core.ordering.workflow_starts
from core.domain.messages.executions import ExecutionOrder, ExecutionOutcome
from core.maintenance.repairs.workflow_repairs import WorkflowRepairs
from core.ordering.workflow_starts import start_execution
from core.platform.temporal.client import ensure_search_attributes
from core.platform.temporal.policies import EXECUTIONS_QUEUE
from core.store.database import Database
from core.store.executions.unfinished import get_order
from tests.support.activity_harness import ActivityHarness
from tests.support.rows import Accepted
from tests.support.servers import TemporalServer

pytestmark = pytest.mark.guarantee("G5")

ATTEMPTS = 2


@workflow.defn(name="execution")
class BrokenExecution:
    """Code that cannot execute this workflow, as after an incompatible release."""

    @workflow.run
    async def run(self, order: ExecutionOrder) -> ExecutionOutcome:
        raise RuntimeError(f"incompatible code for {order.execution_id}")


@pytest.fixture
async def client(temporal_server: TemporalServer) -> Client:
    client = await Client.connect(temporal_server.address)
    await ensure_search_attributes(client)
    return client


async def started(
    harness: ActivityHarness, client: Client, one: Accepted
) -> WorkflowHandle[BrokenExecution, ExecutionOutcome]:
    """Start the workflow of an execution that has a second left."""
    await harness.as_owner(
        "UPDATE executions SET started_at = now() - interval '1 min',"
        " queued_at = now() - interval '1 min', deadline_at = now() + interval '1 s'"
    )
    async with harness.database.as_user(one.user_id) as conn:
        stored = await get_order(conn, one.execution_id)
    await start_execution(client, harness.database, stored.order(), prompt=stored.prompt)
    return client.get_workflow_handle_for(BrokenExecution.run, one.execution_id)


async def ended_as(database: Database, one: Accepted) -> tuple[str, str | None]:
    async with database.as_user(one.user_id) as conn:
        row = await conn.fetchrow("SELECT status, error ->> 'code' AS code FROM executions")
    assert row is not None
    return row["status"], row["code"]


async def test_run_that_no_worker_executes_times_out(
    harness: ActivityHarness, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (core.ordering.workflow_starts, core.maintenance.repairs.workflow_repairs):
        monkeypatch.setattr(module, "END_SLACK", timedelta(seconds=1))
    one = await harness.accepted(webhook_url="http://receiver.test/")
    handle = await started(harness, client, one)
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, RunTimeoutError)

    await repairs(harness, client).end_running()
    assert await ended_as(harness.database, one) == ("failed", "deadline_exceeded")
    assert await harness.charge(one.video) == ("released", 0)
    assert len(harness.deliveries) == 1


async def test_run_whose_code_is_incompatible_is_terminated(
    harness: ActivityHarness, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.maintenance.repairs.workflow_repairs, "STUCK_TASK_ATTEMPTS", ATTEMPTS)
    one = await harness.accepted(webhook_url="http://receiver.test/")
    async with Worker(
        client,
        task_queue=EXECUTIONS_QUEUE,
        workflows=[BrokenExecution],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        handle = await started(harness, client, one)
        async with asyncio.timeout(30):
            while True:
                description = await handle.describe()
                if description.raw_description.pending_workflow_task.attempt >= ATTEMPTS:
                    break
                await asyncio.sleep(0.1)
    await harness.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")

    await repairs(harness, client).end_running()
    assert (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED
    assert await ended_as(harness.database, one) == ("failed", "deadline_exceeded")
    assert await harness.charge(one.video) == ("released", 0)
    assert len(harness.deliveries) == 1


def repairs(harness: ActivityHarness, client: Client) -> WorkflowRepairs:
    return WorkflowRepairs(client=client, database=harness.database, executions=harness.executions)
