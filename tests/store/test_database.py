"""One connection, many users: nothing of one is left for the next."""

import asyncio

import pytest

from core.domain.ids import UserId
from core.store.database import DATABASE_DOWN, Database
from tests.support.servers import FreshDatabase

WHO = "SELECT current_setting('takeone.user_id', true)"


class InterruptedWorkError(Exception):
    """What an activity may raise in the middle."""


async def _interrupted(database: Database) -> None:
    async with database.as_user(UserId("usr_two")) as conn:
        await conn.execute("SET LOCAL statement_timeout = '7s'")
        raise InterruptedWorkError


async def test_connection_given_back_forgets_its_user_and_its_role(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        async with database.as_user(UserId("usr_one")) as conn:
            assert await conn.fetchval(WHO) == "usr_one"
            process = await conn.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(InterruptedWorkError):
            await _interrupted(database)
        async with database.as_system() as conn:
            assert await conn.fetchval("SELECT pg_backend_pid()") == process
            assert not await conn.fetchval(WHO)
            assert await conn.fetchval("SELECT current_user") == "takeone_system"
        async with database.reading_as(UserId("usr_three")) as conn:
            assert await conn.fetchval("SELECT current_user") == "takeone_app"
            assert await conn.fetchval("SHOW statement_timeout") == "0"
            assert await conn.fetchval(WHO) == "usr_three"
        async with database.as_user(UserId("usr_four")) as conn:
            assert await conn.fetchval("SHOW transaction_read_only") == "off"


async def _stood_still(database: Database) -> None:
    async with database.as_user(UserId("usr_one")) as conn:
        await conn.execute("SELECT pg_advisory_xact_lock(1)")
        await asyncio.sleep(2.5)
        await conn.execute("SELECT 1")


@pytest.mark.guarantee("G1")
async def test_transaction_that_stands_still_keeps_nobody_waiting(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a worker that is stopped within it. For itself, the database went away."""
    monkeypatch.setattr("core.store.database.IDLE_TRANSACTION_SECONDS", 1)
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        still = asyncio.create_task(_stood_still(database))
        await asyncio.sleep(0.3)
        async with database.as_user(UserId("usr_two")) as conn:
            assert not await conn.fetchval("SELECT pg_try_advisory_xact_lock(1)"), "it had no lock"
            await conn.execute("SELECT pg_advisory_xact_lock(1)")
        assert not still.done()
        with pytest.raises(DATABASE_DOWN):
            await still
        async with database.as_user(UserId("usr_one")) as conn:
            assert await conn.fetchval("SELECT 1") == 1
