"""Waits that are completed by their id, on a real Temporal server: also before a worker has begun
them.
"""

import asyncio

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from core.domain.ids import JobId
from core.domain.messages.jobs import SettleJobResult, WaitJobResult
from core.domain.money import NanoUsd
from core.domain.states import ExecutionStatus, JobState
from core.platform.temporal import policies
from tests.workflows.fake_activities import FakeActivities
from tests.workflows.scenarios import Handle, Scenario, play

pytestmark = pytest.mark.guarantee("G5", "G7")

SETTLED = SettleJobResult(state=JobState.COMPLETED, execution_spent_nano_usd=NanoUsd(1))


async def complete(client: Client, handle: Handle, step: str) -> None:
    """Complete the wait of a step once it is pending, and once more."""
    activity_id = policies.wait_activity_id(JobId(f"job_{step}"), 0)
    wait = client.get_async_activity_handle(
        workflow_id=handle.id, run_id=None, activity_id=activity_id
    )
    result = WaitJobResult(state=JobState.COMPLETED)
    async with asyncio.timeout(20):
        while True:
            try:
                await wait.complete(result)
                break
            except RPCError as error:
                assert error.status is RPCStatusCode.NOT_FOUND  # noqa: PT017 - not pending yet
            await asyncio.sleep(0.05)
    with pytest.raises(RPCError) as raised:
        await wait.complete(result)
    assert raised.value.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize("begun", [True, False])
async def test_wait_is_completed_whether_or_not_it_has_begun(
    skipping_temporal: Client, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    async def act(handle: Handle, stage: FakeActivities) -> None:
        claim = stage.breakpoint_at("claim")
        await claim.reached.wait()
        if not begun:
            monkeypatch.setattr(policies, "WAIT_QUEUE", "a queue without a worker")
        claim.open()
        for step in ("image", "video"):
            if begun:
                await stage.breakpoint_at(f"wait {step}").reached.wait()
            await complete(skipping_temporal, handle, step)
        for step in ("image", "video"):
            stage.breakpoint_at(f"wait {step}").open()

    scenario = Scenario(
        status=ExecutionStatus.COMPLETED,
        act=act,
        breakpoints=("claim", "wait image", "wait video"),
        answers={f"settle {step}": [SETTLED] for step in ("image", "video")},
    )
    played = await play(skipping_temporal, scenario)
    assert (played.stage.count("wait image"), played.stage.count("wait video")) == (
        (1, 1) if begun else (0, 0)
    )
