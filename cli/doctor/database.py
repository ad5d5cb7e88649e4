"""Checks of PostgreSQL: login, roles, migrations, durability, encryption keys, restore marker."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from cli.doctor.backup import check_marker
from cli.doctor.finding import Finding, fail, ok, warn
from core.platform.crypto.sealing import Sealer
from core.platform.settings.processes import WorkerProcess
from core.platform.settings.stores import DatabaseSettings
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.login import UnsafeLoginError, lasting_refusal
from core.store.migrate import LIST_APPLIED, migration_names
from core.store.secrets.rotation import count_secrets

READ_SERVER = """
SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('max_connections')::int AS max_connections, pg_is_in_recovery() AS is_standby
"""
OTHER_CONNECTIONS = 2
"""Of each process, in addition to its pool: LISTEN and the reconciler's lease."""
MIGRATE = "run python -m core.store.migrate with DATABASE_OWNER_URL"


@asynccontextmanager
async def open_database(settings: DatabaseSettings) -> AsyncGenerator[Database]:
    url = settings.database_url.get_secret_value()
    async with Database.open(url, max_connections=1, generic_plans=False) as database:
        yield database


async def check_database(settings: WorkerProcess) -> list[Finding]:
    """Check that the application role can work here, and only as it should."""
    try:
        async with open_database(settings) as database:
            async with database.as_system() as conn:
                findings = [
                    ok("database.login", "the login is bound by row security"),
                    await _check_migrations(conn),
                    *await _check_server(conn, settings),
                ]
            return [
                *findings,
                await _check_keys(database, settings),
                await check_marker(database, settings),
            ]
    except (asyncpg.PostgresError, *DATABASE_DOWN) as error:
        return [_unusable(error)]


def _unusable(error: Exception) -> Finding:
    if isinstance(error, UnsafeLoginError):
        action = "set DATABASE_URL to the application's role, and DATABASE_OWNER_URL to the owner's"
        return fail("database.login", str(error), action)
    if isinstance(error, asyncpg.InvalidParameterValueError | asyncpg.InsufficientPrivilegeError):
        return fail(
            "database.roles", f"the login cannot take the roles of the product: {error}", MIGRATE
        )
    if isinstance(error, asyncpg.UndefinedTableError):
        return fail("database.migrations", "the database has no tables yet", MIGRATE)
    if (reason := lasting_refusal(error)) is not None:
        return fail("database.login", reason, "correct DATABASE_URL")
    text = f"the database is unreachable: {error or type(error).__name__}"
    return fail("database.login", text, "start PostgreSQL, or correct DATABASE_URL")


async def _check_migrations(conn: Connection) -> Finding:
    check, expected = "database.migrations", migration_names()
    applied = {row["name"] for row in await conn.fetch(LIST_APPLIED)}
    if missing := [name for name in expected if name not in applied]:
        return fail(check, f"{len(missing)} migrations are missing, first {missing[0]}", MIGRATE)
    if newer := sorted(applied.difference(expected)):
        text = f"the database has migrations of a later version: {', '.join(newer)}"
        return warn(check, text, "run the release that the database was migrated for")
    return ok(check, f"all {len(expected)} migrations are applied")


async def _check_server(conn: Connection, settings: WorkerProcess) -> list[Finding]:
    server = await conn.fetchrow(READ_SERVER)
    assert server is not None  # noqa: S101 - a SELECT without FROM
    needed = settings.database_pool_size + OTHER_CONNECTIONS
    processes = server["max_connections"] // needed
    connections = ok(
        "database.connections",
        f"max_connections {server['max_connections']} is enough for {processes} processes",
    )
    if processes < 2:
        connections = warn(
            "database.connections",
            f"a process needs up to {needed} connections, max_connections is {server['max_connections']}",
            "raise max_connections, or lower DATABASE_POOL_SIZE",
        )
    return [_check_durability(server), connections]


def _check_durability(server: asyncpg.Record) -> Finding:
    check = "database.durability"
    if server["is_standby"]:
        return fail(check, "this server is a standby", "set DATABASE_URL to the primary server")
    names = ("fsync", "full_page_writes", "synchronous_commit")
    if off := [name for name in names if server[name] == "off"]:
        text = f"{', '.join(off)} off: a power cut can lose a committed intent, and pay it again"
        return fail(check, text, f"set {off[0]} = on in postgresql.conf")
    return ok(check, "a commit survives a power cut")


async def _check_keys(database: Database, settings: WorkerProcess) -> Finding:
    check = "database.encryption_keys"
    sealer = Sealer(settings.encryption_key_bytes())
    counts = await count_secrets(database)
    lost = sum(each.number for each in counts if each.key_id not in sealer.key_ids)
    if lost:
        return fail(
            check,
            f"{lost} secrets are sealed with a key that ENCRYPTION_KEYS does not have",
            "add the earlier key to ENCRYPTION_KEYS, after the new one",
        )
    old = sum(each.number for each in counts if each.key_id != sealer.newest_id)
    if old:
        text = f"{old} secrets are still sealed with an earlier key"
        return warn(check, text, "run takeone-admin secrets rotate")
    return ok(check, f"ENCRYPTION_KEYS opens all {sum(each.number for each in counts)} secrets")
