"""The reconciler repairs executions and deliveries whose rows and workflows disagree."""

import asyncio

import pytest
from prometheus_client import REGISTRY

import core.maintenance.repairs.recent_repairs
import core.maintenance.repairs.workflow_repairs
from core.domain.ids import ExecutionId, new_event_id
from core.domain.messages.executions import ClaimOutcome, ExecutionOrder, FinishInput
from core.domain.messages.webhooks import DeliveryOrder, WebhookState
from core.domain.states import ExecutionStatus, JobState
from core.platform.observability import metrics
from core.platform.temporal.policies import DELIVERY_RUN_TIMEOUT, END_SLACK
from core.store.executions.executions import claim_execution
from core.store.webhooks.events import get_webhook, mark_delivered
from tests.maintenance.reconciling import (
    make_older,
    make_repairs,
    run_all_tasks,
    run_task,
)
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import NOT_FOUND, UNREACHABLE, FakeTemporal
from tests.support.rows import Accepted, accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G3")


async def test_reconciler_starts_overdue_queued_executions(harness: ActivityHarness) -> None:
    one = await accept(
        harness.database, new_execution(await new_user(harness.database)), claimed=False
    )
    temporal = FakeTemporal()
    await run_all_tasks(harness, temporal)
    assert temporal.started == []
    await make_older(harness)
    await run_all_tasks(harness, temporal)
    assert temporal.started == [one.execution_id]


async def test_reconciler_ends_a_terminated_execution_and_settles_later(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await harness.run(harness.jobs.submit, one.image)
    await make_older(harness)
    await run_task(harness, FakeTemporal(close_status="terminated"), "check_running")
    async with harness.database.as_user(one.user_id) as conn:
        row = await conn.fetchrow("SELECT status, error ->> 'code' AS code FROM executions")
    assert row is not None
    assert tuple(row) == ("failed", "terminated")
    assert await harness.charge(one.video) == ("released", 0)
    assert len(harness.deliveries) == 1
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    await run_all_tasks(harness, FakeTemporal())
    assert await harness.charge(one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])
    assert (await harness.job(one.image)).state is JobState.COMPLETED


async def test_reconciler_restarts_after_a_run_of_an_earlier_generation(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    await make_older(harness)
    temporal = FakeTemporal(
        close_status="completed"
    )  # an operator reset the run before a retry: it found nothing to claim
    await run_task(harness, temporal, "check_running")
    assert temporal.started == [one.execution_id]
    async with harness.database.as_user(one.user_id) as conn:
        assert await conn.fetchval("SELECT status FROM executions") == "running"


async def test_reconciler_finds_the_unknown_send_of_a_terminated_workflow(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    order = harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    await make_older(harness)
    await run_all_tasks(harness, FakeTemporal(close_status="terminated"))
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    for _ in range(2):
        await run_all_tasks(harness, FakeTemporal())
    assert harness.sandbox.fired(order) == 1
    assert await harness.charge(one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])


async def test_reconciler_restarts_a_delivery_that_was_left_behind(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await make_older(harness)
    await run_task(harness, FakeTemporal(close_status="terminated"), "check_running")
    await harness.as_owner("UPDATE webhooks SET attempt_due_at = attempt_due_at - interval '1 min'")
    temporal = FakeTemporal()
    await run_all_tasks(harness, temporal)
    assert [order.user_id for order in temporal.deliveries] == [one.user_id]


async def test_reconciler_cancels_what_is_past_its_deadline(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await make_older(harness)
    await harness.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")
    temporal = FakeTemporal()
    await run_all_tasks(harness, temporal)
    assert temporal.cancelled == [(one.execution_id, "deadline_exceeded")]


@pytest.mark.parametrize("error", [UNREACHABLE, TimeoutError(), LookupError("an unreadable row")])
async def test_reconciler_continues_when_a_task_fails(
    harness: ActivityHarness, error: Exception
) -> None:
    one = await harness.accepted()
    await make_older(harness)
    await harness.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")

    async def broken(_order: ExecutionOrder) -> None:
        raise error

    temporal = FakeTemporal(on_start=broken)
    await accept(harness.database, new_execution(one.user_id), claimed=False)
    await make_older(harness)

    await run_all_tasks(harness, temporal)
    assert [execution_id for execution_id, _ in temporal.cancelled] == [one.execution_id]


async def queued(harness: ActivityHarness, number: int) -> list[Accepted]:
    user_id = await new_user(harness.database)
    return [
        await accept(harness.database, new_execution(user_id), claimed=False) for _ in range(number)
    ]


async def status(harness: ActivityHarness, one: Accepted) -> tuple[str, str | None]:
    async with harness.database.as_user(one.user_id) as conn:
        row = await conn.fetchrow(
            "SELECT status, error ->> 'code' AS code FROM executions WHERE execution_id = $1",
            one.execution_id,
        )
    assert row is not None
    return row["status"], row["code"]


async def test_reconciler_continues_after_a_row_that_cannot_start(
    harness: ActivityHarness,
) -> None:
    unreadable, refused, good = await queued(harness, 3)
    await harness.as_owner(
        "UPDATE executions SET plan = '{}' WHERE execution_id = $1", unreadable.execution_id
    )
    await make_older(harness)

    async def refuse_one(order: ExecutionOrder) -> None:
        if order.execution_id == refused.execution_id:
            raise UNREACHABLE

    temporal = FakeTemporal(on_start=refuse_one)
    await run_all_tasks(harness, temporal)
    assert temporal.started == [good.execution_id]


async def test_reconciler_stops_a_page_while_temporal_is_down(
    harness: ActivityHarness,
) -> None:
    await queued(harness, 5)
    await make_older(harness)
    calls: list[ExecutionId] = []

    async def down(order: ExecutionOrder) -> None:
        calls.append(order.execution_id)
        raise UNREACHABLE

    await run_all_tasks(harness, FakeTemporal(on_start=down))
    assert len(calls) == core.maintenance.repairs.workflow_repairs.MAX_TEMPORAL_FAILURES


async def left_behind(
    harness: ActivityHarness, temporal: FakeTemporal
) -> tuple[Accepted, DeliveryOrder]:
    """A pending webhook whose delivery was started and has closed."""
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await make_older(harness)
    await run_task(harness, FakeTemporal(close_status="terminated"), "check_running")
    await harness.as_owner("UPDATE webhooks SET attempt_due_at = attempt_due_at - interval '1 min'")
    await run_task(harness, temporal, "start_deliveries")
    [order] = temporal.deliveries
    temporal.deliveries.clear()
    return one, order


@pytest.mark.parametrize("delivered", [True, False])
async def test_reconciler_delivers_anew_only_what_is_still_pending(
    harness: ActivityHarness, *, delivered: bool
) -> None:
    temporal = FakeTemporal()
    one, first = await left_behind(harness, temporal)

    async def deliver_meanwhile(order: DeliveryOrder) -> None:
        if order.delivery == first.delivery and delivered:
            async with harness.database.as_user(one.user_id) as conn:
                assert await mark_delivered(conn, order)

    temporal.closed, temporal.on_deliver = [first], deliver_meanwhile
    await run_task(harness, temporal, "start_deliveries")
    async with harness.database.as_user(one.user_id) as conn:
        webhook = await get_webhook(conn, first.event_id)
    assert webhook.state == ("delivered" if delivered else "pending")
    assert [order.delivery for order in temporal.deliveries] == ([1] if delivered else [1, 2])


async def test_webhook_that_the_execution_delivered_is_not_delivered_again(
    harness: ActivityHarness,
) -> None:
    """The database was restored from a backup before the attempt was recorded."""
    one = await harness.accepted(webhook_url="http://receiver.test/")
    outcome = await harness.run(
        harness.executions.finish,
        FinishInput(execution=one.ref, status=ExecutionStatus.CANCELLED, attempts_webhook=True),
    )
    assert (outcome.attempt_webhook, harness.deliveries) == (True, [])
    assert outcome.event_id is not None
    temporal = FakeTemporal(delivered_at_first=[new_event_id()])
    await run_task(harness, temporal, "start_deliveries")
    assert temporal.deliveries == []  # the first attempt may be in progress
    await harness.as_owner("UPDATE webhooks SET attempt_due_at = attempt_due_at - interval '1 min'")
    await run_task(harness, temporal, "start_deliveries")
    assert [order.event_id for order in temporal.deliveries] == [outcome.event_id]
    restored = FakeTemporal(delivered_at_first=[new_event_id(), outcome.event_id])
    await run_task(harness, restored, "start_deliveries")
    assert restored.deliveries == []
    async with harness.database.as_user(one.user_id) as conn:
        assert (await get_webhook(conn, outcome.event_id)).state is WebhookState.DELIVERED


async def test_reconciler_repeats_a_cancel_once_a_minute(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    await make_older(harness)
    await harness.as_owner(
        "UPDATE executions SET cancel_requested_at = now(), cancel_reason = 'cancelled'"
    )
    temporal = FakeTemporal()
    repairs = make_repairs(harness, temporal)
    for _ in range(3):
        await repairs.end_running()
    assert temporal.cancelled == [(one.execution_id, "cancelled")]
    monkeypatch.setattr(core.maintenance.repairs.workflow_repairs, "SIGNAL_AGAIN_SECONDS", 0.0)
    await repairs.end_running()
    assert len(temporal.cancelled) == 2


async def test_reconciler_remembers_a_bounded_number_of_cancels(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.maintenance.repairs.recent_repairs, "REMEMBERED", 1)
    for _ in range(2):
        await harness.accepted()
    await make_older(harness)
    await harness.as_owner(
        "UPDATE executions SET cancel_requested_at = now(), cancel_reason = 'cancelled'"
    )
    temporal = FakeTemporal()
    repairs = make_repairs(harness, temporal)
    for _ in range(2):
        await repairs.end_running()
    assert len(temporal.cancelled) == 4


async def test_reconciler_starts_again_what_temporal_does_not_know(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    await make_older(harness)
    temporal = FakeTemporal(close_status=NOT_FOUND)
    await run_all_tasks(harness, temporal)
    assert temporal.started == [one.execution_id]
    assert (await status(harness, one))[0] == "running"
    async with harness.database.as_user(one.user_id) as conn:
        claim = await claim_execution(conn, one.ref)
    assert claim.outcome is ClaimOutcome.CLAIMED
    await harness.run(harness.jobs.submit, one.image)
    assert len(harness.bill()) == 1


@pytest.mark.parametrize("race", [True, False])
async def test_reconciler_reports_only_lost_workflows_that_it_ended(
    harness: ActivityHarness, capsys: pytest.CaptureFixture[str], *, race: bool
) -> None:
    one = await harness.accepted()
    await make_older(harness)

    async def closed(_execution_id: ExecutionId) -> str | None:
        if race:
            await harness.executions.finish(
                FinishInput(execution=one.ref, status=ExecutionStatus.COMPLETED)
            )
        return "failed"

    await run_task(harness, FakeTemporal(on_describe=closed), "check_running")
    assert await status(harness, one) == (
        ("completed", None) if race else ("failed", "internal_error")
    )
    assert ("reconciler.workflow_lost" in capsys.readouterr().out) is not race


async def test_reconciler_does_not_start_what_ended_since_its_first_look(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await make_older(harness)

    async def closed(_execution_id: ExecutionId) -> str | None:
        await harness.executions.finish(
            FinishInput(execution=one.ref, status=ExecutionStatus.COMPLETED)
        )
        return "completed"

    temporal = FakeTemporal(on_describe=closed)
    await run_task(harness, temporal, "check_running")
    assert temporal.started == []


async def test_reconciler_counts_what_is_not_known_yet(harness: ActivityHarness) -> None:
    harness.sandbox.set(history_hidden=True)
    harness.sandbox.fault("drop_after_accept")
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)

    def gauges(provider: str) -> tuple[float | None, ...]:
        names = ("takeone_jobs_unknown", "takeone_open_bills")
        return tuple(REGISTRY.get_sample_value(name, {"provider": provider}) for name in names)

    temporal = FakeTemporal(close_status="terminated")
    await run_task(harness, temporal, "measure_jobs")
    assert gauges("replicate") == (1, 0)
    assert gauges("fal") == (0, 0)
    await make_older(harness)
    await run_task(harness, temporal, "check_running")
    await harness.open_bills.settle()
    await run_task(harness, temporal, "measure_jobs")
    assert gauges("replicate") == (0, 1)
    metrics.OPEN_BILLS.clear()


async def make_late(harness: ActivityHarness, seconds: float) -> None:
    await make_older(harness)
    await harness.as_owner(
        f"UPDATE executions SET deadline_at = now() - make_interval(secs => {seconds})"
    )


OVERDUE_SECONDS = END_SLACK.total_seconds() + 1


@pytest.mark.parametrize(
    ("late_seconds", "task_attempts", "ends"),
    [(OVERDUE_SECONDS, 1, True), (1, 5, True), (1, 1, False), (-600, 5, False)],
)
async def test_reconciler_closes_a_late_workflow_that_cannot_progress(
    harness: ActivityHarness, *, late_seconds: float, task_attempts: int, ends: bool
) -> None:
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await make_late(harness, late_seconds)
    temporal = FakeTemporal(task_attempts=task_attempts)
    await run_task(harness, temporal, "end_running")
    assert temporal.terminated == ([one.execution_id] if ends else [])
    assert await status(harness, one) == (
        ("failed", "deadline_exceeded") if ends else ("running", None)
    )
    assert (await harness.charge(one.video))[0] == ("released" if ends else "held")
    assert len(harness.deliveries) == (1 if ends else 0)


@pytest.mark.parametrize("close_status", ["timed_out", "terminated", NOT_FOUND])
async def test_reconciler_ends_a_closed_workflow_past_its_deadline(
    harness: ActivityHarness, close_status: str
) -> None:
    one = await harness.accepted()
    await make_late(harness, OVERDUE_SECONDS)
    temporal = FakeTemporal(close_status=close_status)
    await run_task(harness, temporal, "check_running")
    assert temporal.started == []
    assert await status(harness, one) == ("failed", "deadline_exceeded")


async def test_reconciler_restarts_a_run_that_timed_out_early(harness: ActivityHarness) -> None:
    one = await harness.accepted()
    await make_late(harness, -600)
    temporal = FakeTemporal(close_status="timed_out")
    await run_task(harness, temporal, "check_running")
    assert temporal.started == [one.execution_id]
    [timeout] = temporal.run_timeouts
    assert timeout is not None
    assert 0 < (timeout - END_SLACK).total_seconds() <= 600


async def test_reconciler_fails_a_delivery_that_cannot_end_itself(
    harness: ActivityHarness,
) -> None:
    temporal = FakeTemporal()
    one, order = await left_behind(harness, temporal)
    limit = DELIVERY_RUN_TIMEOUT.total_seconds()

    async def state_after(seconds: float) -> str:
        await harness.as_owner(
            f"UPDATE webhooks SET pending_since = now() - make_interval(secs => {seconds})"
        )
        await run_task(harness, temporal, "start_deliveries")
        async with harness.database.as_user(one.user_id) as conn:
            return (await get_webhook(conn, order.event_id)).state

    assert await state_after(limit - 60) == "pending"
    assert await state_after(limit + 1) == "failed"
    assert temporal.run_timeouts[-1] == DELIVERY_RUN_TIMEOUT
