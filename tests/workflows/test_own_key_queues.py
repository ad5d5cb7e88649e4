"""Queues of users' own keys, on a Temporal server: neither kind of key delays the other."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from core.domain.ids import ExecutionId, UserId
from core.domain.messages.executions import ClaimResult, ExecutionOrder, ExecutionRef
from core.domain.messages.jobs import JobRef, SubmitJobResult, SubmitOutcome
from core.domain.plans import Plan
from core.domain.states import ExecutionStatus
from core.platform.temporal import policies
from tests.workflows.fake_activities import (
    IMAGE_PROVIDER,
    PLAN,
    VIDEO_PROVIDER,
    FakeActivities,
    workers,
)
from tests.workflows.scenarios import Handle
from workflows.execution import ExecutionWorkflow

pytestmark = pytest.mark.guarantee("G5")

OWN, SERVICES = UserId("usr_own"), UserId("usr_services")
LIMIT_SECONDS = 120.0


class KeyedActivities(FakeActivities):
    """Only OWN has keys of its own. results: of the first submits."""

    def __init__(self) -> None:
        super().__init__()
        self.queues: list[tuple[str, str]] = []
        self.results: list[SubmitJobResult] = []

    @activity.defn(name="claim_execution")
    async def claim(self, ref: ExecutionRef) -> ClaimResult:
        claim = await super().claim(ref)
        own_key = ref.user_id == OWN
        return replace(claim, jobs=tuple(replace(job, own_key=own_key) for job in claim.jobs))

    @activity.defn(name="submit_job")
    async def submit(self, ref: JobRef) -> SubmitJobResult:
        self.queues.append((ref.user_id, activity.info().task_queue))
        if self.results:
            return self.results.pop(0)
        return await super().submit(ref)

    def queues_of(self, user_id: UserId) -> set[str]:
        return {queue for user, queue in self.queues if user == user_id}


async def start(client: Client, queue: str, user_id: UserId, plan: Plan = PLAN) -> Handle:
    order = ExecutionOrder(
        execution_id=ExecutionId("exec_1"), user_id=user_id, generation=1, plan=plan
    )
    return await client.start_workflow(
        ExecutionWorkflow.run, order, id=f"exec_{uuid4().hex}", task_queue=queue
    )


async def completed(handle: Handle) -> None:
    assert (await handle.result()).status is ExecutionStatus.COMPLETED


async def submit_scheduled(handle: Handle) -> None:
    """Wait until the workflow has scheduled its first submit, which no worker takes."""
    while not (await handle.describe()).raw_description.pending_activities:  # noqa: ASYNC110 - only the server has it
        await asyncio.sleep(0.1)


def queues(*, own_key: bool) -> set[str]:
    return {
        policies.submit_queue(name, own_key=own_key) for name in (IMAGE_PROVIDER, VIDEO_PROVIDER)
    }


@pytest.mark.parametrize(("full", "free"), [(OWN, SERVICES), (SERVICES, OWN)])
async def test_full_queue_of_one_kind_of_key_delays_no_other(
    skipping_temporal: Client, full: UserId, free: UserId
) -> None:
    """No slot of the queue becomes free: an account hangs, or a rate is used up."""
    stage, queue = KeyedActivities(), f"executions-{uuid4()}"
    taken = queues(own_key=full == OWN)
    async with (
        workers(skipping_temporal, stage, queue, without=taken),
        asyncio.timeout(LIMIT_SECONDS),
    ):
        waiting = await start(skipping_temporal, queue, full)
        await submit_scheduled(waiting)
        await completed(await start(skipping_temporal, queue, free))
        assert stage.queues_of(free) == queues(own_key=free == OWN)
        assert stage.queues_of(full) == set()
        assert (await waiting.describe()).close_time is None
        await waiting.terminate()


async def test_job_moves_to_the_queue_of_its_present_key(skipping_temporal: Client) -> None:
    stage, queue = KeyedActivities(), f"executions-{uuid4()}"
    stage.results = [
        SubmitJobResult(outcome=SubmitOutcome.NOT_SENT, held_back=True, own_key=own_key)
        for own_key in (True, False)
    ]
    async with workers(skipping_temporal, stage, queue), asyncio.timeout(LIMIT_SECONDS):
        await completed(await start(skipping_temporal, queue, SERVICES))
    used = [queue for _, queue in stage.queues]
    assert used == [
        policies.submit_queue(IMAGE_PROVIDER, own_key=own_key) for own_key in (False, True, False)
    ] + [policies.submit_queue(VIDEO_PROVIDER)]


async def test_submit_without_a_worker_ends_at_its_deadline(skipping_temporal: Client) -> None:
    """After an upgrade that was taken back, no worker has the queue: the job's row is read."""
    stage, queue = KeyedActivities(), f"executions-{uuid4()}"
    plan = replace(PLAN, steps=tuple(replace(step, deadline_seconds=1) for step in PLAN.steps))
    async with (
        workers(skipping_temporal, stage, queue, without=queues(own_key=True)),
        asyncio.timeout(LIMIT_SECONDS),
    ):
        await completed(await start(skipping_temporal, queue, OWN, plan))
    assert (stage.queues, stage.count("find image"), stage.count("find video")) == ([], 1, 1)


async def test_earlier_version_continues_a_run_on_own_queues(
    skipping_temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, queue = KeyedActivities(), f"executions-{uuid4()}"
    async with workers(skipping_temporal, stage, queue), asyncio.timeout(LIMIT_SECONDS):
        handle = await start(skipping_temporal, queue, OWN)
        await completed(handle)
    assert stage.queues_of(OWN) == queues(own_key=True)
    earlier: list[str] = []

    def one_queue(provider: str, *, own_key: bool = False) -> str:
        assert own_key
        earlier.append(provider)
        return f"submit-{provider}"

    monkeypatch.setattr(policies, "submit_queue", one_queue)
    replayer = Replayer(workflows=[ExecutionWorkflow], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(await handle.fetch_history())
    assert earlier == [IMAGE_PROVIDER, VIDEO_PROVIDER]
