"""Account events: started by the reconciler and signed with the account's own secret."""

import json
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook
from temporalio.exceptions import ApplicationError

from activities.executions import ExecutionActivities
from activities.webhooks import WebhookActivities
from core.domain.failures import Failure, FailureCode
from core.domain.messages.executions import FinishInput
from core.domain.messages.webhooks import AttemptOutcome, DeliveryOrder, WebhookState
from core.domain.money import NanoUsd
from core.domain.states import ExecutionStatus
from core.store.accounts.users import UserLimits, insert_user
from core.store.executions.views.status import find_execution
from core.store.webhooks.endpoints import set_webhook_url
from core.store.webhooks.events import get_webhook
from tests.maintenance.reconciling import run_task
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.outbound import LOCAL_HTTP
from tests.support.receiver import Receiver, reply
from tests.support.rows import IMAGE_PRICE, SEALER, VIDEO_PRICE, Accepted, accept, new_execution

pytestmark = pytest.mark.guarantee("G4")

LIMITS = UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(2 * (IMAGE_PRICE + VIDEO_PRICE)))


async def half_used(harness: ActivityHarness, url: str) -> tuple[Accepted, str]:
    """An account that has just reached half of its month, and its secret."""
    async with harness.database.as_system() as conn:
        user = await insert_user(conn, SEALER, "somebody", LIMITS)
        await set_webhook_url(conn, user.user_id, url)
    one = await accept(
        harness.database, new_execution(user.user_id, webhook_url="http://receiver.test/own")
    )
    return one, user.webhook_secret


async def started_by_the_reconciler(harness: ActivityHarness) -> DeliveryOrder:
    await harness.as_owner("UPDATE webhooks SET attempt_due_at = attempt_due_at - interval '1 min'")
    temporal = FakeTemporal()
    await run_task(harness, temporal, "start_deliveries")
    (order,) = temporal.deliveries
    return order


async def test_threshold_is_delivered_signed_by_the_accounts_secret(
    harness: ActivityHarness,
) -> None:
    async with Receiver.open(reply(500), reply(200)) as receiver:
        one, secret = await half_used(harness, receiver.url)
        order = await started_by_the_reconciler(harness)
        activities = WebhookActivities(database=harness.database, sealer=SEALER, http=LOCAL_HTTP)
        with pytest.raises(ApplicationError, match="attempt 1 was not accepted"):
            await harness.run(activities.attempt, order)
        result = await harness.run(activities.attempt, order)

    assert (result.outcome, result.number) == (AttemptOutcome.DELIVERED, 2)
    first, second = receiver.received
    assert first.body == second.body
    body: dict[str, Any] = Webhook(secret).verify(second.body, second.headers)
    assert (body["type"], body["kind"], body["percent"]) == ("budget.threshold_reached", "usd", 50)
    assert second.headers["webhook-id"] == body["id"] == order.event_id
    async with harness.database.as_user(one.user_id) as conn:
        record = await get_webhook(conn, order.event_id)
    assert (record.execution_id, record.state) == (None, WebhookState.DELIVERED)


async def test_undelivered_threshold_event_fails_visibly(
    harness: ActivityHarness,
) -> None:
    async with Receiver.open(reply(410)) as receiver:
        one, _secret = await half_used(harness, receiver.url)
        order = await started_by_the_reconciler(harness)
        activities = WebhookActivities(database=harness.database, sealer=SEALER, http=LOCAL_HTTP)
        assert (await harness.run(activities.attempt, order)).outcome is AttemptOutcome.GONE
        assert (await harness.run(activities.finish, order)).outcome is AttemptOutcome.EXHAUSTED
    async with harness.database.as_user(one.user_id) as conn:
        assert (await get_webhook(conn, order.event_id)).state is WebhookState.FAILED
        shown = await find_execution(conn, one.user_id, one.execution_id)
    assert shown is not None
    assert shown.webhook is None  # its own event is to come


async def test_execution_event_is_sent_alongside_account_event(
    harness: ActivityHarness,
) -> None:
    executions: ExecutionActivities = harness.executions
    one, _secret = await half_used(harness, "http://receiver.test/account")
    failure = Failure.of(FailureCode.TERMINATED)
    outcome = await harness.run(
        executions.finish,
        FinishInput(execution=one.ref, status=ExecutionStatus.FAILED, failure=failure),
    )

    assert [order.event_id for order in harness.deliveries] == [outcome.event_id]
    async with harness.database.as_user(one.user_id) as conn:
        rows = await conn.fetch("SELECT type, url, body FROM webhooks ORDER BY created_at")
    assert [(row["type"], row["url"]) for row in rows] == [
        ("budget.threshold_reached", "http://receiver.test/account"),
        ("execution.failed", "http://receiver.test/own"),
    ]
    assert json.loads(rows[1]["body"])["executionId"] == one.execution_id
