"""Rotation of encryption keys: no secret stays under the old key or is lost, also under load."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import pytest

from core.domain.ids import EndpointId, ProviderKeyId, UserId
from core.platform.crypto.sealing import Sealer, key_id
from core.store.accounts.users import insert_user
from core.store.database import Database
from core.store.executions.executions import insert_execution
from core.store.providers.user_keys import open_key, put_key
from core.store.secrets.rotation import Rotation, count_secrets, rotate_secrets
from core.store.secrets.secrets import secret_from_row
from core.store.webhooks.endpoints import insert_endpoint
from core.store.webhooks.signing_secrets import (
    rotate_default_secret,
    rotate_endpoint_secret,
    seal_request_secret,
)
from tests.support.rows import NO_LIMITS, new_execution
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G6")

OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32
OLD_ID, NEW_ID = key_id(OLD_KEY), key_id(NEW_KEY)
OLD, NEW, BOTH = Sealer([OLD_KEY]), Sealer([NEW_KEY]), Sealer([NEW_KEY, OLD_KEY])
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    user_id: UserId
    endpoint_id: EndpointId
    provider_key_id: ProviderKeyId


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=6) as opened:
        yield opened


async def seed(database: Database, sealer: Sealer) -> Seeded:
    """Create a user with a secret of every kind and owner: six secrets."""
    async with database.as_system() as conn:
        user_id = (await insert_user(conn, sealer, "tester", NO_LIMITS)).user_id
        await rotate_default_secret(conn, sealer, user_id, overlap=HOUR)
        endpoint_id = await insert_endpoint(conn, user_id, f"https://{user_id}.example/hook", "")
        for _ in range(2):
            assert await rotate_endpoint_secret(conn, sealer, endpoint_id, overlap=HOUR)
    new = new_execution(user_id, webhook_url="https://receiver.example/hook")
    secret = seal_request_secret(sealer, "a secret of the request", new.execution_id, user_id)
    async with database.as_user(user_id) as conn:
        await insert_execution(conn, replace(new, webhook_secret=secret))
        key = await put_key(conn, sealer, user_id, "fal", "the user's own key at fal")
    return Seeded(user_id=user_id, endpoint_id=endpoint_id, provider_key_id=key.provider_key_id)


async def texts(database: Database, sealer: Sealer) -> dict[str, str]:
    """Decrypt every secret, by id."""
    async with database.as_system() as conn:
        rows = await conn.fetch("SELECT * FROM secrets")
    return {row["secret_id"]: secret_from_row(row).open(sealer) for row in rows}


async def count_by_key(database: Database) -> dict[str, int]:
    counted: dict[str, int] = {}
    for count in await count_secrets(database):
        counted[count.key_id] = counted.get(count.key_id, 0) + count.number
    return counted


async def test_only_the_secrets_table_has_a_sealed_column(fresh_database: FreshDatabase) -> None:
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        rows = await owner.fetch(
            "SELECT table_name || '.' || column_name AS name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name LIKE '%sealed%'"
        )
    finally:
        await owner.close()
    assert [row["name"] for row in rows] == ["secrets.sealed"]


async def test_every_secret_is_rotated_and_opens_with_new_key(
    database: Database,
) -> None:
    for _ in range(5):
        await seed(database, OLD)
    before = await texts(database, OLD)
    assert await count_by_key(database) == {OLD_ID: len(before)} == {OLD_ID: 30}

    done = await rotate_secrets(database, BOTH, batch=2)

    assert (done.total, done.left, done.broken) == (len(before), 0, 0)
    assert done.rotated == {"webhook_secret": 25, "provider_key/fal": 5}
    assert await texts(database, NEW) == before
    assert await count_by_key(database) == {NEW_ID: len(before)}
    assert await rotate_secrets(database, BOTH, batch=2) == Rotation()


async def test_secret_that_cannot_be_opened_is_reported_and_left_unchanged(
    database: Database,
) -> None:
    one, other = await seed(database, OLD), await seed(database, OLD)
    swap = """
    UPDATE secrets AS s SET sealed = o.sealed FROM secrets AS o WHERE s.owner_id = $1 AND o.owner_id = $2
    """
    sealed_of = "SELECT sealed FROM secrets WHERE owner_id = $1"
    async with database.as_system() as conn:
        await conn.execute(swap, one.provider_key_id, other.provider_key_id)
        sealed = await conn.fetchval(sealed_of, one.provider_key_id)

    done = await rotate_secrets(database, BOTH)

    assert (done.left, done.broken) == (1, 1)
    (broken,) = done.examples
    assert (broken.kind, broken.owner_id) == ("provider_key/fal", one.provider_key_id)
    assert "not sealed for the context" in broken.reason
    async with database.as_system() as conn:
        assert await conn.fetchval(sealed_of, one.provider_key_id) == sealed
        assert await open_key(conn, NEW, other.provider_key_id)


async def test_rotation_without_the_old_key_changes_nothing(database: Database) -> None:
    await seed(database, OLD)
    before = await texts(database, OLD)
    done = await rotate_secrets(database, NEW)
    assert (done.rotated, done.left, done.broken) == ({}, len(before), len(before))
    assert OLD_ID in done.examples[0].reason
    assert await texts(database, OLD) == before


async def test_locked_secret_is_skipped_and_rotated_by_a_later_pass(database: Database) -> None:
    one = await seed(database, OLD)
    before = await texts(database, OLD)
    async with database.as_system() as conn:
        lock = "SELECT FROM secrets WHERE owner_id = $1 FOR UPDATE"
        await conn.execute(lock, one.provider_key_id)
        rotating = asyncio.create_task(rotate_secrets(database, BOTH))
        async with asyncio.timeout(10):
            while True:
                if (await count_by_key(database)).get(OLD_ID) == 1:
                    break
                await asyncio.sleep(0.02)
        assert not rotating.done()
    done = await rotating
    assert (done.total, done.left) == (len(before), 0)
    assert await texts(database, NEW) == before


async def test_rotation_under_load_loses_no_secret(database: Database) -> None:
    """Other processes replace the same secrets meanwhile, some of them under the old key."""
    seeded = [await seed(database, OLD) for _ in range(6)]
    behind = Sealer([OLD_KEY, NEW_KEY])  # a process that is restarted last
    stop = asyncio.Event()
    written: dict[UserId, tuple[str, str]] = {}

    async def change(one: Seeded) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            sealer = behind if number % 2 else BOTH
            async with database.as_user(one.user_id) as conn:
                new = await rotate_default_secret(conn, sealer, one.user_id, overlap=HOUR)
                key = f"key number {number} of {one.user_id}"
                await put_key(conn, sealer, one.user_id, "fal", key)
            written[one.user_id] = (new.secret, key)
            await asyncio.sleep(0.01)

    changing = [asyncio.create_task(change(one)) for one in seeded]
    during = asyncio.create_task(rotate_secrets(database, BOTH, batch=3))
    await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*changing)
    done = await during
    assert done.left == 0
    assert done.rotated["webhook_secret"] >= len(seeded)
    await rotate_secrets(database, BOTH, batch=3)

    assert len(written) == len(seeded)
    assert set(await count_by_key(database)) == {NEW_ID}
    opened = set((await texts(database, NEW)).values())
    for secret, key in written.values():
        assert {secret, key} <= opened
