"""Backup and restore of the local stack's database, with PostgreSQL's own programs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from deploy.local.servers.postgres import clean_environment, program
from deploy.local.servers.process import PartFailedError
from deploy.local.sql import DATABASE, owner_dsn
from deploy.local.stack import Stack

RESTORED = "takeone_restored"
END_SESSIONS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1"


async def _run(name: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(program(name)),
        *arguments,
        env=clean_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode != 0:
        raise PartFailedError(f"{name} failed: {errors.decode(errors='replace').strip()[-500:]}")


async def back_up(stack: Stack, file: Path) -> None:
    """Write a consistent backup while the service runs. Raises PartFailedError."""
    await _run("pg_dump", "--format=custom", f"--file={file}", owner_dsn(stack))


async def restore(stack: Stack, file: Path) -> None:
    """Replace the database by a backup, under the running service, as an outage would.

    Raises PartFailedError.
    """
    connection = await asyncpg.connect(owner_dsn(stack, "template1"))
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {RESTORED}")
        await connection.execute(f"CREATE DATABASE {RESTORED} TEMPLATE template0")
        await _run(
            "pg_restore", "--exit-on-error", f"--dbname={owner_dsn(stack, RESTORED)}", str(file)
        )
        async with _without_sessions(connection):
            await connection.execute(f"DROP DATABASE {DATABASE}")
            await connection.execute(f"ALTER DATABASE {RESTORED} RENAME TO {DATABASE}")
    finally:
        await connection.close()


@asynccontextmanager
async def _without_sessions(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> AsyncGenerator[None]:
    """End the sessions of the database, and refuse new ones meanwhile."""
    await connection.execute(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS false")
    try:
        while await connection.fetchval(END_SESSIONS, DATABASE):  # noqa: ASYNC110 - other processes, no event
            await asyncio.sleep(0.05)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS true")
