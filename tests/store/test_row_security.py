"""Row security of every table in the catalogue, so that a new table without it fails here."""

import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

import asyncpg
import pytest

from core.domain.ids import UserId
from core.store.database import Connection, Database
from tests.support.rows import new_user
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

OWN_ROWS = "(user_id = current_setting('takeone.user_id'::text, true))"
SHARED_TABLES = {
    "schema_migrations": "which migrations have run",
    "daily_spending": "counters over all users",
    "service_limits": "one row for the service",
    "submit_pauses": "pauses of paid calls",
    "provider_states": "circuit breakers of providers",
    "provider_queues": "work that waits for providers",
    "model_durations": "how long each model's jobs take",
    "job_durations": "how long each model's jobs take, as quantiles",
}
"""Tables that takeone_app may read completely, because no row of them belongs to a user."""

LIST_TABLES = """
SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS row_secured,
       EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'user_id') AS of_users,
       has_any_column_privilege('takeone_app', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
           OR has_table_privilege('takeone_app', c.oid, 'DELETE, TRUNCATE, TRIGGER') AS for_app,
       has_table_privilege('takeone_app', c.oid, 'INSERT') AS app_inserts,
       has_any_column_privilege('takeone_app', c.oid, 'SELECT') AS app_selects
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
ORDER BY 1
"""
LIST_POLICIES = """
SELECT tablename, policyname, permissive, roles::text[] AS roles, cmd, qual, with_check FROM pg_policies
WHERE roles && ARRAY['takeone_app', 'public']::name[]
"""
LIST_DEFINER_OBJECTS = """
SELECT 'function ' || proname AS name FROM pg_proc
WHERE prosecdef AND pronamespace = 'public'::regnamespace
UNION ALL
SELECT 'view ' || relname FROM pg_class
WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
    AND NOT coalesce(reloptions @> ARRAY['security_invoker=true'], false)
"""
LIST_COLUMNS = """
SELECT column_name AS name, data_type AS type FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = $1 AND is_nullable = 'NO' AND column_default IS NULL
    AND is_identity = 'NO' AND column_name <> 'user_id'
"""
OF_TYPE: Mapping[str, str] = {
    "text": "'{token}'",
    "integer": "1",
    "bigint": "1",
    "json": "'{{}}'",
    "jsonb": "'{{}}'",
    "bytea": "''",
    "boolean": "true",
    "date": "now()",
    "uuid": "gen_random_uuid()",
    "timestamp with time zone": "now()",
    "ARRAY": "'{{}}'",
}
CHECKED: Mapping[str, str] = {
    "status": "'queued'",
    "kind": "'held'",
    "secrets.kind": "'provider_key/fal'",
    "measure": "'usd'",
    "class": "'reads'",
    "period": "'day'",
    "budget_month": "'2026-01-01'",
    "execution_events.type": "'job'",
    "stream_tickets.ticket_sha256": "'{token}'",
    "console_tickets.ticket_sha256": "'{token}'",
}
"""Values of columns with a CHECK constraint."""
CREATED_WITH_USER = ("users", "secrets")
"""Tables in which creating a user inserts a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    name: str
    row_secured: bool
    of_users: bool
    for_app: bool
    app_inserts: bool
    app_selects: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenants:
    """Two users, each with a row in every table that has a user_id."""

    database: Database
    owner: "asyncpg.Connection[asyncpg.Record]"
    tables: tuple[Table, ...]
    ada: UserId
    bob: UserId

    @property
    def of_users(self) -> tuple[Table, ...]:
        return tuple(table for table in self.tables if table.of_users)


@pytest.fixture(scope="module")
async def tenants(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Tenants]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn) as database,
    ):
        owner = await asyncpg.connect(fresh.owner_dsn)
        tables = tuple(Table(**dict(row)) for row in await owner.fetch(LIST_TABLES))
        ada, bob = await new_user(database), await new_user(database)
        # Without foreign keys, so that a row can refer to a row that does not exist.
        await owner.execute("SET session_replication_role = replica")
        for table in tables:
            for user_id in (ada, bob):
                if table.of_users and table.name not in CREATED_WITH_USER:
                    await owner.execute(await _insert(owner, table.name), user_id)
        yield Tenants(database=database, owner=owner, tables=tables, ada=ada, bob=bob)
        await owner.close()


async def _insert(conn: Connection, table: str) -> str:
    """Return an INSERT of one row for user $1, with any values that its columns accept."""
    columns = {row["name"]: row["type"] for row in await conn.fetch(LIST_COLUMNS, table)}
    values = {
        name: CHECKED.get(f"{table}.{name}", CHECKED.get(name, OF_TYPE[kind])).format(
            token=secrets.token_hex(6)
        )
        for name, kind in columns.items()
    }
    return f"INSERT INTO {table} ({', '.join(['user_id', *values])}) VALUES ({', '.join(['$1', *values.values()])})"


async def _seen(conn: Connection, table: Table) -> list[str]:
    return [row["user_id"] for row in await conn.fetch(f"SELECT user_id FROM {table.name}")]


async def test_every_table_has_row_security_or_is_listed_as_shared(tenants: Tenants) -> None:
    assert len(tenants.of_users) >= 17
    assert [table.name for table in tenants.of_users if not table.row_secured] == []
    others = {table.name for table in tenants.tables if not table.of_users}
    open_to_users = {table.name for table in tenants.tables if table.for_app and not table.of_users}
    assert open_to_users <= set(SHARED_TABLES), "add a user_id and row security"
    assert set(SHARED_TABLES) <= others, "listed as shared, but does not exist"


async def test_every_table_with_users_has_one_policy_for_requests(tenants: Tenants) -> None:
    """A table without the policy grants requests no privilege, not even on one column."""
    policies = [dict(row) for row in await tenants.owner.fetch(LIST_POLICIES)]
    for table in tenants.of_users:
        mine = [policy for policy in policies if policy["tablename"] == table.name]
        if not table.for_app and not mine:
            continue
        assert mine == [
            {
                "tablename": table.name,
                "policyname": "own_rows",
                "permissive": "PERMISSIVE",
                "roles": ["takeone_app"],
                "cmd": "ALL",
                "qual": OWN_ROWS,
                "with_check": None,  # PostgreSQL then applies `qual`
            }
        ], table.name
    assert {policy["tablename"] for policy in policies} <= {
        table.name for table in tenants.of_users
    }


async def test_no_function_or_view_runs_with_its_owners_rights(tenants: Tenants) -> None:
    """Row security would not apply inside such a function or view."""
    assert [row["name"] for row in await tenants.owner.fetch(LIST_DEFINER_OBJECTS)] == []


async def test_connection_without_a_user_sees_no_row_of_any_table(tenants: Tenants) -> None:
    for table in tenants.of_users:
        assert sorted(await _seen(tenants.owner, table)) == sorted((tenants.ada, tenants.bob)), (
            table.name
        )
        if not table.app_selects:
            continue
        async with tenants.database.without_transaction() as conn:
            assert await conn.fetchval("SELECT current_user") == "takeone_app"
            assert await _seen(conn, table) == [], table.name
        async with tenants.database.as_user(UserId("")) as conn:
            assert await _seen(conn, table) == [], table.name


async def test_user_reads_and_changes_only_own_rows_in_every_table(tenants: Tenants) -> None:
    for table in tenants.of_users:
        for transaction in (tenants.database.as_user, tenants.database.reading_as):
            if table.app_selects:
                async with transaction(tenants.ada) as conn:
                    assert await _seen(conn, table) == [tenants.ada], table.name
        for statement in (
            f"UPDATE {table.name} SET user_id = $1 WHERE user_id = $1",
            f"DELETE FROM {table.name} WHERE user_id = $1",
        ):
            try:
                async with tenants.database.as_user(tenants.ada) as conn:
                    assert (await conn.execute(statement, tenants.bob)).endswith(" 0"), statement
            except asyncpg.InsufficientPrivilegeError:
                pass  # requests have no such privilege on this table
        assert sorted(await _seen(tenants.owner, table)) == sorted((tenants.ada, tenants.bob)), (
            table.name
        )


async def test_user_cannot_write_rows_of_another_user_in_any_table(tenants: Tenants) -> None:
    for table in tenants.of_users:
        refusal = "row-level security" if table.app_inserts else "permission denied"
        insert = await _insert(tenants.owner, table.name)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match=refusal):
            async with tenants.database.as_user(tenants.ada) as conn:
                await conn.execute(insert, tenants.bob)
        change_owner = f"UPDATE {table.name} SET user_id = $1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenants.database.as_user(tenants.ada) as conn:
                await conn.execute(change_owner, tenants.bob)
        assert sorted(await _seen(tenants.owner, table)) == sorted((tenants.ada, tenants.bob)), (
            table.name
        )


async def test_system_role_needs_policies_of_its_own(fresh_database: FreshDatabase) -> None:
    """It has no BYPASSRLS: without its policy it sees no row."""
    async with Database.open(fresh_database.application_dsn) as database:
        await new_user(database)
        owner = await asyncpg.connect(fresh_database.owner_dsn)
        await owner.execute("DROP POLICY all_rows ON users")
        await owner.close()
        async with database.as_system() as conn:
            assert await conn.fetchval("SELECT count(*) FROM users") == 0
