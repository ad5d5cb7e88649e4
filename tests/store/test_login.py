"""A login that can bypass row security gets no connection, and no process starts with it."""

import asyncio
import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from core.store.accounts.api_key_format import new_api_key
from core.store.database import DATABASE_DOWN, Database
from core.store.login import UnsafeLoginError
from deploy.local.config import ROOT
from tests.api.conftest import api_settings, running_api
from tests.api.processes import api_environment
from tests.api.whole import check_refused
from tests.support.part_servers import PASSWORD
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

MAKE_LOGIN = (
    "CREATE ROLE {role} LOGIN NOINHERIT PASSWORD '"
    + PASSWORD
    + "'; GRANT takeone_app, takeone_system TO {role}"
)
UNSAFE_GRANTS = {
    "superuser": ("ALTER ROLE {role} SUPERUSER", "{role} is a superuser"),
    "bypassrls": ("ALTER ROLE {role} BYPASSRLS", "{role} has BYPASSRLS"),
    "owner": ("ALTER TABLE executions OWNER TO {role}", "{role} owns tables (executions)"),
    "member": (
        "CREATE ROLE {role}_of BYPASSRLS; GRANT {role}_of TO {role}",
        "{role}_of, which has BYPASSRLS",
    ),
    "owners member": (
        "CREATE ROLE {role}_of; CREATE ROLE {role}_between; ALTER TABLE jobs OWNER TO {role}_of;"
        "GRANT {role}_of TO {role}_between; GRANT {role}_between TO {role}",
        "{role}_of, which owns tables (jobs)",
    ),
}


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    async with new_database(postgres_server, template_database) as database:
        yield database


def _as(database: FreshDatabase, role: str) -> str:
    parts = urlsplit(database.application_dsn)
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}"))


@asynccontextmanager
async def _login(database: FreshDatabase, change: str) -> AsyncGenerator[str]:
    """Create a login like the application's, change it, and drop its roles at the end.

    Roles belong to the whole server, so they outlive the database.
    """
    role = f"login_{secrets.token_hex(4)}"
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        await owner.execute(MAKE_LOGIN.format(role=role))
        await owner.execute(change.format(role=role))
        yield role
    finally:
        for created in (role, f"{role}_between", f"{role}_of"):
            if await owner.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", created):
                await owner.execute(
                    f"REASSIGN OWNED BY {created} TO CURRENT_USER; "
                    f"DROP OWNED BY {created}; DROP ROLE {created}"
                )
        await owner.close()


@pytest.mark.parametrize("grant", UNSAFE_GRANTS)
async def test_login_that_can_read_all_rows_gets_no_connection(
    database: FreshDatabase, grant: str
) -> None:
    change, message = UNSAFE_GRANTS[grant]
    async with (
        _login(database, change) as role,
        Database.open(_as(database, role), max_connections=1) as unsafe,
    ):
        with pytest.raises(UnsafeLoginError) as refused:
            await unsafe.refuse_unsafe_login()
        assert message.format(role=role) in str(refused.value)
        for transaction in (unsafe.as_system, unsafe.reading_all):
            with pytest.raises(UnsafeLoginError):
                async with transaction():
                    pass
    assert "\n" not in str(refused.value)
    # A process that is already running then responds with 503.
    assert issubclass(UnsafeLoginError, DATABASE_DOWN)


async def test_login_created_by_the_migration_is_accepted(database: FreshDatabase) -> None:
    async with _login(database, "SELECT 1") as role:
        for dsn in (database.application_dsn, _as(database, role)):
            async with Database.open(dsn, max_connections=1) as safe:
                await safe.refuse_unsafe_login()
                async with safe.as_system() as conn:
                    assert await conn.fetchval("SELECT count(*) FROM users") == 0


async def test_role_that_a_transaction_sets_is_also_checked(database: FreshDatabase) -> None:
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        for role in ("takeone_app", "takeone_system"):
            await owner.execute(f"ALTER ROLE {role} BYPASSRLS")
            try:
                async with Database.open(database.application_dsn, max_connections=1) as unsafe:
                    with pytest.raises(UnsafeLoginError, match=f"{role}, which has BYPASSRLS"):
                        await unsafe.refuse_unsafe_login()
            finally:
                await owner.execute(f"ALTER ROLE {role} NOBYPASSRLS")
    finally:
        await owner.close()


async def test_unavailable_database_does_not_count_as_unsafe_login() -> None:
    async with Database.open(
        "postgresql://nobody@127.0.0.1:1/none", max_connections=1
    ) as unavailable:
        await unavailable.refuse_unsafe_login()


async def test_running_api_refuses_requests_after_detecting_an_unsafe_login(
    database: FreshDatabase,
) -> None:
    """PostgreSQL was unavailable when the process checked its login at the start."""
    as_owner = replace(database, application_dsn=database.owner_dsn)
    async with running_api(api_settings(as_owner, "127.0.0.1:9")) as api:
        for path in ("/readyz", "/api/executions"):
            response = await api.http.get(
                path, headers={"Authorization": f"Bearer {new_api_key().text}"}
            )
            check_refused(response)


@pytest.mark.parametrize("program", ["-m api", "worker.py"])
async def test_process_does_not_start_as_the_owner(database: FreshDatabase, program: str) -> None:
    """It reports the reason in one line and exits before it connects to other services."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program.split(),
        cwd=ROOT,
        env=api_environment(database.owner_dsn, "127.0.0.1:9", API_PORT="0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()

    assert process.returncode == 2, err
    (line,) = [line for line in err.decode().splitlines() if not line.startswith("{")]
    assert line.startswith("DATABASE_URL: ")
    assert "postgres is a superuser" in line
    assert database.owner_dsn not in line
    assert b"listening" not in err
