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


QUEUE_LONGER = """
UPDATE executions
SET queued_at = queued_at - make_interval(hours => $2), deadline_at = deadline_at - make_interval(hours => $2)
WHERE execution_id = ANY($1::text[]) AND status = 'queued' RETURNING execution_id
"""


@pytest.mark.guarantee("G5")
@pytest.mark.timeout(120)
async def test_accepted_executions_of_a_user_at_the_limit_all_run(world: World) -> None:
    """They wait longer than their runs may take. Only the one past the queue limit ends untried."""
    await _limit(world, 1)
    await world.settings(video_seconds=60.0)
    running = await world.generate()
    await world.until(running, job="video", state="submitted")
    *waiting, expired = [await world.generate() for _ in range(3)]
    assert len(await world.rows(QUEUE_LONGER, waiting, 12)) == 2
    assert len(await world.rows(QUEUE_LONGER, [expired], 25)) == 1
    # The reconciler has looked at the queue when it has ended this one.
    ended = await world.ended(expired)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "queue_timed_out")
    assert (await world.webhook(expired))["error"]["code"] == "queue_timed_out"
    assert await world.bill_of(expired) == []
    assert [(await world.get(one))["status"] for one in waiting] == ["queued"] * 2
    sql = "UPDATE concurrency_counters SET recent_run_seconds = 90000 WHERE user_id = $1 RETURNING user_id"
    await world.rows(sql, world.user.user_id)
    refused = await world.api.post("/api/generate-video", json={"prompt": "one too many"})
    assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
    assert int(refused.headers["retry-after"]) > 0
    await world.settings(video_seconds=1.0)
    await world.cancel(running)  # its end frees the slot
    for one in waiting:
        assert (await world.ended(one, seconds=60))["status"] == "completed"
        await world.check_money(one)
    await _at_rest(world)


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
