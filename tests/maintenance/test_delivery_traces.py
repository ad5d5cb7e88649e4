"""A delivery that the reconciler starts belongs to the trace of its order."""

from collections.abc import Iterator

import pytest

from core.domain.messages.webhooks import DeliveryOrder
from core.platform.observability import tracing
from tests.maintenance.reconciling import make_older, run_task
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.unit.platform.test_tracing import Kept


@pytest.fixture
def traced() -> Iterator[None]:
    tracing.start(Kept(), 1.0)
    yield
    tracing.stop()


@pytest.mark.usefixtures("traced")
async def test_started_delivery_has_the_context_of_its_order(harness: ActivityHarness) -> None:
    with tracing.span("POST"):
        ordered = tracing.traceparent()
        await harness.accepted(webhook_url="http://receiver.test/")
    await make_older(harness)
    await run_task(harness, FakeTemporal(close_status="terminated"), "check_running")
    await harness.as_owner("UPDATE webhooks SET attempt_due_at = attempt_due_at - interval '1 min'")
    headers: list[str | None] = []

    async def note_header(_order: DeliveryOrder) -> None:
        headers.append(tracing.traceparent())

    await run_task(harness, FakeTemporal(on_deliver=note_header), "start_deliveries")
    assert ordered is not None
    assert headers == [ordered]
