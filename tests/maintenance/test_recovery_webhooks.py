"""A recovery of executions whose webhook was accepted before the database was restored."""

import pytest
from temporalio.converter import DataConverter

from core.domain.ids import derived_event_id, new_event_id
from core.domain.messages.executions import FinishInput
from core.domain.messages.webhooks import AttemptOutcome, WebhookState
from core.domain.states import ExecutionStatus
from core.maintenance.restores.delivered_webhooks import DeliveredWebhooks
from core.store.recovery.rebuild import requeue_execution
from core.store.webhooks.events import get_webhook
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import first_attempt_events

pytestmark = pytest.mark.guarantee("G5")


async def test_recovered_execution_does_not_deliver_its_webhook_again(
    harness: ActivityHarness,
) -> None:
    """The history shows that the receiver accepted it; the restored database does not."""
    one, other = [await harness.accepted(webhook_url="http://receiver.test/") for _ in range(2)]
    event_id = derived_event_id(one.execution_id, 1)
    webhooks = DeliveredWebhooks(converter=DataConverter.default)
    for event in (
        *await first_attempt_events(5, event_id),
        *await first_attempt_events(9, new_event_id(), AttemptOutcome.RETRY),
    ):
        await webhooks.read(event)
    assert webhooks.event_ids == {event_id}
    for accepted, delivered in ((one, True), (other, False)):
        async with harness.database.as_system() as conn:
            assert await requeue_execution(
                conn, accepted.execution_id, 1, cancel_reason=None, delivered=delivered
            )
        outcome = await harness.run(
            harness.executions.finish,
            FinishInput(
                execution=accepted.ref, status=ExecutionStatus.CANCELLED, attempts_webhook=True
            ),
        )
        assert outcome.attempt_webhook is not delivered
    async with harness.database.as_user(one.user_id) as conn:
        assert (await get_webhook(conn, event_id)).state is WebhookState.DELIVERED
    assert harness.deliveries == []
