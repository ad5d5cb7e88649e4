"""`python -m core.store.migrate`: bring the database to this version.

Run it as the owner role; repeating is safe. Each file in core/store/migrations runs once, in order,
in its own transaction. A lock makes concurrent runs wait for each other.
"""

import argparse
import asyncio
import sys
from importlib.resources import files
from urllib.parse import unquote, urlsplit

import asyncpg

from core.platform.settings.load import describe_settings, load
from core.platform.settings.processes import MigrateProcess
from core.store.login import lasting_refusal

LOCK_KEY = 0x7A4B_0001
LOCK_TIMEOUT = "10s"

CREATE_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""
GRANT_MIGRATIONS = "GRANT SELECT ON schema_migrations TO takeone_app, takeone_system"
LIST_APPLIED = "SELECT name FROM schema_migrations"
INSERT_APPLIED = "INSERT INTO schema_migrations (name) VALUES ($1)"
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
    is rolled back.
    """
    connection = await asyncpg.connect(owner_dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await connection.execute(CREATE_MIGRATIONS)
        applied = {row["name"] for row in await connection.fetch(LIST_APPLIED)}
        pending = [name for name in migration_names() if name not in applied]
        for name in pending:
            sql = files("core.store").joinpath("migrations", name).read_text(encoding="utf-8")
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.execute(sql)
                await connection.execute(INSERT_APPLIED, name)
        await connection.execute(GRANT_MIGRATIONS)
        if application_dsn is not None:
            await _ensure_login(connection, owner_dsn, application_dsn)
        return pending
    finally:
        await connection.close()


async def _ensure_login(
    connection: "asyncpg.Connection[asyncpg.Record]", owner_dsn: str, application_dsn: str
) -> None:
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
