"""What an operator can do to a workflow at Temporal, and what it costs: nothing. The judge is the
sandbox's bill.
"""

import asyncio
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

from core.domain.messages.executions import ExecutionOrder, ExecutionOutcome
from core.platform.temporal.policies import EXECUTIONS_QUEUE
from tests.end_to_end.world import World
from workflows.execution import ExecutionWorkflow

pytestmark = pytest.mark.guarantee("G1")

Handle = WorkflowHandle[ExecutionWorkflow, ExecutionOutcome]
FIRST, MIDDLE, LAST = 0.0, 0.5, 1.0


def _handle(client: Client, execution_id: str) -> Handle:
    return client.get_workflow_handle_for(ExecutionWorkflow.run, execution_id)


async def _reset(client: Client, execution_id: str, place: float) -> Handle:
    """Back to one of its workflow tasks, from the first to the last; the handle of the run that
    continues from there.
    """
    description = await _handle(client, execution_id).describe()
    history = await client.get_workflow_handle(
        execution_id, run_id=description.run_id
    ).fetch_history()
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    tasks = [event.event_id for event in history.events if event.event_type == done]
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=execution_id, run_id=description.run_id
            ),
            reason="by hand",
            workflow_task_finish_event_id=tasks[round(place * (len(tasks) - 1))],
            request_id=uuid4().hex,
        )
    )
    return client.get_workflow_handle_for(ExecutionWorkflow.run, execution_id, run_id=answer.run_id)


async def _start_again(client: Client, execution_id: str) -> Handle:
    """With the input it had: as `temporal workflow start` by hand, or a retry-as-new of the
    Web UI.
    """
    history = await _handle(client, execution_id).fetch_history()
    started = history.events[0].workflow_execution_started_event_attributes
    (order,) = await client.data_converter.decode(started.input.payloads, [ExecutionOrder])
    return await client.start_workflow(
        ExecutionWorkflow.run, order, id=execution_id, task_queue=EXECUTIONS_QUEUE
    )


async def _check_paid_once(world: World, execution_id: str) -> None:
    seen = await world.ended(execution_id)
    assert seen["status"] == "completed", seen
    lines = await world.bill_of(execution_id)
    assert sorted(line["provider"] for line in lines) == ["fal", "replicate"]
    await world.check_money(execution_id)
    await world.webhook(execution_id)


@pytest.mark.timeout(120)
async def test_workflow_reset_or_terminated_while_it_runs_is_paid_once(world: World) -> None:
    await world.settings(video_seconds=8.0)
    client = await world.temporal()
    ids = [await world.generate() for _ in range(4)]
    for execution_id in ids:
        await world.until(execution_id, job="video", state="submitted")
    for execution_id, place in zip(ids[:3], (FIRST, MIDDLE, LAST), strict=True):
        await _reset(client, execution_id, place)
    await _handle(client, ids[3]).terminate("by hand")
    await _start_again(client, ids[3])
    in_time = [(await world.get(execution_id))["jobs"][1]["state"] for execution_id in ids]
    assert in_time == ["submitted"] * len(ids)
    for execution_id in ids:
        await _check_paid_once(world, execution_id)
        assert len(world.webhooks_of(execution_id)) == 1
    whole_bill = (await world.control.get("/bill")).json()["lines"]
    assert len(whole_bill) == 2 * len(ids), "a job was bought that no row knows"


@pytest.mark.timeout(120)
async def test_workflow_reset_or_started_again_after_its_end_changes_nothing(world: World) -> None:
    client = await world.temporal()
    execution_id = await world.generate()
    await _check_paid_once(world, execution_id)
    before = await world.get(execution_id)
    for place in (LAST, MIDDLE, FIRST):
        outcome = await (await _reset(client, execution_id, place)).result()
        assert outcome.status in (
            None,
            "completed",
        )  # None: the run found its generation ended, and returned
    assert (await (await _start_again(client, execution_id)).result()).status is None
    await asyncio.sleep(0.5)
    assert len(world.webhooks_of(execution_id)) == 1
    after = await world.get(execution_id)
    assert {**after, "webhook": None} == {**before, "webhook": None}
    assert len((await world.control.get("/bill")).json()["lines"]) == 2
