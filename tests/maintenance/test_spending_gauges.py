"""Money in the metrics: what was booked is counted when it is committed; what was spent for nothing
is measured.
"""

import pytest
from prometheus_client import REGISTRY

from core.domain.failures import Failure, FailureCode
from core.domain.messages.executions import FinishInput
from core.domain.messages.webhooks import DeliveryOrder, FailedReason
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, ExecutionStatus
from core.store.accounts.users import UserLimits
from core.store.database import Connection, after_commit
from core.store.money.charges import BudgetExceededError, release_hold
from core.store.money.settlement import record_cost, settle_charge
from core.store.webhooks.events import mark_delivered, mark_failed
from tests.maintenance.reconciling import make_reconciler, run_all_tasks
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import IMAGE_PRICE, VIDEO_PRICE, Accepted, accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G4")

KINDS = (
    "held",
    "settled",
    "released",
    "overage",
    "adjustment",
    "adjustment_down",
    "orphan",
    "refund",
)
HOUR = "1 hour"


def booked() -> dict[str, float | None]:
    return {
        kind: REGISTRY.get_sample_value("takeone_ledger_nano_usd_total", {"kind": kind})
        for kind in KINDS
    }


def grown(before: dict[str, float | None]) -> dict[str, float]:
    """What was booked since, without what was not."""
    return {
        kind: now - (before[kind] or 0)
        for kind, now in booked().items()
        if now and now != before[kind]
    }


async def test_ledger_is_counted_by_kind(harness: ActivityHarness) -> None:
    before = booked()
    assert None not in before.values()  # from the start, so that the first entry is an increase
    one, other = await harness.accepted(), await harness.accepted()
    async with harness.database.as_user(one.user_id) as conn:
        await settle_charge(conn, one.video.job_id, NanoUsd(VIDEO_PRICE + 7), CostBasis.REPORTED)
        await settle_charge(conn, one.image.job_id, NanoUsd(IMAGE_PRICE - 5), CostBasis.ASSUMED)
        await record_cost(conn, one.image.job_id, NanoUsd(IMAGE_PRICE - 9), CostBasis.REPORTED)
    async with harness.database.as_system() as conn:
        await release_hold(conn, other.video.job_id)
        await release_hold(conn, other.video.job_id)

    assert grown(before) == {
        "held": 2 * (IMAGE_PRICE + VIDEO_PRICE),
        "settled": IMAGE_PRICE + VIDEO_PRICE - 5,
        "released": VIDEO_PRICE + 5,
        "overage": 7,
        "adjustment_down": 4,
    }


async def test_rolled_back_ledger_entry_is_not_counted(
    harness: ActivityHarness,
) -> None:
    user_id = await new_user(
        harness.database, UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(1))
    )
    before = booked()
    with pytest.raises(BudgetExceededError):
        await accept(harness.database, new_execution(user_id))

    assert grown(before) == {}


async def test_after_commit_belongs_to_the_innermost_transaction(harness: ActivityHarness) -> None:
    done: list[str] = []

    async def rolled_back() -> None:
        async with harness.database.as_system():
            after_commit(lambda: done.append("rolled back"))
            async with harness.database.as_system():
                after_commit(lambda: done.append("inner"))
            assert done == ["inner"]
            after_commit(lambda: done.append("rolled back, too"))
            raise LookupError

    after_commit(lambda: done.append("of no transaction"))
    with pytest.raises(LookupError):
        await rolled_back()
    async with harness.database.as_system():
        after_commit(lambda: done.append("outer"))
        assert done == ["inner"]

    assert done == ["inner", "outer"]


def gauges() -> dict[str, tuple[float | None, float | None]]:
    """Money and age in whole minutes, by outcome."""
    read = REGISTRY.get_sample_value
    found: dict[str, tuple[float | None, float | None]] = {}
    for outcome in ("failed", "cancelled", "webhook_failed", "webhook_pending"):
        age = read("takeone_spent_undelivered_oldest_seconds", {"outcome": outcome})
        found[outcome] = (
            read("takeone_spent_undelivered_nano_usd", {"outcome": outcome}),
            None if age is None else age // 60,
        )
    return found


async def ended(
    harness: ActivityHarness, status: ExecutionStatus, cost: int, *, webhook: bool = True
) -> Accepted:
    """An execution that has ended, its image paid."""
    one = await harness.accepted(webhook_url="http://receiver.test/" if webhook else None)
    if cost:
        async with harness.database.as_user(one.user_id) as conn:
            await settle_charge(conn, one.image.job_id, NanoUsd(cost), CostBasis.REPORTED)
    failure = (
        None if status is ExecutionStatus.COMPLETED else Failure.of(FailureCode.PROVIDER_FAILED)
    )
    await harness.executions.finish(FinishInput(execution=one.ref, status=status, failure=failure))
    return one


async def pass_time(harness: ActivityHarness, one: Accepted, interval: str) -> None:
    for statement in (
        "UPDATE executions SET ended_at = ended_at - $2::text::interval WHERE execution_id = $1",
        "UPDATE webhooks SET created_at = created_at - $2::text::interval WHERE execution_id = $1",
    ):
        await harness.as_owner(statement, one.execution_id, interval)


async def test_money_spent_for_nothing_is_measured_by_what_went_wrong(
    harness: ActivityHarness,
) -> None:
    failed, completed = ExecutionStatus.FAILED, ExecutionStatus.COMPLETED
    older, _newer = await ended(harness, failed, 100), await ended(harness, failed, 11)
    await ended(harness, failed, 0)  # nothing was spent
    long_ago = await ended(harness, failed, 5000)
    await ended(harness, ExecutionStatus.CANCELLED, 3)
    given_up, silent, _just_now, delivered = [
        await ended(harness, completed, 10**n) for n in (4, 5, 6, 7)
    ]
    untold = await ended(harness, completed, 10**8, webhook=False)
    retried = await ended(harness, completed, 10**9)  # an earlier end of it was not taken
    await pass_time(harness, long_ago, "8 days")
    for one in (older, silent, delivered, untold):
        await pass_time(harness, one, HOUR)
    orders = {order.event_id: order for order in harness.deliveries}

    async def fail(conn: Connection, order: DeliveryOrder) -> bool:
        return await mark_failed(conn, order, FailedReason.EXHAUSTED)

    async with harness.database.as_system() as conn:
        for one, mark in ((given_up, fail), (retried, fail), (delivered, mark_delivered)):
            event_id = await conn.fetchval(
                "SELECT event_id FROM webhooks WHERE execution_id = $1", one.execution_id
            )
            assert await mark(conn, orders[event_id])
    await harness.as_owner(
        "UPDATE executions SET generation = 2 WHERE execution_id = $1", retried.execution_id
    )
    await run_all_tasks(harness, FakeTemporal())

    assert gauges() == {
        "failed": (111, 60),
        "cancelled": (3, 0),
        "webhook_failed": (10**4, 0),
        "webhook_pending": (10**5, 60),
    }


async def test_money_spent_on_what_is_retried_is_not_lost_yet(harness: ActivityHarness) -> None:
    one = await ended(harness, ExecutionStatus.FAILED, 100)
    measured = make_reconciler(harness, FakeTemporal()).gauges
    await measured.measure_undelivered_spend()
    assert gauges()["failed"][0] == 100
    await harness.as_owner(
        "UPDATE executions SET status = 'queued', generation = 2, ended_at = NULL WHERE execution_id = $1",
        one.execution_id,
    )
    await measured.measure_undelivered_spend()
    assert gauges()["failed"] == (0, 0)
    measured.clear()
    assert set(gauges().values()) == {(None, None)}
