"""The reconciler and the queue limit: what waits for a slot ends by it, not by its deadline."""

import pytest

import core.maintenance.repairs.workflow_repairs
from core.platform.settings.api import QUEUE_LIMIT_SECONDS
from core.platform.temporal.policies import END_SLACK
from core.store.executions.executions import claim_execution
from tests.maintenance.reconciling import make_older, make_repairs, run_all_tasks, run_task
from tests.maintenance.test_reconciler import queued, status
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G5")


async def wait_in_queue(harness: ActivityHarness, seconds: float) -> None:
    """Let all executions wait this much longer."""
    for column in ("queued_at", "deadline_at"):
        await harness.as_owner(
            f"UPDATE executions SET {column} = {column} - make_interval(secs => {seconds})"
        )


async def test_reconciler_ends_an_execution_past_the_queue_limit(harness: ActivityHarness) -> None:
    new = new_execution(await new_user(harness.database), webhook_url="http://receiver.test/")
    one = await accept(harness.database, new, claimed=False)
    await wait_in_queue(harness, QUEUE_LIMIT_SECONDS + 1)
    temporal = FakeTemporal()
    await run_all_tasks(harness, temporal)
    assert temporal.started == []
    assert await status(harness, one) == ("failed", "queue_timed_out")
    assert await harness.charge(one.image) == await harness.charge(one.video) == ("released", 0)
    assert len(harness.deliveries) == 1


async def test_queued_execution_outlives_its_deadline_and_runs_its_whole_time(
    harness: ActivityHarness,
) -> None:
    """Waiting for a slot takes nothing from the run, nor from its workflow's time-out."""
    [one] = await queued(harness, 1)
    async with harness.database.as_system() as conn:
        allowed = await conn.fetchval("SELECT deadline_at - queued_at FROM executions")
    await wait_in_queue(harness, QUEUE_LIMIT_SECONDS - 60)
    temporal = FakeTemporal()
    await run_all_tasks(harness, temporal)
    assert temporal.started == [one.execution_id]
    assert temporal.run_timeouts == [allowed + END_SLACK]
    async with harness.database.as_user(one.user_id) as conn:
        await claim_execution(conn, one.ref)
        assert await conn.fetchval("SELECT deadline_at - now() FROM executions") == allowed


@pytest.mark.parametrize(("queued_seconds", "cancelled"), [(7200, False), (86_500, True)])
async def test_execution_waiting_for_a_provider_ends_at_the_queue_limit(
    harness: ActivityHarness, *, queued_seconds: float, cancelled: bool
) -> None:
    one = await harness.accepted()
    await make_older(harness)
    await harness.as_owner(
        "UPDATE executions SET waiting_since = started_at, deadline_at = now() - interval '1 day',"
        f" queued_at = now() - make_interval(secs => {queued_seconds})"
    )
    temporal = FakeTemporal()
    await run_task(harness, temporal, "end_running")
    assert temporal.terminated == []
    expected = [(one.execution_id, "deadline_exceeded")] if cancelled else []
    assert temporal.cancelled == expected


async def test_reconciler_leaves_workflows_alone_that_wait_for_workers(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await accept(
        harness.database, new_execution(await new_user(harness.database)), claimed=False
    )
    await make_older(harness)
    temporal = FakeTemporal(running_generation=1)
    repairs = make_repairs(harness, temporal)
    for _ in range(3):
        await repairs.start_queued()
    assert temporal.described == [one.execution_id]
    assert temporal.started == []
    temporal.close_status = "terminated"  # by an operator
    monkeypatch.setattr(core.maintenance.repairs.workflow_repairs, "LOOK_AGAIN_SECONDS", 0.0)
    await repairs.start_queued()
    assert temporal.started == [one.execution_id]


async def test_reconciler_starts_a_retry_whose_earlier_workflow_runs(
    harness: ActivityHarness,
) -> None:
    one = await accept(
        harness.database, new_execution(await new_user(harness.database)), claimed=False
    )
    await make_older(harness)
    temporal = FakeTemporal(running_generation=0)
    await make_repairs(harness, temporal).start_queued()
    assert temporal.started == [one.execution_id]
