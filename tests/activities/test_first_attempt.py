"""The first attempt of a webhook, which the execution's workflow makes."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.webhooks import WebhookActivities
from core.domain.messages.webhooks import (
    AttemptOutcome,
    AttemptResult,
    DisabledReason,
    FailedReason,
    WebhookState,
)
from core.maintenance.repairs.workflow_repairs import DELIVERY_OVERDUE_SECONDS
from core.platform.temporal.policies import (
    ATTEMPT_START_TO_CLOSE,
    FIRST_ATTEMPT_SCHEDULE_TO_START,
    FIRST_ATTEMPT_SECONDS,
)
from core.store.database import Database
from core.store.webhooks.endpoint_health import disable
from core.store.webhooks.events import get_webhook, list_attempts, next_delivery
from core.webhooks.concurrency import AttemptSlots
from tests.support.outbound import LOCAL_HTTP
from tests.support.receiver import Receiver, hang, reply
from tests.support.servers import PostgresServer, new_database
from tests.support.webhook_rows import SEALER, Stored, store_webhook

pytestmark = pytest.mark.guarantee("G5")

RETRY = AttemptOutcome.RETRY
NOTHING_ATTEMPTED = AttemptResult(outcome=RETRY, number=0)
DUE_SECONDS = """
SELECT extract(epoch FROM attempt_due_at - now())::float8 FROM webhooks WHERE event_id = $1
"""


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """One for all tests here: each has users of its own."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=4) as opened,
    ):
        yield opened


def activities(database: Database, slots: AttemptSlots | None = None) -> WebhookActivities:
    return WebhookActivities(
        database=database, sealer=SEALER, http=LOCAL_HTTP, slots=slots or AttemptSlots()
    )


async def first_webhook(database: Database, url: str) -> Stored:
    return await store_webhook(database, url, first_attempt_seconds=FIRST_ATTEMPT_SECONDS)


async def attempt_first(database: Database, stored: Stored) -> AttemptResult:
    return await ActivityEnvironment().run(activities(database).attempt_first, stored.order)


async def due_seconds(database: Database, stored: Stored) -> float:
    async with database.as_user(stored.user_id) as conn:
        return await conn.fetchval(DUE_SECONDS, stored.event_id)


async def state_of(database: Database, stored: Stored) -> tuple[WebhookState, list[int]]:
    async with database.as_user(stored.user_id) as conn:
        webhook = await get_webhook(conn, stored.event_id)
        tried = await list_attempts(conn, stored.event_id)
    return webhook.state, [attempt.number for attempt in tried]


async def until_received(receiver: Receiver) -> None:
    async with asyncio.timeout(10):
        while not receiver.received:  # noqa: ASYNC110 - the receiver has no event
            await asyncio.sleep(0.01)


def test_reconciler_waits_for_the_longest_first_attempt() -> None:
    """A first attempt that begins at the last moment has ended before the reconciler looks."""
    assert FIRST_ATTEMPT_SCHEDULE_TO_START.total_seconds() < FIRST_ATTEMPT_SECONDS
    assert ATTEMPT_START_TO_CLOSE.total_seconds() <= FIRST_ATTEMPT_SECONDS
    assert DELIVERY_OVERDUE_SECONDS >= 10
    assert FIRST_ATTEMPT_SECONDS + DELIVERY_OVERDUE_SECONDS <= 60


async def test_first_attempt_delivers(database: Database) -> None:
    async with Receiver.open(reply(204)) as receiver:
        stored = await first_webhook(database, receiver.url)
        result = await attempt_first(database, stored)
        assert await attempt_first(database, stored) == dataclasses.replace(
            result, status_code=None
        )
    assert result == AttemptResult(outcome=AttemptOutcome.DELIVERED, number=1, status_code=204)
    assert len(receiver.received) == 1
    assert await state_of(database, stored) == (WebhookState.DELIVERED, [1])


async def test_failed_first_attempt_is_continued_by_the_schedule(database: Database) -> None:
    async with Receiver.open(reply(503), reply(500), reply(200)) as receiver:
        stored = await first_webhook(database, receiver.url)
        result = await attempt_first(database, stored)
        assert (result.outcome, result.number, result.status_code) == (RETRY, 1, 503)
        assert 5 <= result.pause_seconds <= 5.75
        assert 0 < await due_seconds(database, stored) <= result.pause_seconds
        with pytest.raises(ApplicationError, match="attempt 2 was not accepted"):
            await ActivityEnvironment().run(activities(database).attempt, stored.order)
        assert await due_seconds(database, stored) > 35 * 3600
        # A reset of the execution's workflow makes no attempt in addition to its delivery.
        assert await attempt_first(database, stored) == NOTHING_ATTEMPTED
    assert len(receiver.received) == 2
    assert await state_of(database, stored) == (WebhookState.PENDING, [1, 2])


async def test_overdue_first_attempt_is_left_to_the_reconciler(
    database: Database,
) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        assert await attempt_first(database, stored) == NOTHING_ATTEMPTED
        assert receiver.received == []
    assert await state_of(database, stored) == (WebhookState.PENDING, [])


async def test_lost_first_attempt_is_repeated_and_due_again(database: Database) -> None:
    """The worker dies before it records the end; Temporal gives the attempt to another worker."""
    async with Receiver.open(hang, reply(200)) as receiver:
        stored = await first_webhook(database, receiver.url)
        await _attempt_and_lose(database, stored, receiver)
        assert 0 < await due_seconds(database, stored) <= FIRST_ATTEMPT_SECONDS
        assert (await attempt_first(database, stored)).number == 2
    assert await state_of(database, stored) == (WebhookState.DELIVERED, [1, 2])


async def _attempt_and_lose(database: Database, stored: Stored, receiver: Receiver) -> None:
    """Cancel below the shield: like a killed process, it records nothing."""
    work = asyncio.create_task(
        activities(database)._attempt(stored.order, first=True)  # pyright: ignore[reportPrivateUsage]
    )
    await until_received(receiver)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_first_attempt_without_a_slot_is_due_after_a_pause(database: Database) -> None:
    slots = AttemptSlots(per_endpoint=0, per_failing_endpoint=0)
    async with Receiver.open() as receiver:
        stored = await first_webhook(database, receiver.url)
        result = await ActivityEnvironment().run(
            activities(database, slots).attempt_first, stored.order
        )
        assert receiver.received == []
    assert (result.outcome, result.number) == (RETRY, 0)
    assert 0.5 <= result.pause_seconds <= 0.75
    assert await due_seconds(database, stored) <= 0.75
    assert await state_of(database, stored) == (WebhookState.PENDING, [])


async def test_first_attempt_ends_and_is_recorded_although_it_is_cancelled(
    database: Database,
) -> None:
    """Its workflow has ended, because a retry of the execution needed the id."""
    opened = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await opened.wait()
        await reply(200)(writer)

    async with Receiver.open(wait) as receiver:
        stored = await first_webhook(database, receiver.url)
        environment = ActivityEnvironment()
        work = asyncio.create_task(
            environment.run(activities(database).attempt_first, stored.order)
        )
        await until_received(receiver)
        environment.cancel()
        await asyncio.sleep(0)
        opened.set()
        await asyncio.gather(work, return_exceptions=True)
    assert await state_of(database, stored) == (WebhookState.DELIVERED, [1])


async def test_resend_during_the_first_attempt_replaces_its_delivery(database: Database) -> None:
    """The failed attempt neither starts its own delivery nor delays the newer one."""
    opened = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await opened.wait()
        await reply(500)(writer)

    async with Receiver.open(wait) as receiver:
        stored = await first_webhook(database, receiver.url)
        work = asyncio.create_task(attempt_first(database, stored))
        await until_received(receiver)
        async with database.as_user(stored.user_id) as conn:
            order = await next_delivery(conn, stored.event_id)
        opened.set()
        result = await work
    assert (order.delivery, result.outcome, result.number) == (2, AttemptOutcome.EXHAUSTED, 1)
    assert result.pause_seconds == 0
    assert await due_seconds(database, stored) <= 0


@pytest.mark.parametrize("closed", [True, False])
async def test_first_attempt_ends_at_a_closed_or_gone_endpoint(
    database: Database, *, closed: bool
) -> None:
    async with Receiver.open(reply(410)) as receiver:
        stored = await first_webhook(database, receiver.url)
        if closed:
            async with database.as_user(stored.user_id) as conn:
                endpoint_id = (await get_webhook(conn, stored.event_id)).endpoint_id
                await disable(conn, endpoint_id, DisabledReason.USER)
        result = await attempt_first(database, stored)
    async with database.as_user(stored.user_id) as conn:
        reason = await conn.fetchval(
            "SELECT failed_reason FROM webhooks WHERE event_id = $1", stored.event_id
        )
    assert len(receiver.received) == (0 if closed else 1)
    assert result.outcome is (AttemptOutcome.EXHAUSTED if closed else AttemptOutcome.GONE)
    assert reason == (FailedReason.ENDPOINT_DISABLED if closed else FailedReason.GONE)
