"""What the reconciler measures: open, stalled and overdue work, holds, pauses, checks, alarms."""

import asyncio
from typing import Any

from prometheus_client import REGISTRY

from core.domain.money import NanoUsd
from core.domain.states import CostBasis
from core.maintenance.user_alarms import UserAlarms
from core.store.accounts.users import UserLimits
from core.store.database import Database
from core.store.jobs.submit_pauses import model_scope, pause, provider_scope
from core.store.measures.ledger_checks import BILL_PREFIX, LEDGER, record_check
from core.store.measures.user_alarms import list_alarms
from core.store.money.daily_spending_cap import set_daily_limit
from core.store.money.settlement import settle_charge
from tests.maintenance.reconciling import make_reconciler
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import IMAGE_PRICE, VIDEO_PRICE, accept, new_execution, new_user

HOUR_PRICE = IMAGE_PRICE + VIDEO_PRICE


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"takeone_{name}", labels)


async def test_open_late_and_pending_work_is_measured(harness: ActivityHarness) -> None:
    gauges = make_reconciler(harness, FakeTemporal()).gauges
    user_id = await new_user(harness.database)
    await accept(harness.database, new_execution(user_id), claimed=False)
    running = await harness.accepted()
    await harness.as_owner(
        "UPDATE executions SET queued_at = now() - interval '1 hour', deadline_at = now() - interval '100 s'"
    )
    await gauges.measure_executions()

    assert value("executions_open", status="queued") == 1
    assert value("executions_open", status="running") == 1
    assert (value("executions_open_oldest_seconds", status="queued") or 0) >= 3600
    assert value("executions_late", reason="overdue") == 1
    assert (value("executions_late_oldest_seconds", reason="overdue") or 0) >= 100
    # An hour in the queue may have been a wait for a slot: only a second look shows a stall.
    assert value("executions_late", reason="stalled") == 0
    await asyncio.sleep(0.01)
    await gauges.measure_executions()
    assert value("executions_late", reason="stalled") == 1
    assert 0 < (value("executions_late_oldest_seconds", reason="stalled") or 0) < 3000
    assert value("webhooks_pending", type="execution.completed") == 0

    await harness.as_owner(
        "UPDATE executions SET deadline_at = now() + interval '1 hour' WHERE execution_id = $1",
        running.execution_id,
    )
    await gauges.measure_executions()
    assert value("executions_late_oldest_seconds", reason="overdue") == 0
    gauges.clear()
    assert value("executions_late", reason="overdue") is None


async def test_execution_without_a_free_slot_is_not_stalled(harness: ActivityHarness) -> None:
    gauges = make_reconciler(harness, FakeTemporal()).gauges
    limits = UserLimits(monthly_videos=None, monthly_nano_usd=None, running_executions=1)
    user_id = await new_user(harness.database, limits)
    await accept(harness.database, new_execution(user_id))
    await accept(harness.database, new_execution(user_id), claimed=False)
    for _ in range(2):
        await gauges.measure_executions()
        await asyncio.sleep(0.01)
    assert value("executions_open", status="queued") == 1
    assert value("executions_late", reason="stalled") == 0


async def test_holds_the_day_pauses_and_checks_are_measured(harness: ActivityHarness) -> None:
    gauges = make_reconciler(harness, FakeTemporal()).gauges
    one = await harness.accepted()
    await gauges.measure_money()
    held = [value("held_nano_usd", provider=name) for name in harness.providers.names]
    assert sum(filter(None, held)) == HOUR_PRICE
    assert value("service_day_nano_usd", kind="held") == HOUR_PRICE
    assert value("service_day_nano_usd", kind="limit") is None
    assert value("submits_paused", scope="provider") == 0
    assert value("ledger_check_timestamp_seconds", check="ledger") == 0  # never
    assert value("ledger_check_findings", check="ledger") is None

    async with harness.database.as_user(one.user_id) as conn:
        for ref in (one.image, one.video):
            await settle_charge(conn, ref.job_id, NanoUsd(7), CostBasis.REPORTED)
    async with harness.database.as_system() as conn:
        await set_daily_limit(conn, NanoUsd(10**9))
        await pause(conn, provider_scope("one"), "a reason")
        await pause(conn, provider_scope("two"), "a reason")
        await pause(conn, model_scope("vendor/model"), "a reason")
        await record_check(conn, LEDGER, 2)
        await record_check(conn, f"{BILL_PREFIX}one", 1, -5)
    await gauges.measure_money()
    assert value("held_nano_usd", provider=harness.providers.names[0]) == 0
    assert value("hold_oldest_seconds", provider=harness.providers.names[0]) == 0
    assert value("service_day_nano_usd", kind="settled") == 14
    assert value("service_day_nano_usd", kind="limit") == 10**9
    assert value("submits_paused", scope="provider") == 2
    assert value("submits_paused", scope="model") == 1
    assert (value("ledger_check_timestamp_seconds", check="ledger") or 0) > 10**9
    assert value("ledger_check_findings", check="ledger") == 2
    assert value("bill_check_findings", provider="one") == 1
    assert value("bill_difference_nano_usd", provider="one") == -5


async def spikes(database: Database, least_usd: int = 1) -> float:
    """Report, and return how many users were counted."""
    before = value("user_spend_spikes_total") or 0
    await UserAlarms(database=database, spend_usd=least_usd).report_spikes()
    return (value("user_spend_spikes_total") or 0) - before


async def make_expensive(harness: ActivityHarness, execution_id: Any, usd: int) -> None:
    """Give the jobs of an execution holds of this size."""
    await harness.as_owner(
        "UPDATE charges SET held_nano_usd = $2::bigint WHERE execution_id = $1",
        execution_id,
        usd * 10**9,
    )


async def test_user_is_reported_once_a_day_for_a_spike(harness: ActivityHarness) -> None:
    one, cheap = await harness.accepted(), await harness.accepted()
    await make_expensive(harness, one.execution_id, 10)
    assert await spikes(harness.database, least_usd=50) == 0
    assert await spikes(harness.database, least_usd=0) == 0
    assert await spikes(harness.database) == 1
    assert await spikes(harness.database) == 0
    async with harness.database.as_system() as conn:
        alarms = await list_alarms(conn, days=1, limit=10)
    assert [(each.user_id, each.alarm, each.nano_usd) for each in alarms] == [
        (one.user_id, "spend_spike", 20 * 10**9)
    ]
    assert cheap.user_id != one.user_id


async def test_usual_spending_is_no_spike(harness: ActivityHarness) -> None:
    one = await harness.accepted()
    await make_expensive(harness, one.execution_id, 10)
    await harness.as_owner(
        "INSERT INTO usage_money (user_id, budget_month, day, provider, model, jobs, held_nano_usd, settled_nano_usd)"
        " SELECT $1, date_trunc('month', day), day, 'p', 'm', 1, 0, 20000000000"
        " FROM (SELECT (now() AT TIME ZONE 'UTC')::date - 3 AS day) AS d",
        one.user_id,
    )
    assert await spikes(harness.database) == 0
    await make_expensive(harness, one.execution_id, 11)
    assert await spikes(harness.database) == 1


async def test_old_orders_are_no_spike(harness: ActivityHarness) -> None:
    one = await harness.accepted()
    await make_expensive(harness, one.execution_id, 10)
    await harness.as_owner(
        "ALTER TABLE ledger_entries DROP CONSTRAINT ledger_entries_charge_id_fkey;"
        " UPDATE charges SET charge_id = overlay(charge_id PLACING '0100' FROM 5)"
    )
    assert await spikes(harness.database) == 0
