"""Migrations (first run, repeated, concurrent) and the privileges of the application's roles."""

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
import pytest

from core.store.database import Database
from core.store.migrate import (
    apply_concurrently,
    apply_with_retries,
    main,
    migrate,
    migration_names,
)
from tests.support.rows import accept, new_execution, new_user
from tests.support.servers import FreshDatabase, PostgresServer, new_database

Owners = list["asyncpg.Connection[asyncpg.Record]"]

pytestmark = pytest.mark.guarantee("G6")


@pytest.fixture
async def empty(postgres_server: PostgresServer) -> AsyncGenerator[FreshDatabase]:
    async with new_database(postgres_server) as created:
        yield created


def test_migrations_are_numbered_in_order() -> None:
    numbers = [int(name.partition("_")[0]) for name in migration_names()]
    assert numbers == sorted(set(numbers))


async def test_migrate_runs_all_migrations_once_and_then_none(
    empty: FreshDatabase,
) -> None:
    assert await migrate(empty.owner_dsn, empty.application_dsn) == migration_names() != []
    assert await migrate(empty.owner_dsn, empty.application_dsn) == []
    async with Database.open(empty.application_dsn) as database:
        await accept(database, new_execution(await new_user(database)))


async def test_concurrent_migrate_runs_each_migration_once(empty: FreshDatabase) -> None:
    done = await asyncio.gather(
        *(migrate(empty.owner_dsn, empty.application_dsn) for _ in range(3))
    )
    assert sorted(name for names in done for name in names) == migration_names()


@pytest.fixture
async def owners(
    empty: FreshDatabase,
) -> AsyncGenerator[Owners]:
    """Yield connections of the owner, and a table."""
    opened = [await asyncpg.connect(empty.owner_dsn) for _ in range(3)]
    migrating = opened[0]
    await migrating.execute("CREATE TABLE schema_migrations (name text PRIMARY KEY)")
    await migrating.execute("CREATE TABLE films (length int); INSERT INTO films VALUES (1), (1)")
    yield opened
    for owner in opened:
        await owner.close()


async def test_migration_of_a_locked_table_is_tried_again(
    owners: Owners, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrating, reading, watching = owners
    monkeypatch.setattr("core.store.migrate.LOCK_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("core.store.migrate.LOCK_PAUSES_SECONDS", (0.01,) * 10_000)
    transaction = reading.transaction()
    await transaction.start()
    await reading.execute("SELECT FROM films")
    change = "ALTER TABLE films ADD COLUMN title text"
    applying = asyncio.create_task(apply_with_retries(migrating, "1", change))
    waiting = "SELECT xact_start FROM pg_stat_activity WHERE wait_event = 'relation'"
    tries: set[object] = set()
    async with asyncio.timeout(30):  # a waiting change would stop every writer behind it
        while len(tries) < 3:
            tries |= {row["xact_start"] for row in await watching.fetch(waiting)}
    assert not applying.done()
    await transaction.rollback()
    async with asyncio.timeout(30):
        await applying
    assert await watching.fetchval("SELECT count(title) FROM films") == 0


async def test_concurrent_index_replaces_an_invalid_one(
    owners: Owners,
) -> None:
    migrating, *_ = owners
    create = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS films_length ON films (length)"
    with pytest.raises(asyncpg.UniqueViolationError):
        await apply_concurrently(migrating, "1", create)
    await migrating.execute("DELETE FROM films WHERE ctid = (SELECT min(ctid) FROM films)")
    await apply_concurrently(migrating, "1", create)
    is_valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'films_length'::regclass"
    assert await migrating.fetchval(is_valid)
    assert await migrating.fetchval("SELECT count(*) FROM schema_migrations") == 1
    with pytest.raises(ValueError, match="INDEX CONCURRENTLY"):
        await apply_concurrently(migrating, "2", "VACUUM films")


@pytest.mark.parametrize("owner_url", [None, "postgresql://takeone:other@localhost:6432/takeone"])
def test_migrate_as_the_application_role_is_refused(
    owner_url: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The role would own the tables, and every process refuses to start as their owner.

    The command connects to no database.
    """
    monkeypatch.setenv("DATABASE_URL", "postgresql://takeone:secret@localhost:1/takeone")
    if owner_url is not None:
        monkeypatch.setenv("DATABASE_OWNER_URL", owner_url)
    monkeypatch.setattr("sys.argv", ["migrate"])

    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("DATABASE_OWNER_URL: ")


async def test_application_roles_own_no_table_and_have_no_bypass(
    fresh_database: FreshDatabase,
) -> None:
    connection = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        rows = await connection.fetch(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole FROM pg_roles"
            " WHERE rolname IN ('takeone', 'takeone_app', 'takeone_system')"
        )
        owners = {
            row[0] for row in await connection.fetch("SELECT DISTINCT tableowner FROM pg_tables")
        }
    finally:
        await connection.close()
    assert {row["rolname"] for row in rows} == {"takeone", "takeone_app", "takeone_system"}
    assert not any(value for row in rows for value in list(row)[1:])
    assert not owners & {"takeone", "takeone_app", "takeone_system"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET amount_nano_usd = 0",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
        "DROP TABLE ledger_entries",
        "UPDATE audit_log SET actor = 'other'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
    ],
)
async def test_ledger_and_audit_log_are_append_only(
    fresh_database: FreshDatabase, statement: str
) -> None:
    async with Database.open(fresh_database.application_dsn) as database:
        user_id = await new_user(database)
        await accept(database, new_execution(user_id))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.as_user(user_id) as conn:
                await conn.execute(statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.as_system() as conn:
                await conn.execute(statement)
    login = await asyncpg.connect(fresh_database.application_dsn)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.execute(statement)
    finally:
        await login.close()
