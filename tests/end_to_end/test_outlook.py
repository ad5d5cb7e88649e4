"""The estimated end and the queue position of executions that really run."""

import asyncio

import pytest

from core.domain.estimates.durations import LEVELS
from tests.end_to_end.world import World

MODEL = "bytedance/seedance-1.5-pro"
"""No other test here makes so many videos with it that their durations are measured."""
ADD_HISTORY = """
INSERT INTO job_durations (provider, model, length, quantiles, samples)
VALUES ('replicate', $1, '', to_jsonb(array_fill(200.0::float8, ARRAY[$2::int])), 20)
RETURNING samples
"""
OF_HISTORY_SECONDS = 100
"""Above what a process without this history estimates. A process reads it once a minute."""


async def falls(world: World, execution_id: str, *, below: int) -> None:
    for _ in range(200):
        if (await world.get(execution_id))["eta"]["seconds"] < below:
            return
        await asyncio.sleep(0.3)
    raise AssertionError(f"the estimate of {execution_id} did not fall")


async def has_history(world: World, execution_id: str) -> None:
    async with asyncio.timeout(90):
        while (await world.get(execution_id))["eta"]["seconds"] < OF_HISTORY_SECONDS:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.5)


@pytest.mark.timeout(240)
async def test_eta_falls_while_an_execution_runs(world: World) -> None:
    await world.rows("UPDATE users SET running_limit = 1 WHERE user_id = $1", world.user.user_id)
    await world.rows(ADD_HISTORY, MODEL, len(LEVELS))
    await world.settings(video_seconds=200.0)
    running = await world.generate(videoModel=MODEL)
    waiting = await world.generate(videoModel=MODEL)
    await world.until(running, job="video", state="submitted")
    await has_history(world, running)
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
