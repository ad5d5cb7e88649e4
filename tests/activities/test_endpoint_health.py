"""Endpoint health: a 410 or days of failures disable an endpoint and notify its user."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from standardwebhooks.webhooks import Webhook
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities.webhooks import NO_SLOT, NOT_DELIVERED, WebhookActivities
from core.domain.ids import EndpointId
from core.domain.messages.webhooks import (
    AttemptOutcome,
    AttemptResult,
    DeliveryOrder,
    DisabledReason,
    FailedReason,
    WebhookState,
)
from core.platform.crypto.sealing import Sealer
from core.store.database import Database
from core.store.webhooks.endpoints import (
    Endpoint,
    delete_endpoint,
    find_endpoint,
    set_disabled_by_user,
    set_webhook_url,
)
from core.store.webhooks.events import get_webhook, list_attempts, next_delivery
from core.store.webhooks.pending_deliveries import list_pending
from core.store.webhooks.signing_secrets import rotate_default_secret
from core.webhooks.concurrency import AttemptSlots
from tests.support.outbound import LOCAL_HTTP
from tests.support.receiver import Receiver, hang, reply
from tests.support.servers import PostgresServer, new_database
from tests.support.webhook_rows import (
    DEFAULT_SECRET,
    SEALER,
    Stored,
    another_webhook,
    store_webhook,
)

pytestmark = pytest.mark.guarantee("G5")

Try = asyncio.Task[AttemptResult | ApplicationError]


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """One for all tests here: each has users of its own."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=8) as opened,
    ):
        yield opened


async def attempt(
    database: Database,
    order: DeliveryOrder,
    *,
    secrets: Sealer = SEALER,
    activities: WebhookActivities | None = None,
) -> AttemptResult | ApplicationError:
    """What the activity returned, or the failure by which it asks Temporal for another try."""
    worker = activities or WebhookActivities(database=database, sealer=secrets, http=LOCAL_HTTP)
    try:
        return await ActivityEnvironment().run(worker.attempt, order)
    except ApplicationError as error:
        return error


async def endpoint_of(database: Database, stored: Stored) -> Endpoint:
    async with database.as_user(stored.user_id) as conn:
        found = await find_endpoint(
            conn, stored.user_id, (await get_webhook(conn, stored.event_id)).endpoint_id
        )
    assert found is not None
    return found


async def how(database: Database, stored: Stored) -> tuple[WebhookState, FailedReason | None, int]:
    """Return the state, the reason of a failure, and the number of attempts."""
    async with database.as_user(stored.user_id) as conn:
        row = await conn.fetchrow(
            "SELECT state, failed_reason FROM webhooks WHERE event_id = $1", stored.event_id
        )
        tries = await list_attempts(conn, stored.event_id)
    assert row is not None
    reason: str | None = row["failed_reason"]
    return (
        WebhookState(row["state"]),
        FailedReason(reason) if reason is not None else None,
        len(tries),
    )


async def age(
    database: Database, endpoint_id: EndpointId, *, failing: timedelta, last: timedelta
) -> None:
    """As if it had been failing for so long, and had failed last so long ago."""
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE endpoints SET failing_since = now() - $2::interval, last_failure_at = now() - $3::interval"
            " WHERE endpoint_id = $1",
            endpoint_id,
            failing,
            last,
        )


async def notices(database: Database, stored: Stored) -> list[dict[str, Any]]:
    async with database.as_user(stored.user_id) as conn:
        rows = await conn.fetch(
            "SELECT url, body FROM webhooks WHERE type = 'endpoint.disabled' ORDER BY created_at"
        )
    return [{**json.loads(row["body"]), "to": row["url"]} for row in rows]


def disabled_total(code: str) -> float:
    return REGISTRY.get_sample_value("takeone_endpoints_disabled_total", {"code": code}) or 0.0


async def split(
    tries: list[Try], receiver: Receiver, *, received: int
) -> tuple[list[Try], list[Try]]:
    """Those that ended, and those that hang, once everybody is either."""
    async with asyncio.timeout(10):
        while True:  # sockets change it
            done = sum(task.done() for task in tries)
            if done + received >= len(tries) and len(receiver.received) >= received:
                break
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)  # no further request arrives
    assert len(receiver.received) == received
    return [task for task in tries if task.done()], [task for task in tries if not task.done()]


async def make_default(database: Database, stored: Stored, url: str) -> None:
    async with database.as_system() as conn:
        assert await set_webhook_url(conn, stored.user_id, url)


async def test_410_disables_the_endpoint_and_notifies_the_default(
    database: Database,
) -> None:
    before = disabled_total("gone")
    async with Receiver.open(reply(410)) as receiver:
        stored = await store_webhook(database, receiver.url)
        await make_default(database, stored, "https://account.example/")
        later = await another_webhook(database, stored.user_id, receiver.url)
        assert isinstance(await attempt(database, stored.order), AttemptResult)
        result = await attempt(database, later.order)
        assert len(receiver.received) == 1
    assert result == AttemptResult(outcome=AttemptOutcome.EXHAUSTED, number=0)
    assert await how(database, stored) == (WebhookState.FAILED, FailedReason.GONE, 1)
    assert await how(database, later) == (WebhookState.FAILED, FailedReason.ENDPOINT_DISABLED, 0)
    found = await endpoint_of(database, stored)
    assert found.disabled_reason is DisabledReason.GONE
    (notice,) = await notices(database, stored)
    assert (notice["type"], notice["to"]) == ("endpoint.disabled", "https://account.example/")
    assert (notice["endpointId"], notice["url"], notice["reason"]) == (
        found.endpoint_id,
        receiver.url,
        "gone",
    )
    assert disabled_total("gone") == before + 1


async def test_five_days_of_failures_disable_the_endpoint(
    database: Database,
) -> None:
    before = disabled_total("failing")
    async with Receiver.open(reply(500)) as receiver:
        stored = await store_webhook(database, receiver.url)
        await make_default(database, stored, "https://account.example/")
        assert isinstance(await attempt(database, stored.order), ApplicationError)
        endpoint_id = (await endpoint_of(database, stored)).endpoint_id
        await age(
            database, endpoint_id, failing=timedelta(days=4, hours=23), last=timedelta(hours=20)
        )
        assert isinstance(await attempt(database, stored.order), ApplicationError)
        assert (await endpoint_of(database, stored)).disabled_at is None
        await age(
            database, endpoint_id, failing=timedelta(days=5, minutes=1), last=timedelta(hours=20)
        )
        result = await attempt(database, stored.order)
        assert len(receiver.received) == 3
    assert isinstance(result, AttemptResult)
    assert (result.outcome, result.number) == (AttemptOutcome.EXHAUSTED, 3)
    assert await how(database, stored) == (WebhookState.FAILED, FailedReason.ENDPOINT_DISABLED, 3)
    assert (await endpoint_of(database, stored)).disabled_reason is DisabledReason.FAILING
    (notice,) = await notices(database, stored)
    assert notice["reason"] == "failing"
    since = datetime.fromisoformat(notice["failingSince"])
    assert timedelta(days=5) < datetime.now(UTC) - since < timedelta(days=5, minutes=2)
    assert disabled_total("failing") == before + 1


async def test_success_or_long_gap_keeps_a_failing_endpoint_enabled(
    database: Database,
) -> None:
    async with Receiver.open(reply(500), reply(200), reply(500)) as receiver:
        stored = await store_webhook(database, receiver.url)
        await attempt(database, stored.order)
        endpoint_id = (await endpoint_of(database, stored)).endpoint_id
        await age(database, endpoint_id, failing=timedelta(days=6), last=timedelta(hours=20))
        assert isinstance(await attempt(database, stored.order), AttemptResult)
        well = await endpoint_of(database, stored)
        assert well.failing_since is None
        assert well.last_success_at is not None
        again = await another_webhook(database, stored.user_id, receiver.url)
        await attempt(database, again.order)
        await age(database, endpoint_id, failing=timedelta(days=20), last=timedelta(hours=49))
        await attempt(database, again.order)
    failing = await endpoint_of(database, stored)
    assert failing.disabled_at is None
    assert failing.failing_since is not None
    assert datetime.now(UTC) - failing.failing_since < timedelta(minutes=1)


async def test_disabled_default_endpoint_causes_no_event(database: Database) -> None:
    async with Receiver.open(reply(410)) as receiver:
        stored = await store_webhook(database, receiver.url)
        await make_default(database, stored, receiver.url)
        await attempt(database, stored.order)
    assert (await endpoint_of(database, stored)).disabled_reason is DisabledReason.GONE
    assert await notices(database, stored) == []


async def test_unusable_secret_does_not_count_against_the_endpoint(database: Database) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        endpoint_id = (await endpoint_of(database, stored)).endpoint_id
        await age(database, endpoint_id, failing=timedelta(days=9), last=timedelta(hours=1))
        failure = await attempt(database, stored.order, secrets=Sealer([b"k" * 32]))
        assert receiver.received == []
    assert isinstance(failure, ApplicationError)
    assert (await endpoint_of(database, stored)).disabled_at is None


async def test_disabled_endpoint_receives_nothing_until_enabled(
    database: Database,
) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        endpoint_id = (await endpoint_of(database, stored)).endpoint_id
        async with database.as_user(stored.user_id) as conn:
            await set_disabled_by_user(conn, endpoint_id, disabled=True)
        assert isinstance(await attempt(database, stored.order), AttemptResult)
        assert receiver.received == []
        assert await how(database, stored) == (
            WebhookState.FAILED,
            FailedReason.ENDPOINT_DISABLED,
            0,
        )
        async with database.as_user(stored.user_id) as conn:
            await set_disabled_by_user(conn, endpoint_id, disabled=False)
            again = await next_delivery(conn, stored.event_id)
        result = await attempt(database, again)
        assert len(receiver.received) == 1
    assert result == AttemptResult(outcome=AttemptOutcome.DELIVERED, number=1, status_code=200)
    assert await how(database, stored) == (WebhookState.DELIVERED, None, 1)


async def test_deleted_endpoint_gets_nothing(database: Database) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        endpoint_id = (await endpoint_of(database, stored)).endpoint_id
        async with database.as_user(stored.user_id) as conn:
            assert await delete_endpoint(conn, endpoint_id)
        assert isinstance(await attempt(database, stored.order), AttemptResult)
        assert receiver.received == []
    assert await how(database, stored) == (WebhookState.FAILED, FailedReason.ENDPOINT_DELETED, 0)


async def test_attempt_while_a_secret_is_replaced_is_signed_with_both(database: Database) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        async with database.as_user(stored.user_id) as conn:
            new = await rotate_default_secret(
                conn, SEALER, stored.user_id, overlap=timedelta(hours=1)
            )
        await attempt(database, stored.order)
    (request,) = receiver.received
    assert new.secret != DEFAULT_SECRET
    for secret in (new.secret, DEFAULT_SECRET):
        Webhook(secret).verify(request.body, request.headers)
    assert len(request.headers["webhook-signature"].split(" ")) == 2


async def test_broken_previous_secret_does_not_prevent_signing(
    database: Database,
) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        async with database.as_user(stored.user_id) as conn:
            new = await rotate_default_secret(
                conn, SEALER, stored.user_id, overlap=timedelta(hours=1)
            )
        async with database.as_system() as conn:
            await conn.execute(
                "UPDATE secrets SET sealed = 'broken' WHERE owner_id = $1 AND valid_until IS NOT NULL",
                stored.user_id,
            )
        assert isinstance(await attempt(database, stored.order), AttemptResult)
    (request,) = receiver.received
    Webhook(new.secret).verify(request.body, request.headers)
    assert " " not in request.headers["webhook-signature"]


async def test_hanging_endpoint_occupies_only_its_slots(
    database: Database,
) -> None:
    """A deferred webhook was not attempted: its schedule is unchanged, and the reconciler does not
    start it.
    """
    slots = AttemptSlots(per_user=50, per_endpoint=3)
    activities = WebhookActivities(database=database, sealer=SEALER, http=LOCAL_HTTP, slots=slots)
    before = REGISTRY.get_sample_value("takeone_webhooks_put_back_total") or 0.0
    async with Receiver.open(hang) as dead, Receiver.open() as well:
        first = await store_webhook(database, dead.url)
        waiting = [
            first,
            *[await another_webhook(database, first.user_id, dead.url) for _ in range(7)],
        ]
        healthy = await another_webhook(database, first.user_id, well.url)
        tries = [
            asyncio.create_task(attempt(database, one.order, activities=activities))
            for one in waiting
        ]
        done, hanging = await split(tries, dead, received=3)
        assert (len(done), len(hanging)) == (5, 3)
        result = await attempt(database, healthy.order, activities=activities)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert isinstance(result, AttemptResult)
        failures = [task.result() for task in done]
        slot_again = await attempt(database, healthy.order, activities=activities)
    assert isinstance(slot_again, AttemptResult)
    for failure in failures:
        assert isinstance(failure, ApplicationError)
        assert (failure.type, failure.category) == (NO_SLOT, ApplicationErrorCategory.BENIGN)
        assert failure.next_retry_delay is not None
        assert timedelta(seconds=0.4) < failure.next_retry_delay < timedelta(seconds=10)
    put_back = [one for one, task in zip(waiting, tries, strict=True) if task in done]
    for stored in put_back:
        assert await how(database, stored) == (WebhookState.PENDING, None, 0)
    assert REGISTRY.get_sample_value("takeone_webhooks_put_back_total") == before + 5
    async with database.as_system() as conn:
        left = {
            pending.order.event_id
            for pending in await list_pending(conn, overdue_seconds=0, limit=1000)
        }
        assert left.isdisjoint({stored.event_id for stored in put_back})
        await conn.execute(
            "UPDATE webhooks SET attempt_due_at = attempt_due_at - interval '1 hour'"
        )
        left = {
            pending.order.event_id
            for pending in await list_pending(conn, overdue_seconds=10, limit=1000)
        }
        assert left >= {stored.event_id for stored in put_back}


async def test_failing_endpoint_has_two_slots_until_a_success(
    database: Database,
) -> None:
    activities = WebhookActivities(database=database, sealer=SEALER, http=LOCAL_HTTP)
    async with Receiver.open(reply(500), hang) as receiver:
        first = await store_webhook(database, receiver.url)
        failed = await attempt(database, first.order, activities=activities)
        assert isinstance(failed, ApplicationError)
        assert failed.type == NOT_DELIVERED
        more = [await another_webhook(database, first.user_id, receiver.url) for _ in range(6)]
        tries = [
            asyncio.create_task(attempt(database, one.order, activities=activities)) for one in more
        ]
        done, hanging = await split(tries, receiver, received=3)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert (len(done), len(hanging)) == (4, 2)
        receiver.answers = [reply(200)]
        assert isinstance(
            await attempt(database, first.order, activities=activities), AttemptResult
        )
    assert (await endpoint_of(database, first)).failing_since is None
