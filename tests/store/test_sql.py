"""Every SQL constant of the store and the command line is valid, and row security applies."""

import importlib
import pkgutil
from collections.abc import Iterator

import asyncpg
import pytest

import cli
import core.store
from core.domain.ids import UserId
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import UserLimits, insert_user
from core.store.database import APP_ROLE, Connection, Database
from tests.support.servers import FreshDatabase

_VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


def _constants() -> Iterator[tuple[str, str]]:
    for module_info in (
        *pkgutil.walk_packages(core.store.__path__, "core.store."),
        *pkgutil.walk_packages(cli.__path__, "cli."),
    ):
        module = importlib.import_module(module_info.name)
        for name, value in vars(module).items():
            if (
                name.isupper()
                and isinstance(value, str)
                and value.split(maxsplit=1)[:1] in ([v] for v in _VERBS)
            ):
                yield f"{module_info.name}.{name}", value


CONSTANTS = dict(_constants())


def test_sql_constants_of_all_files_are_collected() -> None:
    files = {name.rpartition(".")[0].rpartition(".")[2] for name in CONSTANTS}

    assert {"users", "executions", "jobs", "charges", "callbacks", "status"} <= files
    assert len(CONSTANTS) > 50


async def test_every_sql_constant_can_be_prepared(fresh_database: FreshDatabase) -> None:
    connection = await asyncpg.connect(fresh_database.owner_dsn)
    broken: dict[str, str] = {}
    try:
        for name, sql in CONSTANTS.items():
            try:
                await connection.prepare(sql)
            except asyncpg.PostgresError as error:
                broken[name] = str(error)
    finally:
        await connection.close()
    assert broken == {}


async def test_rows_of_another_user_cannot_be_read_or_changed(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn) as database:
        async with database.as_system() as conn:
            none = UserLimits(monthly_videos=None, monthly_nano_usd=None)
            ours, theirs = [
                await insert_user(conn, Sealer([bytes(32)]), name, none) for name in ("Ada", "Bob")
            ]
        async with database.as_user(ours.user_id) as conn:
            await _insert_execution(conn, "exec_1", ours.user_id)
        for transaction in (database.as_user, database.reading_as):
            async with transaction(theirs.user_id) as conn:
                assert await conn.fetchval("SELECT count(*) FROM executions") == 0
                assert await conn.fetchval("SELECT count(*) FROM users") == 1
        async with database.as_user(theirs.user_id) as conn:
            assert await conn.execute("UPDATE executions SET progress = 50") == "UPDATE 0"
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with database.as_user(theirs.user_id) as conn:
                await _insert_execution(conn, "exec_2", ours.user_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="api_keys"):
            async with database.as_user(ours.user_id) as conn:
                await conn.fetch("SELECT * FROM api_keys")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with database.reading_as(ours.user_id) as conn:
                await conn.execute("UPDATE executions SET progress = 50")
        async with database.as_system() as conn:
            assert await conn.fetchval("SELECT count(*) FROM executions") == 1


async def test_transaction_without_a_user_sees_no_rows(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=1) as database:
        async with database.as_system() as conn:
            limits = UserLimits(monthly_videos=None, monthly_nano_usd=None)
            user = await insert_user(conn, Sealer([bytes(32)]), "Ada", limits)
        async with database.as_user(user.user_id) as conn:
            assert await conn.fetchval("SELECT count(*) FROM users") == 1
            assert await conn.fetchval("SELECT current_user") == APP_ROLE
        # The same pooled connection: the previous user is no longer set.
        async with database.as_user(UserId("")) as conn:
            assert await conn.fetchval("SELECT count(*) FROM users") == 0


async def _insert_execution(conn: Connection, execution_id: str, user_id: str) -> None:
    await conn.execute(
        """
        INSERT INTO executions (execution_id, user_id, type, status, plan, request, estimated_nano_usd, deadline_at)
        VALUES ($1, $2, 'generate-video', 'queued', '{}', '{}', 0, now())
        """,
        execution_id,
        user_id,
    )
