"""A step continues at its next model as its activities return it, on that model's queue."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from core.domain.ids import ExecutionId, UserId
from core.domain.messages.executions import (
    ClaimResult,
    ExecutionOrder,
    ExecutionRef,
)
from core.domain.messages.jobs import JobRef
from core.domain.states import ExecutionStatus
from core.platform.temporal import policies
from tests.workflows.failover_scenarios import FAILOVERS, RECORDED_FAILOVERS, refused
from tests.workflows.fake_activities import (
    IMAGE_PROVIDER,
    PLAN,
    VIDEO_PROVIDER,
    FakeActivities,
    workers,
)
from tests.workflows.scenarios import Played, play
from tests.workflows.stored_histories import fingerprint, newest, stored
from workflows.execution import ExecutionWorkflow

pytestmark = pytest.mark.guarantee("G1", "G5")

SUBMITS = {
    "failover_refused": ["video", "video2"],
    "failover_after_free_failures": ["video", "video", "video", "video2"],
    "failover_lost_submit": ["video", "video2"],
    "failover_refused_twice": ["video", "video2"],
    "failover_cancelled": ["video"],
    "failover_before_the_claim": ["video2"],
}
QUEUES = {"video": VIDEO_PROVIDER, "video2": IMAGE_PROVIDER}


async def submits(played: Played) -> list[tuple[str, str]]:
    """Return the submits of the video: its job and its task queue."""
    history = await played.handle.fetch_history()
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    data = played.handle._client.data_converter  # pyright: ignore[reportPrivateUsage]
    found: list[tuple[str, str]] = []
    for attributes in scheduled:
        if attributes.activity_type.name == "submit_job":
            ref: JobRef = (await data.decode(attributes.input.payloads, [JobRef]))[0]
            found.append((ref.job_id.removeprefix("job_"), attributes.task_queue.name))
    return [(job, queue) for job, queue in found if job != "image"]


@pytest.mark.parametrize("name", FAILOVERS)
async def test_step_continues_at_its_next_model(skipping_temporal: Client, name: str) -> None:
    scenario = FAILOVERS[name]
    played = await play(skipping_temporal, scenario, cached=0)
    assert played.stage.status is scenario.status
    failure = played.stage.ends[0].failure
    assert (failure.code if failure is not None else None) is scenario.failure
    expected = [(job, policies.submit_queue(QUEUES[job])) for job in SUBMITS[name]]
    assert await submits(played) == expected
    stored_video = [call for call in played.stage.calls if call.startswith("store video")]
    assert stored_video == (
        ["store video2"] if scenario.status == ExecutionStatus.COMPLETED else []
    )


@pytest.mark.parametrize("name", RECORDED_FAILOVERS)
async def test_commands_of_a_failover_are_those_of_its_stored_history(
    skipping_temporal: Client, name: str
) -> None:
    played = await play(skipping_temporal, FAILOVERS[name])
    history = await played.handle.fetch_history()
    assert fingerprint(history) == fingerprint(stored()[newest(name) or name])


class EarlierPath(FakeActivities):
    """A run that a worker without failover claimed: it may continue that run."""

    @activity.defn(name="claim_execution")
    async def claim(self, ref: ExecutionRef) -> ClaimResult:
        return replace(await super().claim(ref), path=2)


async def test_run_of_an_earlier_path_fails_as_before(skipping_temporal: Client) -> None:
    stage, queue = EarlierPath(answers={"submit video": [refused()]}), f"executions-{uuid4()}"
    order = ExecutionOrder(
        execution_id=ExecutionId("exec_1"), user_id=UserId("usr_1"), generation=1, plan=PLAN
    )
    async with workers(skipping_temporal, stage, queue), asyncio.timeout(45):
        outcome = await skipping_temporal.execute_workflow(
            ExecutionWorkflow.run, order, id=f"exec_{uuid4().hex}", task_queue=queue
        )
    assert outcome.status is ExecutionStatus.FAILED
    assert "submit video2" not in stage.calls
