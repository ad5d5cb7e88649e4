"""Webhook endpoints: one per address, one default, deletion, and their signing secrets."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import asyncpg
import pytest

from core.domain.ids import EndpointId, UserId
from core.domain.messages.webhooks import FailedReason, WebhookState
from core.platform.urls import MAX_URL_CHARS
from core.store.database import Connection, Database
from core.store.webhooks.endpoints import (
    EndpointExistsError,
    delete_endpoint,
    find_endpoint,
    insert_endpoint,
    list_endpoints,
    set_default,
    set_disabled_by_user,
    set_webhook_url,
)
from core.store.webhooks.events import (
    EndpointClosedError,
    get_webhook,
    insert_webhook,
    mark_failed,
    next_delivery,
    next_sequence,
)
from core.store.webhooks.signing_secrets import (
    find_signing_secrets,
    rotate_default_secret,
    rotate_endpoint_secret,
)
from tests.support.rows import new_user
from tests.support.servers import PostgresServer, new_database
from tests.support.webhook_rows import (
    DEFAULT_SECRET,
    SEALER,
    Stored,
    another_webhook,
    insert_execution,
    new_webhook,
    store_webhook,
)

pytestmark = pytest.mark.guarantee("G5")

URL = "https://hooks.example/one"


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """Share one database between the tests of this file; each test creates its own users."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=8) as opened,
    ):
        yield opened


async def endpoint_of(database: Database, stored: Stored) -> EndpointId:
    async with database.as_user(stored.user_id) as conn:
        return (await get_webhook(conn, stored.event_id)).endpoint_id


async def test_webhooks_to_one_address_share_an_endpoint_per_user(
    database: Database,
) -> None:
    first = await store_webhook(database, URL)
    again = await another_webhook(database, first.user_id, URL)
    elsewhere = await another_webhook(database, first.user_id, URL + "?other")
    others = await store_webhook(database, URL)
    found = [await endpoint_of(database, stored) for stored in (first, again, elsewhere, others)]
    assert found[0] == found[1]
    assert len(set(found)) == 3


async def test_concurrent_webhooks_to_one_address_create_one_endpoint(database: Database) -> None:
    user_id, _ = await insert_execution(database)
    stored = await asyncio.gather(*(another_webhook(database, user_id, URL) for _ in range(8)))
    assert len({await endpoint_of(database, one) for one in stored}) == 1


async def test_endpoint_with_the_longest_address_is_reused(database: Database) -> None:
    """Its characters take more bytes than an index entry can hold."""
    url = "https://hooks.example/" + "".join(
        chr(0x10000 + number * 37) for number in range(MAX_URL_CHARS - 22)
    )
    first = await store_webhook(database, url)
    again = await another_webhook(database, first.user_id, url)
    assert await endpoint_of(database, first) == await endpoint_of(database, again)


async def test_deleted_endpoint_can_be_created_again(database: Database) -> None:
    user_id = await new_user(database)
    async with database.as_user(user_id) as conn:
        made = await insert_endpoint(conn, user_id, URL, "first")
    with pytest.raises(EndpointExistsError) as refused:
        async with database.as_user(user_id) as conn:
            await insert_endpoint(conn, user_id, URL, "second")
    assert refused.value.endpoint_id == made
    async with database.as_user(user_id) as conn:
        assert await delete_endpoint(conn, made)
        assert not await delete_endpoint(conn, made)
        assert await find_endpoint(conn, user_id, made) is None
        second = await insert_endpoint(conn, user_id, URL, "second")
        assert [
            found.endpoint_id
            for found in await list_endpoints(conn, user_id, before_id=None, limit=9)
        ] == [second]


async def test_concurrent_default_changes_leave_one_default_endpoint(database: Database) -> None:
    user_id = await new_user(database)
    async with database.as_user(user_id) as conn:
        made = [await insert_endpoint(conn, user_id, f"{URL}/{number}", "") for number in range(6)]

    async def make_default(endpoint_id: EndpointId) -> None:
        async with database.as_user(user_id) as conn:
            await set_default(conn, user_id, endpoint_id)

    await asyncio.gather(*(make_default(endpoint_id) for endpoint_id in made))
    async with database.as_user(user_id) as conn:
        found = await list_endpoints(conn, user_id, before_id=None, limit=9)
        assert sum(one.is_default for one in found) == 1
        await set_default(conn, user_id, None)
        assert not any(
            one.is_default for one in await list_endpoints(conn, user_id, before_id=None, limit=9)
        )


async def test_account_address_is_the_default_endpoint(database: Database) -> None:
    user_id = await new_user(database)
    async with database.as_system() as conn:
        assert not await set_webhook_url(conn, UserId("usr_missing"), URL)
        for url in (URL, URL, URL + "/2", URL):
            assert await set_webhook_url(conn, user_id, url)
        found = await list_endpoints(conn, user_id, before_id=None, limit=9)
        assert [one.url for one in found if one.is_default] == [URL]
        assert len(found) == 2
        assert await set_webhook_url(conn, user_id, None)
        assert not any(
            one.is_default for one in await list_endpoints(conn, user_id, before_id=None, limit=9)
        )


async def test_webhook_of_another_users_endpoint_cannot_be_written(database: Database) -> None:
    """The foreign key includes the user, so it applies to the system role too."""
    mine, theirs = await store_webhook(database, URL), await store_webhook(database, URL)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with database.as_system() as conn:
            await conn.execute(
                "UPDATE webhooks SET endpoint_id = $2 WHERE event_id = $1",
                mine.event_id,
                await endpoint_of(database, theirs),
            )


async def test_sequence_numbers_events_across_generations(
    database: Database,
) -> None:
    user_id, execution_id = await insert_execution(database)
    async with database.as_user(user_id) as conn:
        assert await next_sequence(conn, execution_id, 1) == 1
        await insert_webhook(conn, new_webhook(user_id, execution_id, url=URL))
        assert await next_sequence(conn, execution_id, 2) == 2
        assert await next_sequence(conn, execution_id, 1) == 2
    async with database.as_system() as conn:
        await conn.execute("UPDATE webhooks SET sequence = 5 WHERE execution_id = $1", execution_id)
    async with database.as_user(user_id) as conn:
        assert await next_sequence(conn, execution_id, 2) == 6


async def test_sequence_skips_events_that_a_restored_database_lost(
    database: Database,
) -> None:
    user_id, execution_id = await insert_execution(database)
    async with database.as_user(user_id) as conn:
        assert await next_sequence(conn, execution_id, 3) == 3


async def test_resend_needs_an_enabled_endpoint_or_its_replacement(
    database: Database,
) -> None:
    stored = await store_webhook(database, URL)
    endpoint_id = await endpoint_of(database, stored)
    async with database.as_user(stored.user_id) as conn:
        await mark_failed(conn, stored.order, FailedReason.EXHAUSTED)
        await set_disabled_by_user(conn, endpoint_id, disabled=True)
        with pytest.raises(EndpointClosedError) as refused:
            await next_delivery(conn, stored.event_id)
        assert refused.value.reason is FailedReason.ENDPOINT_DISABLED
        await set_disabled_by_user(conn, endpoint_id, disabled=False)
        await delete_endpoint(conn, endpoint_id)
        with pytest.raises(EndpointClosedError) as refused:
            await next_delivery(conn, stored.event_id)
        assert refused.value.reason is FailedReason.ENDPOINT_DELETED
        second = await insert_endpoint(conn, stored.user_id, URL, "")
        assert (await next_delivery(conn, stored.event_id)).delivery == 2
        webhook = await get_webhook(conn, stored.event_id)
    assert (webhook.endpoint_id, webhook.state, webhook.closed) == (
        second,
        WebhookState.PENDING,
        None,
    )


async def test_replaced_secret_also_signs_until_it_expires(
    database: Database,
) -> None:
    stored = await store_webhook(database, URL)
    async with database.as_user(stored.user_id) as conn:
        new = await rotate_default_secret(conn, SEALER, stored.user_id, overlap=timedelta(hours=1))
        assert await opened(conn, stored) == (new.secret, DEFAULT_SECRET)
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE secrets SET valid_until = now() WHERE owner_id = $1 AND valid_until IS NOT NULL",
            stored.user_id,
        )
    async with database.as_user(stored.user_id) as conn:
        assert await opened(conn, stored) == (new.secret, None)
        await rotate_default_secret(
            conn, SEALER, stored.user_id, overlap=timedelta(0), secret="chosen by the user"
        )
        assert await opened(conn, stored) == ("chosen by the user", None)


async def test_endpoint_secret_replaces_the_account_secret_for_that_endpoint(
    database: Database,
) -> None:
    here = await store_webhook(database, URL)
    there = await another_webhook(database, here.user_id, URL + "/there")
    own = await another_webhook(
        database, here.user_id, URL, secret="a secret of the request itself"
    )
    async with database.as_user(here.user_id) as conn:
        endpoint_id = (await get_webhook(conn, here.event_id)).endpoint_id
        first = await rotate_endpoint_secret(conn, SEALER, endpoint_id, overlap=timedelta(hours=1))
        assert first is not None
        assert first.previous_until is not None
        assert await opened(conn, here) == (first.secret, DEFAULT_SECRET)
        assert await opened(conn, there) == (DEFAULT_SECRET, None)
        assert await opened(conn, own) == ("a secret of the request itself", None)
        second = await rotate_endpoint_secret(conn, SEALER, endpoint_id, overlap=timedelta(hours=1))
        assert second is not None
        assert await opened(conn, here) == (second.secret, first.secret)
        await delete_endpoint(conn, endpoint_id)
        assert (
            await rotate_endpoint_secret(conn, SEALER, endpoint_id, overlap=timedelta(hours=1))
            is None
        )
        left = await conn.fetchval("SELECT count(*) FROM secrets WHERE owner_id = $1", endpoint_id)
    assert left == 0


async def opened(conn: Connection, stored: Stored) -> tuple[str, str | None]:
    """Return the current signing secret and the previous secret that still signs."""
    secrets = await find_signing_secrets(conn, stored.event_id)
    assert secrets is not None
    previous = secrets.previous
    return secrets.current.open(SEALER), None if previous is None else previous.open(SEALER)
