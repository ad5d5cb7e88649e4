"""Queue position and estimated end of an execution in its status and in lists."""

from typing import Any

import pytest

from api.executions import durations, outlook
from core.domain.states import ExecutionStatus, JobState
from core.store.accounts.users import UserLimits
from core.store.database import Database
from tests.api.conftest import Api, TestUser
from tests.api.walk import Walk

MINUTE_BACK = (
    "UPDATE jobs SET submitted_at = submitted_at - make_interval(secs => $2) WHERE job_id = $1"
)
MEASURED = """
INSERT INTO job_durations (provider, model, length, quantiles, samples)
SELECT DISTINCT provider, model, '', (SELECT jsonb_agg(($1::float8) + n) FROM generate_series(0, 19) AS g (n)), 20
FROM jobs WHERE execution_id = $2
"""


async def _order(user: TestUser) -> str:
    answer = await user.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    return execution_id


async def _read(user: TestUser, execution_id: str) -> dict[str, Any]:
    answer = await user.http.get(f"/api/executions/{execution_id}")
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def _older(database: Database, walk: Walk, step: str, seconds: float) -> None:
    async with database.as_system() as conn:
        await conn.execute(MINUTE_BACK, walk.jobs[step], seconds)


async def test_eta_falls_while_steps_run_and_ends_with_them(api: Api, user: TestUser) -> None:
    execution_id = await _order(user)
    queued = await _read(user, execution_id)
    assert queued["queue"] == {
        "reason": "starting", "position": None, "ahead": None, "runningLimit": 500, "provider": None, "step": None,
    }  # fmt: skip
    usual = queued["eta"]
    assert 0 < usual["low"] < usual["seconds"] < usual["high"]
    assert usual["basis"] == "model"
    walk = await Walk.claimed(api.database, user.user_id, execution_id)
    await walk.submit("image", "fal", "request-1")
    await walk.settle("image", 3_000_000, JobState.COMPLETED)
    await walk.submit("video", "fal", "request-2")
    seen = [usual]
    for seconds in (10.0, 20.0):
        await _older(api.database, walk, "video", seconds)
        running = await _read(user, execution_id)
        assert running["queue"] is None
        seen.append(running["eta"])
    assert seen[0]["seconds"] > seen[1]["seconds"] > seen[2]["seconds"] > 0
    await _older(api.database, walk, "video", 10_000.0)
    overdue = (await _read(user, execution_id))["eta"]
    assert 0 <= overdue["low"] < overdue["seconds"] < overdue["high"]
    assert overdue["high"] - overdue["low"] > seen[0]["high"] - seen[0]["low"]
    await walk.settle("video", 3_000_000, JobState.COMPLETED)
    await walk.end(ExecutionStatus.COMPLETED, progress=100)
    ended = await _read(user, execution_id)
    assert (ended["queue"], ended["eta"]) == (None, None)


async def test_eta_comes_from_history_where_there_is_enough(api: Api, user: TestUser) -> None:
    execution_id = await _order(user)
    async with api.database.as_system() as conn:
        await conn.execute(MEASURED, 300.0, execution_id)
    eta = (await _read(user, execution_id))["eta"]
    assert eta["basis"] == "history"
    assert (eta["low"], eta["seconds"], eta["high"]) == pytest.approx((610, 620, 635), abs=10)
    (listed,) = (await user.http.get("/api/executions")).json()["data"]
    assert listed["eta"]["seconds"] == pytest.approx(eta["seconds"], abs=5)


async def test_no_eta_where_the_end_does_not_depend_on_durations(api: Api, user: TestUser) -> None:
    for state in (JobState.FAILED, JobState.UNKNOWN):
        execution_id = await _order(user)
        walk = await Walk.claimed(api.database, user.user_id, execution_id)
        await walk.submit("image", "fal", f"request-{state}")
        async with api.database.as_system() as conn:
            await conn.execute(
                "UPDATE jobs SET state = $2, ended_at = CASE WHEN $2 = 'failed' THEN now() END WHERE job_id = $1",
                walk.jobs["image"],
                state,
            )
        assert (await _read(user, execution_id))["eta"] is None
    cancelled = await _order(user)
    await Walk.claimed(api.database, user.user_id, cancelled)
    assert (await _read(user, cancelled))["eta"] is not None
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE executions SET cancel_requested_at = now() WHERE execution_id = $1", cancelled
        )
    assert (await _read(user, cancelled))["eta"] is None


async def test_queued_execution_shows_its_position_and_wait(api: Api) -> None:
    limits = UserLimits(monthly_videos=None, monthly_nano_usd=None, running_executions=1)
    user = await api.new_user(limits)
    async with user.http:
        running, first, second = [await _order(user) for _ in range(3)]
        await Walk.claimed(api.database, user.user_id, running)
        waits = [await _read(user, execution_id) for execution_id in (running, first, second)]
        assert [read["queue"] and read["queue"]["position"] for read in waits] == [None, 1, 2]
        assert waits[2]["queue"] == {
            "reason": "running_limit", "position": 2, "ahead": 1, "runningLimit": 1, "provider": None, "step": None,
        }  # fmt: skip
        ends = [read["eta"]["seconds"] for read in waits]
        assert ends[1] == pytest.approx(2 * ends[0], rel=0.2)
        assert ends[2] == pytest.approx(3 * ends[0], rel=0.2)
        listed = (await user.http.get("/api/executions")).json()["data"]
        assert [one["queue"] for one in reversed(listed)] == [read["queue"] for read in waits]


async def test_step_that_waits_for_its_provider_shows_its_position(
    api: Api, user: TestUser
) -> None:
    execution_id = await _order(user)
    walk = await Walk.claimed(api.database, user.user_id, execution_id)
    before = (await _read(user, execution_id))["eta"]["seconds"]
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE executions SET waiting_since = now() WHERE execution_id = $1", execution_id
        )
    unknown = await _read(user, execution_id)
    assert (unknown["queue"], unknown["eta"]) == (None, None), "it waits for a reason without queue"
    async with api.database.as_system() as conn:
        await conn.execute(
            "INSERT INTO submit_queue (job_id, provider, user_id, continuing) VALUES ($1, 'fal', $2, false)",
            walk.jobs["image"],
            user.user_id,
        )
        await conn.execute(
            "INSERT INTO provider_queues (provider, jobs, users, work_seconds, slots) VALUES ('fal', 10, 2, 1000, 1)"
        )
    waiting = await _read(user, execution_id)
    assert waiting["queue"] == {
        "reason": "provider_slot", "position": 1, "ahead": 0, "runningLimit": None, "provider": "fal", "step": "image",
    }  # fmt: skip
    assert waiting["eta"]["seconds"] == pytest.approx(before + 200, rel=0.2)
    assert waiting["eta"]["high"] - waiting["eta"]["low"] > 150


async def test_status_of_a_running_execution_needs_no_more_statements(
    api: Api, user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measurements are read once; a queue only if something waits."""
    execution_id = await _order(user)
    await Walk.claimed(api.database, user.user_id, execution_id)
    await _read(user, execution_id)

    async def refuse(*_: object) -> object:
        raise AssertionError("a statement")

    monkeypatch.setattr(durations, "read_history", refuse)
    for name in ("read_user_queue", "read_waiting_jobs", "list_queues"):
        monkeypatch.setattr(outlook, name, refuse)
    assert (await _read(user, execution_id))["eta"] is not None
