"""Sealing every secret anew: nothing is left under the old key, nothing is lost, whoever else works
meanwhile.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import timedelta

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.domain.ids import EndpointId, ProviderKeyId, UserId
from core.platform.crypto.sealing import Sealer, SecretBox, key_id
from core.store.accounts.users import insert_user, webhook_secret_context
from core.store.database import Connection, Database
from core.store.executions.executions import insert_execution, own_secret_context
from core.store.providers.user_keys import open_key, put_key
from core.store.secrets.sealed_columns import SEALED_COLUMNS, Renewal, count_sealed, renew_all
from core.store.webhooks.endpoints import insert_endpoint
from core.store.webhooks.events import insert_webhook
from core.store.webhooks.signing_secrets import rotate_default_secret, rotate_endpoint_secret
from tests.support.rows import NO_LIMITS, new_execution
from tests.support.servers import FreshDatabase
from tests.support.webhook_rows import new_webhook

pytestmark = pytest.mark.guarantee("G6")

OLD_KEY, NEW_KEY = b"o" * 32, b"n" * 32
OLD, NEW, BOTH = Sealer([OLD_KEY]), Sealer([NEW_KEY]), Sealer([NEW_KEY, OLD_KEY])
HOUR = timedelta(hours=1)
ANYTHING = bytes(9)
"""No header: whoever asks for what is not sealed so gets every row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    user_id: UserId
    endpoint_id: EndpointId
    provider_key_id: ProviderKeyId


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=6) as opened:
        yield opened


async def seed(database: Database, box: SecretBox) -> Seeded:
    """A user with a secret in every column that has some, sealed as the product seals them."""
    async with database.as_system() as conn:
        user_id = (await insert_user(conn, box, "somebody", NO_LIMITS)).user_id
        await rotate_default_secret(conn, box, user_id, overlap=HOUR)
        endpoint_id = await insert_endpoint(conn, user_id, f"https://{user_id}.example/hook", "")
        for _ in range(2):
            assert await rotate_endpoint_secret(conn, box, endpoint_id, overlap=HOUR)
    new = new_execution(user_id, webhook_url="https://receiver.example/hook")
    secret = box.seal("a secret of the request", context=own_secret_context(new.execution_id))
    async with database.as_user(user_id) as conn:
        await insert_execution(conn, replace(new, webhook_secret_sealed=secret))
        webhook = new_webhook(user_id, new.execution_id, url="https://receiver.example/hook")
        assert await insert_webhook(conn, replace(webhook, webhook_secret_sealed=secret))
        key = await put_key(conn, box, user_id, "fal", "a key of one's own at fal")
    return Seeded(user_id=user_id, endpoint_id=endpoint_id, provider_key_id=key.provider_key_id)


async def texts(database: Database, box: SecretBox) -> dict[tuple[str, str], bytes]:
    """Every secret there is, opened in its place."""
    async with database.as_system() as conn:
        return {
            (column.name, row["id"]): box.open(row["sealed"], context=column.context(row))
            for column in SEALED_COLUMNS
            for row in await conn.fetch(column.take, ANYTHING, "", 100_000)
        }


async def numbers(database: Database) -> dict[tuple[int, str], int]:
    """By version and key."""
    found: dict[tuple[int, str], int] = {}
    for count in await count_sealed(database):
        place = count.version, count.key_id
        found[place] = found.get(place, 0) + count.number
    return found


async def test_every_column_that_is_sealed_is_known(
    fresh_database: FreshDatabase, database: Database
) -> None:
    """One that a later migration adds fails here until it is sealed anew with the others."""
    await seed(database, OLD)
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        rows = await owner.fetch(
            "SELECT table_name || '.' || column_name AS name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'bytea' AND column_name LIKE '%sealed%'"
        )
    finally:
        await owner.close()
    in_catalog = {row["name"] for row in rows}
    assert in_catalog == {column.name for column in SEALED_COLUMNS}
    assert in_catalog == {count.place for count in await count_sealed(database)}
    assert in_catalog == {place for place, _ in await texts(database, OLD)}


async def test_all_is_sealed_anew_and_opens_with_the_new_key_alone(database: Database) -> None:
    for _ in range(5):
        await seed(database, OLD)
    await _seal_as_version_1(database)
    before = await texts(database, OLD)
    assert await numbers(database) == {
        (2, key_id(OLD_KEY)): len(before) - 5,
        (1, key_id(OLD_KEY)): 5,
    }

    done = await renew_all(database, BOTH, batch=2)

    assert (sum(done.renewed.values()), done.left, done.broken) == (len(before), 0, 0)
    assert await texts(database, NEW) == before
    assert await numbers(database) == {(2, key_id(NEW_KEY)): len(before)}
    assert await renew_all(database, BOTH, batch=2) == Renewal()


async def _seal_as_version_1(database: Database) -> None:
    """Their users' secrets, without an envelope."""
    async with database.as_system() as conn:
        for row in await conn.fetch("SELECT user_id, webhook_secret_sealed FROM users"):
            context = webhook_secret_context(row["user_id"])
            header, nonce = b"\x01" + bytes.fromhex(key_id(OLD_KEY)), os.urandom(12)
            secret = OLD.open(row["webhook_secret_sealed"], context=context)
            sealed = (
                header + nonce + AESGCM(OLD_KEY).encrypt(nonce, secret, header + context.encode())
            )
            await conn.execute(
                "UPDATE users SET webhook_secret_sealed = $2 WHERE user_id = $1",
                row["user_id"],
                sealed,
            )


async def test_what_cannot_be_opened_is_told_and_left_as_it_is(database: Database) -> None:
    one, other = await seed(database, OLD), await seed(database, OLD)
    swap = """
    UPDATE provider_keys AS k SET key_sealed = o.key_sealed FROM provider_keys AS o
    WHERE k.provider_key_id = $1 AND o.provider_key_id = $2
    """
    async with database.as_system() as conn:
        await conn.execute(swap, one.provider_key_id, other.provider_key_id)
        sealed = await _key_sealed(conn, one.provider_key_id)

    done = await renew_all(database, BOTH)

    assert (done.left, done.broken) == (1, 1)
    ((column, row_id, reason),) = done.examples
    assert (column, row_id) == ("provider_keys.key_sealed", one.provider_key_id)
    assert "not sealed for the context" in reason
    async with database.as_system() as conn:
        assert await _key_sealed(conn, one.provider_key_id) == sealed
        assert await open_key(conn, NEW, other.provider_key_id)


async def _key_sealed(conn: Connection, provider_key_id: ProviderKeyId) -> bytes:
    return await conn.fetchval(
        "SELECT key_sealed FROM provider_keys WHERE provider_key_id = $1", provider_key_id
    )


async def test_without_the_old_key_nothing_is_touched(database: Database) -> None:
    await seed(database, OLD)
    before = await texts(database, OLD)
    done = await renew_all(database, NEW)
    assert (done.renewed, done.left, done.broken) == ({}, len(before), len(before))
    assert key_id(OLD_KEY) in done.examples[0][2]
    assert await texts(database, OLD) == before


async def test_row_that_is_held_keeps_nobody_waiting_and_is_met_again(database: Database) -> None:
    one = await seed(database, OLD)
    before = await texts(database, OLD)
    async with database.as_user(one.user_id) as conn:
        await conn.execute("SELECT FROM executions WHERE user_id = $1 FOR UPDATE", one.user_id)
        renewing = asyncio.create_task(renew_all(database, BOTH))
        async with asyncio.timeout(10):
            while True:
                if (await numbers(database)).get((2, key_id(OLD_KEY))) == 1:
                    break
                await asyncio.sleep(0.02)
        assert not renewing.done()
    done = await renewing
    assert (sum(done.renewed.values()), done.left) == (len(before), 0)
    assert await texts(database, NEW) == before


async def test_under_load_nothing_is_lost_and_nothing_is_left(database: Database) -> None:
    """Others go on with keys and secrets of the same rows meanwhile, some of them still under the
    old key.
    """
    seeded = [await seed(database, OLD) for _ in range(6)]
    behind = Sealer([OLD_KEY, NEW_KEY])  # a process that is restarted last
    stop = asyncio.Event()
    written: dict[UserId, tuple[str, str]] = {}

    async def change(one: Seeded) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            box = behind if number % 2 else BOTH
            async with database.as_user(one.user_id) as conn:
                secret = (await rotate_default_secret(conn, box, one.user_id, overlap=HOUR)).secret
                key = f"key number {number} of {one.user_id}"
                await put_key(conn, box, one.user_id, "fal", key)
            written[one.user_id] = (secret, key)
            await asyncio.sleep(0.01)

    changing = [asyncio.create_task(change(one)) for one in seeded]
    during = asyncio.create_task(renew_all(database, BOTH, batch=3))
    await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*changing)
    done = await during
    assert done.left == 0
    assert done.renewed["executions.webhook_secret_sealed"] == len(seeded)
    await renew_all(database, BOTH, batch=3)

    assert len(written) == len(seeded)
    assert set(await numbers(database)) == {(2, key_id(NEW_KEY))}
    opened = set((await texts(database, NEW)).values())
    for secret, key in written.values():
        assert {secret.encode(), key.encode()} <= opened
