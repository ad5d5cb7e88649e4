"""Connections and transactions. One transaction per request or activity, opened at the edge; nobody below commits."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from contracts.ids import UserId

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

APP_ROLE = "takeone_app"
COMMAND_TIMEOUT_SECONDS = 10.0
SET_USER = "SELECT set_config('takeone.user_id', $1, true)"
SET_SYSTEM = "SET LOCAL ROLE takeone_system"


async def _prepare_connection(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


class Database:
    """The pool of a process. Every transaction says whose rows it may touch; the server holds it to that."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", dsn: str) -> None:
        self._pool = pool
        self._dsn = dsn

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, max_connections: int = 20) -> AsyncIterator["Database"]:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=max_connections,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={"role": APP_ROLE, "application_name": "takeone"},
            init=_prepare_connection,
        )
        try:
            yield cls(pool, dsn)
        finally:
            pool.terminate()

    @asynccontextmanager
    async def as_user(self, user_id: UserId) -> AsyncIterator[Connection]:
        """A transaction that sees and touches this user's rows alone."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SET_USER, user_id)
            yield connection

    @asynccontextmanager
    async def as_system(self) -> AsyncIterator[Connection]:
        """A transaction that sees all users: authentication, callbacks, the sweep, administration; nothing else."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SET_SYSTEM)
            yield connection

    @asynccontextmanager
    async def listening_connection(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection of its own, outside the pool, for LISTEN and for advisory locks held over many transactions."""
        connection = await asyncpg.connect(
            self._dsn, server_settings={"role": APP_ROLE, "application_name": "takeone-listen"}
        )
        try:
            yield connection
        finally:
            connection.terminate()
