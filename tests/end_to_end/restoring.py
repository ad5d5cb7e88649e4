"""A backup of the product's database, and its restore under a running stack: by copies on the same
server.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import asyncpg

from deploy.local.servers.postgres import superuser_dsn
from deploy.local.stack import Stack

THROW_OUT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1"
DATABASE, BACKUP = "postgres", "backup"


@asynccontextmanager
async def _alone(stack: Stack) -> "AsyncGenerator[asyncpg.Connection[asyncpg.Record]]":
    """Everybody is thrown out of the database, and kept out."""
    dsn = superuser_dsn(stack.config.ports.postgres, stack.keys.postgres_password, "template1")
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false")
        while await connection.fetchval(THROW_OUT, DATABASE):  # noqa: ASYNC110 - other processes, no event
            await asyncio.sleep(0.05)
        yield connection
    finally:
        await connection.execute(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")
        await connection.close()


async def back_up(stack: Stack) -> None:
    async with _alone(stack) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {BACKUP}")
        await connection.execute(f"CREATE DATABASE {BACKUP} TEMPLATE {DATABASE}")


async def restore(stack: Stack) -> None:
    async with _alone(stack) as connection:
        await connection.execute(f"DROP DATABASE {DATABASE}")
        await connection.execute(f"ALTER DATABASE {BACKUP} RENAME TO {DATABASE}")
