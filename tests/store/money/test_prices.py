"""The quoted price of a job: stored with its charge and never changed."""

from typing import Any

import asyncpg
import pytest

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.prices import price_from_json
from core.store.database import Database
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import begin_send, get_send
from core.store.recovery.start_memo import Rebuilt, get_accepted, rebuild
from core.store.recovery.start_memo import StartMemo as RecoveredExecution
from tests.support.rows import MEGAPIXEL, VIDEO_SECOND, accept, new_execution, new_user
from tests.support.servers import FreshDatabase


async def kept(database: Database, ref: JobRef) -> Any:
    async with database.as_user(ref.user_id) as conn:
        price: Any = await conn.fetchval("SELECT price FROM charges WHERE job_id = $1", ref.job_id)
    return price


async def test_price_of_a_job_is_read_with_its_send(fresh_database: FreshDatabase) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))
        assert price_from_json(await kept(database, one.image)) == MEGAPIXEL
        assert price_from_json(await kept(database, one.video)) == VIDEO_SECOND
        async with database.as_user(one.user_id) as conn:
            await begin_send(conn, one.image, 1, {"model": "m"}, {"prompt": "x"})
            send = await get_send(conn, one.image.job_id, 1)
        assert price_from_json(send.price) == MEGAPIXEL


async def test_price_of_an_orphan_is_that_of_its_job(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))
        handle = ProviderHandle(provider="fal", model="m", provider_job_id=ProviderJobId("late"))
        async with database.as_system() as conn:
            await begin_send(conn, one.image, 1, {"model": "m"}, {"prompt": "x"})
            orphan = await record_orphan(conn, one.image.job_id, 1, handle)
            assert orphan is not None
            assert price_from_json((await get_send(conn, orphan, 1)).price) == MEGAPIXEL


async def test_price_is_restored_with_a_rebuilt_database(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))
        async with database.as_system() as conn:
            document = (await get_accepted(conn, one.execution_id)).document
        assert document is not None
        owner = await asyncpg.connect(fresh_database.owner_dsn)
        try:
            await owner.execute("TRUNCATE executions, execution_events, budgets CASCADE")
        finally:
            await owner.close()
        assert await kept(database, one.image) is None
        async with database.as_system() as conn:
            assert await rebuild(conn, RecoveredExecution(document=document)) is Rebuilt.MADE
        assert price_from_json(await kept(database, one.image)) == MEGAPIXEL
        assert price_from_json(await kept(database, one.video)) == VIDEO_SECOND


async def test_price_is_never_rewritten(fresh_database: FreshDatabase) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))
        for opened in (database.as_user(one.user_id), database.as_system()):
            with pytest.raises(asyncpg.RaiseError, match="cannot change"):
                async with opened as conn:
                    await conn.execute(
                        "UPDATE charges SET price = '{}' WHERE job_id = $1", one.image.job_id
                    )
        assert price_from_json(await kept(database, one.image)) == MEGAPIXEL


async def test_charge_without_a_price_is_not_written(fresh_database: FreshDatabase) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))
        with pytest.raises(asyncpg.NotNullViolationError):
            async with database.as_system() as conn:
                await conn.execute(
                    "INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd,"
                    " budget_month) SELECT 'chg_x', job_id, execution_id, user_id, provider, model, 0, budget_month"
                    " FROM charges WHERE job_id = $1",
                    one.image.job_id,
                )
