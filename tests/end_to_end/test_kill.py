"""`kill -9` of any one process in the middle of a run, and its start again: the run completes, and
is paid for once.
"""

import asyncio
import os
import signal

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G2")

PARTS = ("API", "Worker", "Temporal", "PostgreSQL", "S3", "Sandbox")


@pytest.mark.guarantee("G1")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("part", PARTS)
async def test_kill_of_one_process_loses_nothing(world: World, part: str) -> None:
    await world.settings(video_seconds=3.0)
    early = await world.generate()
    await world.until(early, job="video", state="submitted")
    late = await world.generate()  # caught in its first steps
    pid = world.stack.pid_of(part)
    os.kill(pid, signal.SIGKILL)
    for execution_id in (early, late):
        seen = await world.ended(execution_id, seconds=100)
        assert seen["status"] == "completed", seen
        assert len(await world.bill_of(execution_id)) == 2
        await world.check_money(execution_id)
        await world.webhook(execution_id, seconds=60)
        bodies = world.webhooks_of(execution_id)
        assert len(set(bodies)) == 1
    async with asyncio.timeout(60):
        while world.stack.pid_of(part) == pid:  # noqa: ASYNC110 - the supervisor sets no event
            await asyncio.sleep(0.2)
    assert len((await world.control.get("/bill")).json()["lines"]) == 4, (
        "a job was bought that no row knows"
    )


@pytest.mark.guarantee("G5")
async def test_accepted_while_temporal_is_down_is_started_later(world: World) -> None:
    pid = world.stack.pid_of("Temporal")
    os.kill(pid, signal.SIGSTOP)
    try:
        execution_id = await world.generate()
        assert (await world.get(execution_id))["status"] == "queued"
        ready = await world.api.get("/readyz")
        assert ready.status_code == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    seen = await world.ended(execution_id, seconds=60)
    assert seen["status"] == "completed"
    await world.check_money(execution_id)
