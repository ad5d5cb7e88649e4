"""Assets: their order and their uniqueness."""

import asyncio

from core.domain.ids import AssetId
from core.domain.messages.jobs import JobRef
from core.domain.plans import StepKind
from core.store.database import Database
from core.store.files.assets import Asset, insert_asset, list_execution_assets
from tests.support.rows import accept, new_execution, new_user
from tests.support.servers import FreshDatabase


def asset(ref: JobRef, asset_id: str, number: int, kind: StepKind) -> Asset:
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
        await insert_asset(conn, asset(one.video, "asset_1", 0, StepKind.VIDEO))
        await insert_asset(conn, asset(one.image, "asset_2", 1, StepKind.IMAGE))
        await insert_asset(conn, asset(one.image, "asset_3", 0, StepKind.IMAGE))
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
                    conn, asset(one.image, f"asset_{number}", number, StepKind.IMAGE)
                )

        for number in range(100):
            await asyncio.gather(*(write(number) for _ in range(8)))
        async with database.as_user(one.user_id) as conn:
            assert len(await list_execution_assets(conn, one.execution_id)) == 100
