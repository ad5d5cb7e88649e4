"""Users' own provider keys: one current key, bound to its row, erased when no job needs it."""

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
import pytest

from core.domain.ids import JobId, ProviderKeyId, UserId
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, JobState
from core.platform.crypto.sealing import BrokenSealError
from core.store.database import Database
from core.store.jobs.jobs import mark_job_ended
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import begin_send, mark_submitted, mark_waiting
from core.store.money.settlement import settle_charge
from core.store.providers.user_keys import (
    KeyErasedError,
    KeyTest,
    ProviderKey,
    current_key,
    delete_key,
    erase_unused,
    list_keys,
    mark_tested,
    open_key,
    put_key,
)
from tests.support.operator_jobs import REQUEST, end, handle
from tests.support.rows import IMAGE_PRICE, SEALER, Accepted, accept, new_execution, new_user
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

FIRST, SECOND = (
    "00000000-1111-2222-3333-444444444444:first",
    "00000000-1111-2222-3333-444444444444:second",
)
WAIT_SECONDS = 0.3


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """Share one database among the tests of this module; each test creates its own users."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=10) as opened,
    ):
        yield opened


async def put(
    database: Database, user_id: UserId, key: str = FIRST, provider: str = "fal"
) -> ProviderKey:
    async with database.as_user(user_id) as conn:
        return await put_key(conn, SEALER, user_id, provider, key)


async def current(
    database: Database, user_id: UserId, provider: str = "fal"
) -> ProviderKeyId | None:
    async with database.as_user(user_id) as conn:
        return await current_key(conn, user_id, provider)


async def opened(database: Database, user_id: UserId, provider_key_id: ProviderKeyId) -> str:
    async with database.as_user(user_id) as conn:
        return await open_key(conn, SEALER, provider_key_id)


async def delete(database: Database, user_id: UserId) -> ProviderKeyId | None:
    async with database.as_user(user_id) as conn:
        return await delete_key(conn, user_id, "fal")


async def erase(database: Database) -> list[ProviderKeyId]:
    async with database.as_system() as conn:
        return await erase_unused(conn)


async def bought(database: Database) -> tuple[Accepted, ProviderKey]:
    """Return an execution whose image was submitted with its user's own key."""
    one = await accept(database, new_execution(await new_user(database)))
    key = await put(database, one.user_id)
    async with database.as_user(one.user_id) as conn:
        number = await begin_send(
            conn, one.image, 1, REQUEST, {"prompt": "x"}, provider_key_id=key.provider_key_id
        )
        assert number is not None
        assert await mark_submitted(conn, one.image.job_id, 1, handle(f"req-{one.image.job_id}"))
    return one, key


async def settle(database: Database, job_id: JobId, user_id: UserId) -> None:
    async with database.as_user(user_id) as conn:
        await mark_job_ended(conn, job_id, JobState.COMPLETED, None, expected=(JobState.SUBMITTED,))
        await settle_charge(conn, job_id, NanoUsd(IMAGE_PRICE), CostBasis.COMPUTED)


async def test_put_creates_a_version_and_keeps_the_previous_key(database: Database) -> None:
    user_id = await new_user(database)
    assert await current(database, user_id) is None
    first, second = await put(database, user_id), await put(database, user_id, SECOND)

    assert (first.version, first.hint, first.is_current) == (1, "irst", True)
    assert (second.version, second.hint) == (2, "cond")
    assert await current(database, user_id) == second.provider_key_id
    assert await current(database, user_id, "replicate") is None
    assert await opened(database, user_id, second.provider_key_id) == SECOND
    assert await opened(database, user_id, first.provider_key_id) == FIRST
    async with database.as_user(user_id) as conn:
        listed = await list_keys(conn, user_id)
    assert [(key.version, key.is_current) for key in listed] == [(2, True), (1, False)]


async def test_concurrent_puts_leave_one_current_key(database: Database) -> None:
    user_id = await new_user(database)
    made = await asyncio.gather(
        *(put(database, user_id, f"{FIRST}-{number}") for number in range(6))
    )

    assert sorted(key.version for key in made) == [1, 2, 3, 4, 5, 6]
    newest = max(made, key=lambda key: key.version)
    assert await current(database, user_id) == newest.provider_key_id


async def test_key_is_sealed_and_opens_only_in_its_own_row(database: Database) -> None:
    ada, bob = await new_user(database), await new_user(database)
    hers, older, newer = (
        await put(database, ada),
        await put(database, bob, "b" * 20),
        await put(database, bob, "c" * 20),
    )
    rows = (hers, older, newer)
    async with database.as_system() as conn:
        blobs = [
            await conn.fetchval(
                "SELECT sealed FROM secrets WHERE owner_id = $1",
                row.provider_key_id,
            )
            for row in rows
        ]
        assert not any(FIRST.encode() in blob or b"first" in blob for blob in blobs)
        for row, blob in zip(
            rows, blobs[1:] + blobs[:1], strict=True
        ):  # each row gets the secret of another row
            await conn.execute(
                "UPDATE secrets SET sealed = $2 WHERE owner_id = $1",
                row.provider_key_id,
                blob,
            )
            with pytest.raises(BrokenSealError):
                await open_key(conn, SEALER, row.provider_key_id)


async def test_key_of_another_user_is_neither_seen_nor_used(database: Database) -> None:
    one, _ = await bought(database)
    stranger = await new_user(database)
    theirs = await put(database, stranger)

    async with database.as_user(one.user_id) as conn:
        assert await current_key(conn, stranger, "fal") is None
        assert await list_keys(conn, stranger) == []
        with pytest.raises(LookupError):
            await open_key(conn, SEALER, theirs.provider_key_id)
    for role in (database.as_user(one.user_id), database.as_system()):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            async with role as conn:
                await conn.execute(
                    "UPDATE jobs SET provider_key_id = $2 WHERE job_id = $1",
                    one.image.job_id,
                    theirs.provider_key_id,
                )


async def test_job_cannot_use_a_key_of_another_provider(database: Database) -> None:
    one, _ = await bought(database)
    other = await put(database, one.user_id, provider="replicate")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with database.as_user(one.user_id) as conn:
            await conn.execute(
                "UPDATE jobs SET provider_key_id = $2 WHERE job_id = $1",
                one.image.job_id,
                other.provider_key_id,
            )


async def test_result_of_a_key_test_is_stored(database: Database) -> None:
    user_id = await new_user(database)
    key = await put(database, user_id)
    async with database.as_user(user_id) as conn:
        await mark_tested(conn, key.provider_key_id, KeyTest.REFUSED)
        (listed,) = await list_keys(conn, user_id)
    assert (key.test_outcome, key.tested_at) == (None, None)
    assert listed.test_outcome is KeyTest.REFUSED
    assert listed.tested_at is not None


async def test_unneeded_key_is_erased_but_never_the_current_key(
    database: Database,
) -> None:
    user_id = await new_user(database)
    first, second = await put(database, user_id), await put(database, user_id, SECOND)

    erased = await erase(database)
    assert first.provider_key_id in erased
    assert second.provider_key_id not in erased
    with pytest.raises(KeyErasedError):
        await opened(database, user_id, first.provider_key_id)
    assert await delete(database, user_id) == second.provider_key_id
    assert await current(database, user_id) is None
    assert second.provider_key_id in await erase(database)
    assert await delete(database, user_id) is None
    async with database.as_user(user_id) as conn:
        assert await list_keys(conn, user_id) == []
        left = await conn.fetchval("SELECT count(*) FROM secrets WHERE kind <> 'webhook_secret'")
    assert left == 0
    assert (await put(database, user_id)).version == 3


@pytest.mark.parametrize("how", ["replaced", "deleted"])
async def test_key_is_kept_until_its_last_bill_is_settled(database: Database, how: str) -> None:
    one, key = await bought(database)
    if how == "replaced":
        await put(database, one.user_id, SECOND)
    else:
        await delete(database, one.user_id)

    assert key.provider_key_id not in await erase(database)
    assert await opened(database, one.user_id, key.provider_key_id) == FIRST
    async with database.as_user(one.user_id) as conn:
        kept = next(row for row in await list_keys(conn, one.user_id) if row.version == 1)
        await mark_job_ended(
            conn, one.image.job_id, JobState.COMPLETED, None, expected=(JobState.SUBMITTED,)
        )
    assert kept.open_jobs == 1
    assert key.provider_key_id not in await erase(
        database
    )  # the job has ended but its bill is open
    await settle(database, one.image.job_id, one.user_id)
    assert key.provider_key_id not in await erase(
        database
    )  # its output may have to be requested again
    async with database.as_user(one.user_id) as conn:
        await end(conn, one)
    assert key.provider_key_id in await erase(database)


async def test_key_of_an_orphan_is_kept_until_its_bill(database: Database) -> None:
    """A superseded send that was accepted is ended and billed with the key of that send."""
    one = await accept(database, new_execution(await new_user(database)))
    first = await put(database, one.user_id)
    async with database.as_user(one.user_id) as conn:
        await begin_send(conn, one.image, 1, REQUEST, {}, provider_key_id=first.provider_key_id)
        await mark_waiting(conn, one.image.job_id, 1)
    second = await put(database, one.user_id, SECOND)
    async with database.as_user(one.user_id) as conn:
        await begin_send(conn, one.image, 2, REQUEST, {}, provider_key_id=second.provider_key_id)
    assert first.provider_key_id not in await erase(
        database
    )  # the job is open, so its first send may still be found
    async with database.as_user(one.user_id) as conn:
        orphan = await record_orphan(conn, one.image.job_id, 1, handle(f"late-{one.image.job_id}"))
        assert orphan is not None
        await mark_submitted(conn, one.image.job_id, 2, handle(f"req-{one.image.job_id}"))
    await settle(database, one.image.job_id, one.user_id)
    await delete(database, one.user_id)
    async with database.as_user(one.user_id) as conn:
        await end(conn, one)

    erased = await erase(database)
    assert second.provider_key_id in erased
    assert first.provider_key_id not in erased
    await settle(database, orphan, one.user_id)
    assert first.provider_key_id in await erase(database)


async def test_key_of_an_uncommitted_intent_is_not_erased(
    database: Database,
) -> None:
    """A deletion waits for the intent that chose the key to commit, and then sees the job."""
    one = await accept(database, new_execution(await new_user(database)))
    key = await put(database, one.user_id)

    async def delete_and_erase() -> list[ProviderKeyId]:
        async with database.as_user(one.user_id) as conn:
            assert await delete_key(conn, one.user_id, "fal") == key.provider_key_id
            return await erase_unused(conn)

    async with database.as_user(one.user_id) as conn:
        chosen = await current_key(conn, one.user_id, "fal")
        assert chosen == key.provider_key_id
        deleting = asyncio.create_task(delete_and_erase())
        await asyncio.sleep(WAIT_SECONDS)
        assert not deleting.done()
        await begin_send(conn, one.image, 1, REQUEST, {}, provider_key_id=chosen)
    assert await deleting == []
    assert await opened(database, one.user_id, key.provider_key_id) == FIRST


async def test_intent_that_waits_for_a_replacement_gets_the_new_key(database: Database) -> None:
    """The service's key would charge the wrong account."""
    user_id = await new_user(database)
    await put(database, user_id)
    async with database.as_user(user_id) as conn:
        second = await put_key(conn, SEALER, user_id, "fal", SECOND)
        waiting = asyncio.create_task(current(database, user_id))
        await asyncio.sleep(WAIT_SECONDS)
        assert not waiting.done()
    assert await waiting == second.provider_key_id


async def test_intent_that_waits_for_a_deletion_gets_no_key(database: Database) -> None:
    user_id = await new_user(database)
    await put(database, user_id)
    async with database.as_user(user_id) as conn:
        await delete_key(conn, user_id, "fal")
        waiting = asyncio.create_task(current(database, user_id))
        await asyncio.sleep(WAIT_SECONDS)
        assert not waiting.done()
    assert await waiting is None
