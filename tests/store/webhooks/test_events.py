"""Rows of webhooks and their delivery attempts."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from core.domain.ids import new_event_id
from core.domain.messages.webhooks import DeliveryOrder, FailedReason
from core.store.database import Connection, Database
from core.store.webhooks.events import (
    BegunAttempt,
    WebhookNotFoundError,
    begin_attempt,
    get_webhook,
    insert_webhook,
    mark_delivered,
    mark_failed,
    next_delivery,
)
from core.store.webhooks.pending_deliveries import list_pending
from tests.support.servers import FreshDatabase
from tests.support.webhook_rows import BODY, Stored, insert_execution, new_webhook, store_webhook


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as opened:
        yield opened


async def test_repeated_insert_creates_one_event(database: Database) -> None:
    user_id, execution_id = await insert_execution(database)
    first, second = (
        new_webhook(user_id, execution_id, url="http://127.0.0.1:9/") for _ in range(2)
    )
    async with database.as_user(user_id) as conn:
        assert await insert_webhook(conn, first)
        assert not await insert_webhook(conn, second)
        assert not await insert_webhook(conn, first)
        assert (await get_webhook(conn, first.event_id)).body == BODY


async def test_results_change_only_their_own_delivery(database: Database) -> None:
    stored = await store_webhook(database, "http://127.0.0.1:9/")
    async with database.as_user(stored.user_id) as conn:
        assert await mark_failed(conn, stored.order, FailedReason.EXHAUSTED)
        assert not await mark_failed(conn, stored.order, FailedReason.EXHAUSTED)
        assert await mark_delivered(conn, stored.order)
        assert not await mark_failed(conn, stored.order, FailedReason.EXHAUSTED)
        again = await next_delivery(conn, stored.event_id)
        assert not await mark_delivered(conn, stored.order)
        assert await mark_delivered(conn, again)


async def test_concurrent_attempts_have_distinct_numbers(database: Database) -> None:
    stored = await store_webhook(database, "http://127.0.0.1:9/")

    async def begin() -> BegunAttempt | None:
        async with database.as_user(stored.user_id) as conn:
            return await begin_attempt(conn, stored.order)

    begun = await asyncio.gather(*(begin() for _ in range(4)))
    assert sorted(attempt.number for attempt in begun if attempt) == [1, 2, 3, 4]


async def pending_orders(conn: Connection, **limits: Any) -> list[DeliveryOrder]:
    return [pending.order for pending in await list_pending(conn, **limits)]


async def test_list_pending_returns_webhooks_without_a_current_attempt(database: Database) -> None:
    left, tried, lost, delivered = [
        await store_webhook(database, "http://127.0.0.1:9/") for _ in range(4)
    ]
    async with database.as_system() as conn:
        for stored in (tried, lost, delivered):
            await begin_attempt(conn, stored.order)
        await mark_delivered(conn, delivered.order)
    await pass_time(database, left, "1 minute")
    await pass_time(database, tried, "35 hours")
    await pass_time(database, lost, "37 hours")
    async with database.as_system() as conn:
        assert await pending_orders(conn, overdue_seconds=10, limit=10) == [left.order, lost.order]
        assert await pending_orders(conn, overdue_seconds=10, limit=1) == [left.order]
        assert await pending_orders(conn, overdue_seconds=10, limit=9, after=left.event_id) == [
            lost.order
        ]
        assert await pending_orders(conn, overdue_seconds=120, limit=10) == [lost.order]


async def pass_time(database: Database, stored: Stored, interval: str) -> None:
    async with database.as_user(stored.user_id) as conn:
        await conn.execute(
            "UPDATE webhooks SET attempt_due_at = attempt_due_at - $2::text::interval WHERE event_id = $1",
            stored.event_id,
            interval,
        )


async def test_missing_webhook_raises_not_found(database: Database) -> None:
    """A webhook of another user counts as missing."""
    mine = await store_webhook(database, "http://127.0.0.1:9/")
    other = await store_webhook(database, "http://127.0.0.1:9/")
    async with database.as_user(mine.user_id) as conn:
        for event_id in (new_event_id(), other.event_id):
            with pytest.raises(WebhookNotFoundError):
                await get_webhook(conn, event_id)
            with pytest.raises(WebhookNotFoundError):
                await next_delivery(conn, event_id)


async def test_new_webhook_shows_no_secret_in_its_repr(database: Database) -> None:
    user_id, execution_id = await insert_execution(database)
    new = new_webhook(user_id, execution_id, url="https://hooks.example/?token=hush")
    assert "hush" not in repr(new)
    assert "Gr" not in repr(new)
