"""The sweep picks up what fell between two systems."""

import asyncio
import dataclasses
import os
import signal
import time

import pytest
from prometheus_client import REGISTRY

import core.maintenance.reconciler
from core.domain.ids import ExecutionId
from core.domain.messages.executions import ClaimOutcome, ExecutionOrder, ExecutionRef, FinishInput
from core.domain.messages.webhooks import DeliveryOrder
from core.domain.states import ExecutionStatus, JobState
from core.maintenance.reconciler import NOT_FOUND, Sweep, TemporalOrders, Walked
from core.platform.observability import metrics
from core.store.executions.executions import claim_execution
from core.store.webhooks.events import get_webhook, mark_delivered
from tests.support.activity_harness import ActivityHarness
from tests.support.rows import Accepted, accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G3")


class Orders:
    """What the sweep ordered of Temporal."""

    def __init__(self, how_closed: str | None = None) -> None:
        self.started: list[ExecutionId] = []
        self.cancelled: list[tuple[ExecutionId, str]] = []
        self.delivered: list[DeliveryOrder] = []
        self.how_closed = how_closed
        self.walk: Walked | None = None
        self.said_yes: list[DeliveryOrder] = []

    async def start_execution(self, order: ExecutionOrder, _prompt: str) -> None:
        self.started.append(order.execution_id)

    async def walked(self, _execution_id: ExecutionId) -> Walked | None:
        return self.walk

    async def was_delivered(self, order: DeliveryOrder) -> bool:
        return order in self.said_yes

    async def signal_cancel(self, ref: ExecutionRef, reason: str) -> bool:
        assert ref.generation > 0
        self.cancelled.append((ref.execution_id, reason))
        return True

    async def start_delivery(self, order: DeliveryOrder) -> bool:
        self.delivered.append(order)
        return order not in self.said_yes

    async def closed(self, _execution_id: ExecutionId) -> str | None:
        return self.how_closed

    async def measure_queues(self) -> None:
        """Nothing to measure here."""


def sweep(harness: ActivityHarness, orders: Orders) -> Sweep:
    return Sweep(
        database=harness.database,
        executions=harness.executions,
        late_bills=harness.late_bills,
        objects=harness.objects,
        orders=TemporalOrders(
            start_execution=orders.start_execution,
            signal_cancel=orders.signal_cancel,
            start_delivery=orders.start_delivery,
            closed=orders.closed,
            measure_queues=orders.measure_queues,
            walked=orders.walked,
            delivered=orders.was_delivered,
        ),
        unreachable=(ConnectionError,),
    )


async def age(harness: ActivityHarness) -> None:
    """Let a minute pass in the rows."""
    await harness.as_owner(
        "UPDATE executions SET queued_at = queued_at - interval '1 min', started_at = started_at - interval '1 min'"
    )


async def test_reconciler_starts_what_is_queued_for_too_long(harness: ActivityHarness) -> None:
    one = await accept(
        harness.database, new_execution(await new_user(harness.database)), claimed=False
    )
    orders = Orders()
    await sweep(harness, orders).sweep()
    assert orders.started == []
    await age(harness)
    await sweep(harness, orders).sweep()
    assert orders.started == [one.execution_id]


async def test_reconciler_ends_what_an_operator_terminated_and_settles_its_bill_later(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await harness.run(harness.jobs.submit, one.image)
    await age(harness)
    await sweep(harness, Orders(how_closed="terminated")).look_after_running()
    async with harness.database.as_user(one.user_id) as conn:
        row = await conn.fetchrow("SELECT status, error ->> 'code' AS code FROM executions")
    assert row is not None
    assert tuple(row) == ("failed", "terminated")
    assert await harness.charge(one.video) == ("released", 0)
    assert len(harness.deliveries) == 1
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    await sweep(harness, Orders()).sweep()
    assert await harness.charge(one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])
    assert (await harness.job(one.image)).state is JobState.COMPLETED


async def test_reconciler_starts_again_what_only_a_run_of_an_earlier_generation_has_closed(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    await age(harness)
    orders = Orders(
        how_closed="completed"
    )  # an operator reset the run before a retry: it found nothing to claim
    await sweep(harness, orders).look_after_running()
    assert orders.started == [one.execution_id]
    async with harness.database.as_user(one.user_id) as conn:
        assert await conn.fetchval("SELECT status FROM executions") == "running"


async def test_reconciler_looks_for_what_was_unknown_when_its_workflow_was_terminated(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    order = harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    await age(harness)
    await sweep(harness, Orders(how_closed="terminated")).sweep()
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    for _ in range(2):
        await sweep(harness, Orders()).sweep()
    assert harness.sandbox.fired(order) == 1
    assert await harness.charge(one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])


async def test_reconciler_restarts_a_delivery_that_was_left_behind(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await age(harness)
    await sweep(harness, Orders(how_closed="terminated")).look_after_running()
    await harness.as_owner("UPDATE webhooks SET created_at = created_at - interval '1 min'")
    orders = Orders()
    await sweep(harness, orders).sweep()
    assert [order.user_id for order in orders.delivered] == [one.user_id]


async def test_reconciler_orders_an_end_to_what_is_past_its_deadline(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await age(harness)
    await harness.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")
    orders = Orders()
    await sweep(harness, orders).sweep()
    assert orders.cancelled == [(one.execution_id, "deadline_exceeded")]


@pytest.mark.parametrize(
    "error", [ConnectionError("down"), TimeoutError(), LookupError("a row nobody can read")]
)
async def test_reconciler_goes_on_when_a_part_fails(
    harness: ActivityHarness, error: Exception
) -> None:
    one = await harness.accepted()
    await age(harness)
    await harness.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")
    orders = Orders()

    async def broken(_order: ExecutionOrder, _prompt: str) -> None:
        raise error

    await accept(harness.database, new_execution(one.user_id), claimed=False)
    await age(harness)

    whole = sweep(harness, orders)
    orders_that_break = dataclasses.replace(whole.orders, start_execution=broken)
    whole = dataclasses.replace(whole, orders=orders_that_break)
    await whole.sweep()
    assert [execution_id for execution_id, _ in orders.cancelled] == [one.execution_id]


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


async def test_reconciler_starts_what_is_behind_a_row_that_cannot_be_started(
    harness: ActivityHarness,
) -> None:
    unreadable, refused, good = await queued(harness, 3)
    await harness.as_owner(
        "UPDATE executions SET plan = '{}' WHERE execution_id = $1", unreadable.execution_id
    )
    await age(harness)
    orders = Orders()

    async def start(order: ExecutionOrder, prompt: str) -> None:
        if order.execution_id == refused.execution_id:
            raise ConnectionError("too large a message")
        await orders.start_execution(order, prompt)

    whole = sweep(harness, orders)
    await dataclasses.replace(
        whole, orders=dataclasses.replace(whole.orders, start_execution=start)
    ).sweep()
    assert orders.started == [good.execution_id]


async def test_reconciler_does_not_knock_for_every_row_while_temporal_is_down(
    harness: ActivityHarness,
) -> None:
    await queued(harness, 5)
    await age(harness)
    knocks: list[ExecutionId] = []

    async def down(order: ExecutionOrder, _prompt: str) -> None:
        knocks.append(order.execution_id)
        raise ConnectionError("down")

    whole = sweep(harness, Orders())
    await dataclasses.replace(
        whole, orders=dataclasses.replace(whole.orders, start_execution=down)
    ).sweep()
    assert len(knocks) == core.maintenance.reconciler.GIVE_UP_AFTER


async def test_reconciler_ends_what_was_still_queued_at_its_deadline(
    harness: ActivityHarness,
) -> None:
    [one] = await queued(harness, 1)
    await age(harness)
    await harness.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")
    orders = Orders()
    await sweep(harness, orders).sweep()
    assert orders.started == []
    assert await status(harness, one) == ("failed", "deadline_exceeded")
    assert await harness.charge(one.image) == await harness.charge(one.video) == ("released", 0)


async def left_behind(harness: ActivityHarness, orders: Orders) -> tuple[Accepted, DeliveryOrder]:
    """A pending webhook whose delivery was started and has closed."""
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await age(harness)
    await sweep(harness, Orders(how_closed="terminated")).look_after_running()
    await harness.as_owner("UPDATE webhooks SET created_at = created_at - interval '1 min'")
    await sweep(harness, orders).start_deliveries()
    [order] = orders.delivered
    orders.delivered.clear()
    return one, order


@pytest.mark.parametrize("delivered", [True, False])
async def test_reconciler_delivers_anew_only_what_is_still_pending(
    harness: ActivityHarness, *, delivered: bool
) -> None:
    orders = Orders()
    one, first = await left_behind(harness, orders)

    async def closed_meanwhile(order: DeliveryOrder) -> bool:
        if order.delivery == first.delivery and delivered:
            async with harness.database.as_user(one.user_id) as conn:
                assert await mark_delivered(conn, order)
        return await orders.start_delivery(order) and order.delivery != first.delivery

    whole = sweep(harness, orders)
    await dataclasses.replace(
        whole, orders=dataclasses.replace(whole.orders, start_delivery=closed_meanwhile)
    ).start_deliveries()
    async with harness.database.as_user(one.user_id) as conn:
        webhook = await get_webhook(conn, first.event_id)
    assert webhook.state == ("delivered" if delivered else "pending")
    assert [order.delivery for order in orders.delivered] == ([1] if delivered else [1, 2])


async def test_reconciler_repeats_a_cancel_once_a_minute(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    await age(harness)
    await harness.as_owner(
        "UPDATE executions SET cancel_requested_at = now(), cancel_reason = 'cancelled'"
    )
    orders = Orders()
    sweeping = sweep(harness, orders)
    for _ in range(3):
        await sweeping.look_after_running()
    assert orders.cancelled == [(one.execution_id, "cancelled")]
    monkeypatch.setattr(core.maintenance.reconciler, "SIGNAL_AGAIN_SECONDS", 0.0)
    await sweeping.look_after_running()
    assert len(orders.cancelled) == 2


async def test_reconciler_remembers_a_bounded_number_of_cancels(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.maintenance.reconciler, "SIGNALS_KEPT", 1)
    for _ in range(2):
        await harness.accepted()
    await age(harness)
    await harness.as_owner(
        "UPDATE executions SET cancel_requested_at = now(), cancel_reason = 'cancelled'"
    )
    orders = Orders()
    sweeping = sweep(harness, orders)
    for _ in range(2):
        await sweeping.look_after_running()
    assert len(orders.cancelled) == 4


async def test_reconciler_gives_its_lock_up_when_the_connection_falls_silent(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.maintenance.reconciler, "EVERY_SECONDS", 0.01)
    monkeypatch.setattr(core.maintenance.reconciler, "LOCK_TIMEOUT_SECONDS", 0.3)
    async with harness.database.listening_connection() as lock:
        backend = lock.get_server_pid()
        os.kill(backend, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(8):
                    await sweep(harness, Orders()).sweep_for_ever(lock)
            assert time.monotonic() - began < 7, "it was the test's own limit"
        finally:
            os.kill(backend, signal.SIGCONT)


async def test_reconciler_starts_again_what_temporal_does_not_know(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    await age(harness)
    orders = Orders(how_closed=NOT_FOUND)
    await sweep(harness, orders).sweep()
    assert orders.started == [one.execution_id]
    assert (await status(harness, one))[0] == "running"
    async with harness.database.as_user(one.user_id) as conn:
        claim = await claim_execution(conn, one.ref)
    assert claim.outcome is ClaimOutcome.CLAIMED
    await harness.run(harness.jobs.submit, one.image)
    assert len(harness.bill()) == 1


@pytest.mark.parametrize("race", [True, False])
async def test_reconciler_reports_a_lost_workflow_only_if_it_ended_the_row(
    harness: ActivityHarness, capsys: pytest.CaptureFixture[str], *, race: bool
) -> None:
    one = await harness.accepted()
    await age(harness)

    async def closed(_execution_id: ExecutionId) -> str:
        if race:
            await harness.executions.finish(
                FinishInput(execution=one.ref, status=ExecutionStatus.COMPLETED)
            )
        return "failed"

    whole = sweep(harness, Orders())
    await dataclasses.replace(
        whole, orders=dataclasses.replace(whole.orders, closed=closed)
    ).look_after_running()
    assert await status(harness, one) == (
        ("completed", None) if race else ("failed", "internal_error")
    )
    assert ("lost its workflow" in capsys.readouterr().out) is not race


async def test_reconciler_does_not_start_what_ended_since_its_first_look(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await age(harness)

    async def closed(_execution_id: ExecutionId) -> str:
        await harness.executions.finish(
            FinishInput(execution=one.ref, status=ExecutionStatus.COMPLETED)
        )
        return "completed"

    orders = Orders()
    whole = sweep(harness, orders)
    await dataclasses.replace(
        whole, orders=dataclasses.replace(whole.orders, closed=closed)
    ).look_after_running()
    assert orders.started == []


async def test_reconciler_counts_what_is_not_known_yet(harness: ActivityHarness) -> None:
    harness.sandbox.set(history_hidden=True)
    harness.sandbox.fault("drop_after_accept")
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)

    def gauges(provider: str) -> tuple[float | None, ...]:
        names = ("takeone_jobs_unknown", "takeone_open_bills")
        return tuple(REGISTRY.get_sample_value(name, {"provider": provider}) for name in names)

    sweeping = sweep(harness, Orders(how_closed="terminated"))
    await sweeping.count_open()
    assert gauges("replicate") == (1, 0)
    assert gauges("fal") == (0, 0)
    await age(harness)
    await sweeping.look_after_running()
    await sweeping.late_bills.settle()
    await sweeping.count_open()
    assert gauges("replicate") == (0, 1)
    metrics.OPEN_BILLS.clear()
