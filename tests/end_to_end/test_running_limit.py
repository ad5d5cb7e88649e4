"""The running limit of a user: further executions wait in the queue until a slot is free."""

import asyncio

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G4")

RUNNING = 2
HIGH_WATER = """
SELECT max(running) AS most FROM (
    SELECT (SELECT count(*) FROM executions AS o
            WHERE o.user_id = e.user_id AND o.started_at <= e.started_at
              AND coalesce(o.ended_at, 'infinity') > e.started_at) AS running
    FROM executions AS e WHERE e.user_id = $1 AND e.started_at IS NOT NULL
) AS seen
"""
LOADS = "SELECT open_executions, running_executions FROM concurrency_counters WHERE user_id = $1"


async def _limit(world: World, running: int) -> None:
    await world.rows(
        "UPDATE users SET running_limit = $2 WHERE user_id = $1", world.user.user_id, running
    )


async def _at_rest(world: World) -> None:
    """Every end has given back what it had."""
    (row,) = await world.rows(LOADS, world.user.user_id)
    assert (row["open_executions"], row["running_executions"]) == (0, 0)


@pytest.mark.timeout(180)
async def test_ten_executions_run_two_at_a_time_in_their_order(world: World) -> None:
    await _limit(world, RUNNING)
    ids = [await world.generate() for _ in range(10)]
    seen = await asyncio.gather(*(world.ended(execution_id, seconds=150) for execution_id in ids))
    assert [one["status"] for one in seen] == ["completed"] * 10
    (row,) = await world.rows(HIGH_WATER, world.user.user_id)
    assert row["most"] == RUNNING
    started = await world.rows(
        "SELECT execution_id FROM executions WHERE user_id = $1 ORDER BY started_at",
        world.user.user_id,
    )
    places = {found["execution_id"]: place for place, found in enumerate(started)}
    assert all(
        abs(places[execution_id] - ids.index(execution_id)) <= RUNNING for execution_id in ids
    )
    await _at_rest(world)
    for execution_id in ids:
        await world.check_money(execution_id)


@pytest.mark.timeout(120)
async def test_queued_execution_has_no_workflow_and_can_be_cancelled(
    world: World,
) -> None:
    await _limit(world, 1)
    await world.settings(video_seconds=60.0)
    running = await world.generate()
    await world.until(running, job="video", state="submitted")
    waiting, behind = await world.generate(), await world.generate()
    answer = await world.cancel(waiting)
    assert (answer["status"], answer["spent"], answer["released"] != "0") == (
        "cancelled",
        "0",
        True,
    )
    assert [(await world.get(one))["status"] for one in (running, behind)] == ["running", "queued"]
    (row,) = await world.rows(LOADS, world.user.user_id)
    assert (row["open_executions"], row["running_executions"]) == (2, 1)
    await world.settings(video_seconds=1.0)
    await world.cancel(running)  # its end frees a slot
    assert (await world.ended(behind, seconds=60))["status"] == "completed"
    await world.ended(running)
    await _at_rest(world)
    assert await world.bill_of(waiting) == []
    await world.check_one_event(waiting)
