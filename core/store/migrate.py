"""`python -m core.store.migrate`: bring the database to this version.

Run it as the owner role, before the processes of the new version start; repeating is safe. Each
file in core/store/migrations runs once, in order, in its own transaction; a file that ends in
.concurrent.sql has one statement for an index, which runs outside a transaction. A lock makes
concurrent runs wait for each other.
"""

import argparse
import asyncio
import re
import sys
from importlib.resources import files
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg

from core.platform.settings.load import describe_settings, load
from core.platform.settings.processes import MigrateProcess
from core.store.login import lasting_refusal

LOCK_KEY = 0x7A4B_0001
RUN_POLL_SECONDS: Final = 0.2
"""Between tries for the lock of concurrent runs. Waiting for it in PostgreSQL would keep a snapshot
open, for which a concurrent index waits: a deadlock.
"""
LOCK_TIMEOUT_SECONDS: Final = 2.0
"""How long a statement waits for a table. All writers of the table wait behind it meanwhile."""
LOCK_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 5.0, *(10.0,) * 10)
"""Before a migration is tried again that did not get its table in time."""
CONCURRENT: Final = ".concurrent.sql"
INDEX: Final = re.compile(r"\bINDEX CONCURRENTLY IF (?:NOT )?EXISTS (\w+)")
"""The statement of a concurrent file: it may be repeated, and names its index."""

Owner: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CREATE_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
GRANT_MIGRATIONS = "GRANT SELECT ON schema_migrations TO takeone_app, takeone_system"
LIST_APPLIED = "SELECT name FROM schema_migrations"
INSERT_APPLIED = "INSERT INTO schema_migrations (name) VALUES ($1)"
INDEX_IS_INVALID = """
SELECT EXISTS (
    SELECT FROM pg_index WHERE indexrelid = to_regclass(quote_ident($1)) AND NOT indisvalid
)
"""
ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)"


def migration_names() -> list[str]:
    """Return the names of all migrations in the order in which they run."""
    return sorted(
        entry.name
        for entry in files("core.store").joinpath("migrations").iterdir()
        if entry.name.endswith(".sql")
    )


async def migrate(owner_dsn: str, application_dsn: str | None = None) -> list[str]:
    """Run the pending migrations and return their names.

    With an application DSN, also create its login role and grant it the roles of the product. Safe
    to repeat and to run from several processes at once. Raises asyncpg errors; a failed migration
    is rolled back, and an index that a failed one left invalid is created again by the next run.
    """
    connection = await asyncpg.connect(owner_dsn)
    try:
        while not await connection.fetchval(TRY_LOCK, LOCK_KEY):  # noqa: ASYNC110 - nothing else reports its release
            await asyncio.sleep(RUN_POLL_SECONDS)
        await connection.execute(CREATE_MIGRATIONS)
        applied = {row["name"] for row in await connection.fetch(LIST_APPLIED)}
        pending = [name for name in migration_names() if name not in applied]
        for name in pending:
            sql = files("core.store").joinpath("migrations", name).read_text(encoding="utf-8")
            if name.endswith(CONCURRENT):
                await apply_concurrently(connection, name, sql)
            else:
                await apply_with_retries(connection, name, sql)
        await connection.execute(GRANT_MIGRATIONS)
        if application_dsn is not None:
            await _ensure_login(connection, owner_dsn, application_dsn)
        return pending
    finally:
        await connection.close()


async def apply_with_retries(connection: Owner, name: str, sql: str) -> None:
    """Run a migration in its transaction, again while its tables are locked for too long.

    Raises LockNotAvailableError after about two minutes.
    """
    for pause_seconds in (*LOCK_PAUSES_SECONDS, None):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
                await connection.execute(sql)
                await connection.execute(INSERT_APPLIED, name)
        except asyncpg.LockNotAvailableError:
            if pause_seconds is None:
                raise
            await asyncio.sleep(pause_seconds)
        else:
            return


async def apply_concurrently(connection: Owner, name: str, sql: str) -> None:
    """Run the statement of an index, which waits for open transactions and blocks no writer.

    An index that an interrupted run left invalid is dropped first. Raises ValueError for another
    statement.
    """
    index = INDEX.search(sql)
    if index is None:
        raise ValueError(f"{name}: must have one CREATE or DROP INDEX CONCURRENTLY IF (NOT) EXISTS")
    if await connection.fetchval(INDEX_IS_INVALID, index[1]):
        await connection.execute(f"DROP INDEX CONCURRENTLY {index[1]}")
    await connection.execute(sql)
    await connection.execute(INSERT_APPLIED, name)


async def _ensure_login(connection: Owner, owner_dsn: str, application_dsn: str) -> None:
    """Create the application's login role if it is missing, and grant it the two roles."""
    parts = urlsplit(application_dsn)
    login = _login(application_dsn)
    quoted = await connection.fetchval("SELECT quote_ident($1)", login)
    if not await connection.fetchval(ROLE_EXISTS, login):
        password = await connection.fetchval(
            "SELECT quote_literal($1)", unquote(parts.password or "")
        )
        await connection.execute(
            f"CREATE ROLE {quoted} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD {password}"
        )
    if login != _login(owner_dsn):
        await connection.execute(f"GRANT takeone_app, takeone_system TO {quoted}")


def _login(dsn: str) -> str:
    return unquote(urlsplit(dsn).username or "")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m core.store.migrate",
        description=__doc__,
        epilog=describe_settings(MigrateProcess),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    settings = load(MigrateProcess)
    owner_dsn, application_dsn = (
        settings.owner_url.get_secret_value(),
        settings.database_url.get_secret_value(),
    )
    if not _login(application_dsn):
        print("DATABASE_URL: must name a user before the @", file=sys.stderr)
        return 2
    if _login(owner_dsn) == _login(application_dsn):
        print(
            "DATABASE_OWNER_URL: must name another role than DATABASE_URL: the owner of the tables can switch row "
            "security off, so neither the API nor a worker would start",
            file=sys.stderr,
        )
        return 2
    try:
        names = asyncio.run(migrate(owner_dsn, application_dsn))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = lasting_refusal(error)
        if reason is not None:
            variable = "DATABASE_OWNER_URL" if settings.database_owner_url else "DATABASE_URL"
            print(f"{variable}: {reason}", file=sys.stderr)
            return 2
        print(f"The database could not be migrated: {error}", file=sys.stderr)
        return 1
    print(
        "\n".join(f"applied {name}" for name in names)
        or "nothing to do: the database is at this version"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
