"""Pooled connections: the state of one transaction does not leak into the next one."""

import asyncio

import asyncpg
import pytest

from core.domain.ids import UserId
from core.store.database import DATABASE_DOWN, Connection, Database, savepoint
from core.store.stalled import end_stalled_transactions
from tests.support.servers import FreshDatabase
from tests.support.stalled_session import message, stalled_session

PLANS = "SHOW plan_cache_mode"
CURRENT_USER_ID = "SELECT current_setting('takeone.user_id', true)"


class InterruptedWorkError(Exception):
    """An error in the middle of a transaction."""


async def _interrupted(database: Database) -> None:
    async with database.as_user(UserId("usr_two")) as conn:
        await conn.execute("SET LOCAL statement_timeout = '7s'")
        raise InterruptedWorkError


async def test_released_connection_keeps_no_user_role_or_setting(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        async with database.as_user(UserId("usr_one")) as conn:
            assert await conn.fetchval(CURRENT_USER_ID) == "usr_one"
            process = await conn.fetchval("SELECT pg_backend_pid()")
        with pytest.raises(InterruptedWorkError):
            await _interrupted(database)
        async with database.as_system() as conn:
            assert await conn.fetchval("SELECT pg_backend_pid()") == process
            assert not await conn.fetchval(CURRENT_USER_ID)
            assert await conn.fetchval("SELECT current_user") == "takeone_system"
        async with database.reading_as(UserId("usr_three")) as conn:
            assert await conn.fetchval("SELECT current_user") == "takeone_app"
            assert await conn.fetchval("SHOW statement_timeout") == "0"
            assert await conn.fetchval(CURRENT_USER_ID) == "usr_three"
        async with database.as_user(UserId("usr_four")) as conn:
            assert await conn.fetchval("SHOW transaction_read_only") == "off"


async def _stall(database: Database) -> None:
    async with database.as_user(UserId("usr_one")) as conn:
        await conn.execute("SELECT pg_advisory_xact_lock(1)")
        await asyncio.sleep(2.5)
        await conn.execute("SELECT 1")


@pytest.mark.guarantee("G1")
async def test_stalled_transaction_is_ended_and_releases_its_locks(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL closes its connection, so the stalled process sees an unavailable database."""
    monkeypatch.setattr("core.store.database.IDLE_TRANSACTION_SECONDS", 1)
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        stalled = asyncio.create_task(_stall(database))
        await asyncio.sleep(0.3)
        async with database.as_user(UserId("usr_two")) as conn:
            assert not await conn.fetchval("SELECT pg_try_advisory_xact_lock(1)"), (
                "the stalled transaction has no lock"
            )
            await conn.execute("SELECT pg_advisory_xact_lock(1)")
        assert not stalled.done()
        with pytest.raises(DATABASE_DOWN):
            await stalled
        async with database.as_user(UserId("usr_one")) as conn:
            assert await conn.fetchval("SELECT 1") == 1


@pytest.mark.guarantee("G1")
async def test_transaction_stalled_within_a_statement_is_ended(
    fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session is active, so the time-out for idle transactions does not apply."""
    dsn = fresh_database.application_dsn
    async with (
        stalled_session(dsn, "SELECT pg_advisory_xact_lock(1)") as messages,
        Database.open(dsn, max_connections=3) as database,
    ):
        await asyncio.sleep(1.5)  # beyond the time-out
        async with database.as_user(UserId("usr_two")) as conn:
            assert not await conn.fetchval("SELECT pg_try_advisory_xact_lock(1)")
        async with database.as_system() as conn:
            assert await end_stalled_transactions(conn) == 0
            monkeypatch.setattr("core.store.stalled.IDLE_TRANSACTION_SECONDS", 1)
            assert await end_stalled_transactions(conn) == 1
        async with database.as_user(UserId("usr_two")) as conn:
            await conn.execute("SELECT pg_advisory_xact_lock(1)")
        assert await message(messages) == b"E"


@pytest.mark.guarantee("G6")
@pytest.mark.parametrize(
    "user_id",
    [
        "usr_1', true); SET LOCAL ROLE takeone_system; SELECT set_config('takeone.user_id', '",
        "usr_1'",
        "usr_1\\",
        "usr_1\n",
        "usr_1 ",
        "usr_é",
        "usr_",
        "exec_1",
        "usr_" + "1" * 65,
    ],
)
async def test_transaction_of_a_malformed_user_id_is_refused(
    fresh_database: FreshDatabase, user_id: str
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        for transaction in (database.as_user, database.reading_as):
            with pytest.raises(ValueError, match="not a user id"):
                async with transaction(UserId(user_id)):
                    pytest.fail("a transaction was opened")


async def test_transaction_begins_and_sets_its_user_in_one_message(
    fresh_database: FreshDatabase,
) -> None:
    sent: list[str] = []
    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        async with database.without_transaction() as conn:
            conn.add_query_logger(lambda record: sent.append(record.query))
        async with database.as_user(UserId("usr_one")):
            pass
        async with database.as_system():
            pass
    assert sent == [
        "BEGIN; SELECT set_config('takeone.user_id', 'usr_one', true)",
        "COMMIT;",
        "BEGIN; SET LOCAL ROLE takeone_system",
        "COMMIT;",
    ]


async def _fail_within_a_savepoint(conn: Connection) -> None:
    async with savepoint(conn):
        await conn.execute("SET LOCAL statement_timeout = '8s'")
        await conn.execute("SELECT 1 / 0")


async def test_error_within_a_savepoint_withdraws_only_its_statements(
    fresh_database: FreshDatabase,
) -> None:
    async with (
        Database.open(fresh_database.application_dsn, max_connections=1) as database,
        database.as_user(UserId("usr_one")) as conn,
    ):
        await conn.execute("SET LOCAL statement_timeout = '7s'")
        with pytest.raises(asyncpg.DivisionByZeroError):
            await _fail_within_a_savepoint(conn)
        assert await conn.fetchval("SHOW statement_timeout") == "7s"
        async with savepoint(conn):
            await conn.execute("SET LOCAL statement_timeout = '9s'")
        assert await conn.fetchval("SHOW statement_timeout") == "9s"


async def _lose_the_connection(database: Database, owner_dsn: str) -> None:
    async with database.as_user(UserId("usr_one")) as conn:
        process: int = await conn.fetchval("SELECT pg_backend_pid()")
        owner = await asyncpg.connect(owner_dsn)
        await owner.execute("SELECT pg_terminate_backend($1, 5000)", process)
        await owner.close()
        raise InterruptedWorkError


async def test_transaction_reports_its_own_error_when_its_connection_is_lost(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        with pytest.raises(InterruptedWorkError):
            await _lose_the_connection(database, fresh_database.owner_dsn)
        async with database.as_user(UserId("usr_two")) as conn:
            assert await conn.fetchval(CURRENT_USER_ID) == "usr_two"


async def test_lists_are_planned_by_their_values_and_requests_are_not(
    fresh_database: FreshDatabase,
) -> None:
    user_id = UserId("usr_one")
    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        async with database.as_user(user_id) as conn:
            assert await conn.fetchval(PLANS) == "force_generic_plan"
        async with database.reading_as(user_id) as conn:
            assert await conn.fetchval(PLANS) == "auto"
        async with database.reading_all() as conn:
            assert await conn.fetchval(PLANS) == "auto"
        async with database.as_system() as conn:
            assert await conn.fetchval(PLANS) == "force_generic_plan"
    async with (
        Database.open(fresh_database.application_dsn, generic_plans=False) as database,
        database.as_system() as conn,
    ):
        assert await conn.fetchval(PLANS) == "auto"


@pytest.mark.parametrize("name", ["as_system", "reading_all"])
async def test_cancel_on_a_closed_connection_stays_a_cancel(
    fresh_database: FreshDatabase, name: str
) -> None:
    """Otherwise a loop that repeats after an outage would continue."""
    entered = asyncio.Event()

    async def wait_in_transaction(database: Database) -> None:
        async with getattr(database, name)() as conn:
            conn.terminate()
            entered.set()
            await asyncio.Event().wait()

    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        waiting = asyncio.create_task(wait_in_transaction(database))
        await entered.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with database.as_system() as conn:  # the pool still serves
            assert await conn.fetchval("SELECT 1") == 1
