"""The sweep picks up what fell between two systems."""

import asyncio
import dataclasses

import pytest

from activities.sweep import Sweep, TemporalOrders
from contracts.executions import ExecutionOrder
from contracts.ids import ExecutionId
from contracts.states import JobState
from contracts.webhooks import DeliveryOrder
from tests.activities.bench import Bench
from tests.rows import accept, new_execution, new_user


class Orders:
    """What the sweep ordered of Temporal."""

    def __init__(self, how_closed: str | None = None) -> None:
        self.started: list[ExecutionId] = []
        self.cancelled: list[tuple[ExecutionId, str]] = []
        self.delivered: list[DeliveryOrder] = []
        self.how_closed = how_closed

    async def start_execution(self, order: ExecutionOrder, _prompt: str) -> None:
        self.started.append(order.execution_id)

    async def signal_cancel(self, execution_id: ExecutionId, reason: str) -> bool:
        self.cancelled.append((execution_id, reason))
        return True

    async def start_delivery(self, order: DeliveryOrder) -> bool:
        self.delivered.append(order)
        return True

    async def closed(self, _execution_id: ExecutionId) -> str | None:
        return self.how_closed

    async def measure_queues(self) -> None:
        """Nothing to measure here."""


def sweep(bench: Bench, orders: Orders) -> Sweep:
    return Sweep(
        database=bench.database,
        executions=bench.executions,
        late_bills=bench.late_bills,
        orders=TemporalOrders(
            start_execution=orders.start_execution,
            signal_cancel=orders.signal_cancel,
            start_delivery=orders.start_delivery,
            closed=orders.closed,
            measure_queues=orders.measure_queues,
        ),
        unreachable=(ConnectionError,),
    )


async def age(bench: Bench) -> None:
    """Let a minute pass in the rows."""
    await bench.as_owner(
        "UPDATE executions SET queued_at = queued_at - interval '1 min', started_at = started_at - interval '1 min'"
    )


async def test_sweep_starts_what_is_queued_for_too_long(bench: Bench) -> None:
    one = await accept(bench.database, new_execution(await new_user(bench.database)), claimed=False)
    orders = Orders()
    await sweep(bench, orders).sweep()
    assert orders.started == []
    await age(bench)
    await sweep(bench, orders).sweep()
    assert orders.started == [one.execution_id]


async def test_sweep_ends_what_an_operator_terminated_and_settles_its_bill_later(bench: Bench) -> None:
    one = await bench.accepted(webhook_url="http://receiver.test/")
    await bench.run(bench.jobs.submit, one.image)
    await age(bench)
    await sweep(bench, Orders(how_closed="terminated")).look_after_running()
    async with bench.database.as_user(one.user_id) as conn:
        row = await conn.fetchrow("SELECT status, error ->> 'code' AS code FROM executions")
    assert row is not None
    assert tuple(row) == ("failed", "terminated")
    assert await bench.charge(one.video) == ("released", 0)
    assert len(bench.deliveries) == 1
    await asyncio.to_thread(bench.sandbox.wait_until, lambda: bench.bill()[0]["state"] != "open")
    await sweep(bench, Orders()).sweep()
    assert await bench.charge(one.image) == ("settled", bench.bill()[0]["billed_nano_usd"])
    assert (await bench.job(one.image)).state is JobState.COMPLETED


async def test_sweep_looks_for_what_was_unknown_when_its_workflow_was_terminated(bench: Bench) -> None:
    one = await bench.accepted()
    order = bench.sandbox.fault("drop_after_accept")
    await bench.run(bench.jobs.submit, one.image)
    await age(bench)
    await sweep(bench, Orders(how_closed="terminated")).sweep()
    await asyncio.to_thread(bench.sandbox.wait_until, lambda: bench.bill()[0]["state"] != "open")
    for _ in range(2):
        await sweep(bench, Orders()).sweep()
    assert bench.sandbox.fired(order) == 1
    assert await bench.charge(one.image) == ("settled", bench.bill()[0]["billed_nano_usd"])


async def test_sweep_restarts_a_delivery_that_was_left_behind(bench: Bench) -> None:
    one = await bench.accepted(webhook_url="http://receiver.test/")
    await age(bench)
    await sweep(bench, Orders(how_closed="terminated")).look_after_running()
    await bench.as_owner("UPDATE webhooks SET created_at = created_at - interval '1 min'")
    orders = Orders()
    await sweep(bench, orders).sweep()
    assert [order.user_id for order in orders.delivered] == [one.user_id]


async def test_sweep_orders_an_end_to_what_is_past_its_deadline(bench: Bench) -> None:
    one = await bench.accepted()
    await age(bench)
    await bench.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")
    orders = Orders()
    await sweep(bench, orders).sweep()
    assert orders.cancelled == [(one.execution_id, "deadline_exceeded")]


@pytest.mark.parametrize("error", [ConnectionError("down"), TimeoutError(), LookupError("a row nobody can read")])
async def test_sweep_goes_on_when_a_part_fails(bench: Bench, error: Exception) -> None:
    one = await bench.accepted()
    await age(bench)
    await bench.as_owner("UPDATE executions SET deadline_at = now() - interval '1 s'")
    orders = Orders()

    async def broken(_order: ExecutionOrder, _prompt: str) -> None:
        raise error

    await accept(bench.database, new_execution(one.user_id), claimed=False)
    await age(bench)

    whole = sweep(bench, orders)
    orders_that_break = dataclasses.replace(whole.orders, start_execution=broken)
    whole = dataclasses.replace(whole, orders=orders_that_break)
    await whole.sweep()
    assert [execution_id for execution_id, _ in orders.cancelled] == [one.execution_id]
