"""The estimated end and the queue position of executions that really run."""

import asyncio

import pytest

from tests.end_to_end.world import World


async def falls(world: World, execution_id: str, *, below: int) -> None:
    for _ in range(200):
        if (await world.get(execution_id))["eta"]["seconds"] < below:
            return
        await asyncio.sleep(0.3)
    raise AssertionError(f"the estimate of {execution_id} did not fall")


@pytest.mark.timeout(120)
async def test_eta_falls_while_an_execution_runs(world: World) -> None:
    await world.rows("UPDATE users SET running_limit = 1 WHERE user_id = $1", world.user.user_id)
    await world.settings(video_seconds=60.0)
    running, waiting = await world.generate(), await world.generate()
    await world.until(running, job="video", state="submitted")
    first, behind = await world.get(running), await world.get(waiting)
    assert first["eta"]["low"] <= first["eta"]["seconds"] <= first["eta"]["high"]
    assert (behind["queue"]["reason"], behind["queue"]["position"]) == ("running_limit", 1)
    assert behind["eta"]["seconds"] > first["eta"]["seconds"]
    for execution_id, before in ((running, first), (waiting, behind)):
        await falls(world, execution_id, below=before["eta"]["seconds"])
    await world.settings(video_seconds=1.0)
    await world.cancel(running)
    ended = await world.ended(running)
    assert (ended["queue"], ended["eta"]) == (None, None)
    done = await world.ended(waiting, seconds=60)
    assert (done["status"], done["queue"], done["eta"]) == ("completed", None, None)
