"""POST /api/executions/{id}/retry while the earlier generation attempts to deliver its webhook."""

import asyncio
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from core.domain.ids import ExecutionId, UserId
from core.domain.messages.executions import ExecutionOrder
from core.domain.states import JobState
from tests.api.conftest import Api, TestUser
from tests.api.ended import NEVER_SENT, end
from tests.workflows.fake_activities import PLAN, FakeActivities, workers
from workflows.execution import ExecutionWorkflow

pytestmark = pytest.mark.guarantee("G5")


async def test_retry_starts_at_once_while_a_receiver_does_not_answer(
    api: Api, user: TestUser, temporal_address: str
) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT, image=NEVER_SENT)
    client, queue = await Client.connect(temporal_address), f"executions-{uuid4()}"
    stage = FakeActivities(answers={"finish": ["webhook"], "wait video": [JobState.FAILED]})
    hanging = stage.breakpoint_at("deliver")
    order = ExecutionOrder(
        execution_id=ExecutionId("exec_1"), user_id=UserId("usr_1"), generation=1, plan=PLAN
    )
    async with workers(client, stage, queue), asyncio.timeout(30):
        earlier = await client.start_workflow(
            ExecutionWorkflow.run, order, id=ended.execution_id, task_queue=queue
        )
        await hanging.reached.wait()
        answer = await user.http.post(f"/api/executions/{ended.execution_id}/retry")
        assert answer.status_code == 202, answer.text
        latest = await client.get_workflow_handle(ended.execution_id).describe()
        outcome = await earlier.result(follow_runs=False)
        hanging.open()
    assert outcome.webhook == "retry"
    assert latest.run_id != earlier.first_execution_run_id
    assert latest.status is WorkflowExecutionStatus.RUNNING
    assert stage.delivery_pauses == []  # the worker finishes the attempt
