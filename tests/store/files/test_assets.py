"""Assets: their order and their uniqueness."""

import asyncio

import asyncpg

from core.domain.ids import AssetId
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobRef
from core.store.database import Database
from core.store.executions.deletion import erase_execution, get_receipt, lock_deletable
from core.store.files.assets import Asset, insert_asset, list_execution_assets
from tests.support.rows import accept, new_execution, new_user
from tests.support.servers import FreshDatabase


def asset(ref: JobRef, asset_id: str, number: int, kind: MediaKind) -> Asset:
    return Asset(
        asset_id=AssetId(asset_id),
        job_id=ref.job_id,
        output_number=number,
        execution_id=ref.execution_id,
        user_id=ref.user_id,
        kind=kind,
        object_key=f"{asset_id}.bin",
        size_bytes=1,
        sha256="0" * 64,
        content_type="image/png",
    )


async def test_assets_are_listed_in_plan_order(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        await listed_in_order(database)


async def listed_in_order(database: Database) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    async with database.as_user(one.user_id) as conn:
        await insert_asset(conn, asset(one.video, "asset_1", 0, MediaKind.VIDEO))
        await insert_asset(conn, asset(one.image, "asset_2", 1, MediaKind.IMAGE))
        await insert_asset(conn, asset(one.image, "asset_3", 0, MediaKind.IMAGE))
        listed = await list_execution_assets(conn, one.execution_id)
    assert [(item.step, item.asset.asset_id) for item in listed] == [
        ("image", "asset_3"),
        ("image", "asset_2"),
        ("video", "asset_1"),
    ]


async def test_concurrent_inserts_of_an_output_create_one_row(
    fresh_database: FreshDatabase,
) -> None:
    """A concurrent insert may collide on any of three unique keys; 100 rounds reach all of them."""
    async with Database.open(fresh_database.application_dsn, max_connections=8) as database:
        one = await accept(database, new_execution(await new_user(database)))

        async def write(number: int) -> None:
            async with database.as_user(one.user_id) as conn:
                await insert_asset(
                    conn, asset(one.image, f"asset_{number}", number, MediaKind.IMAGE)
                )

        for number in range(100):
            await asyncio.gather(*(write(number) for _ in range(8)))
        async with database.as_user(one.user_id) as conn:
            assert len(await list_execution_assets(conn, one.execution_id)) == 100


async def test_file_stored_during_a_deletion_is_queued_for_deletion(
    fresh_database: FreshDatabase,
) -> None:
    """The insert waits for the deletion that has not committed yet."""
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))

        async def write() -> bool:
            async with database.as_user(one.user_id) as conn:
                return await insert_asset(conn, asset(one.image, "asset_1", 0, MediaKind.IMAGE))

        async with database.as_user(one.user_id) as conn:
            await lock_deletable(conn, one.user_id, one.execution_id)
            writing = asyncio.create_task(write())
            await until_blocked(fresh_database)
            await erase_execution(conn, one.user_id, one.execution_id)
        assert await writing is False
        async with database.as_user(one.user_id) as conn:
            assert await list_execution_assets(conn, one.execution_id) == []
            assert (await get_receipt(conn, one.user_id, one.execution_id)).files_pending == 1


async def until_blocked(database: FreshDatabase) -> None:
    """Wait until a connection waits for a lock."""
    conn = await asyncpg.connect(database.owner_dsn)
    try:
        while not await conn.fetchval(  # noqa: ASYNC110 - PostgreSQL sets no event
            "SELECT EXISTS (SELECT FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock')"
        ):
            await asyncio.sleep(0.02)
    finally:
        await conn.close()
