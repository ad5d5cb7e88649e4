"""Queries on the local stack's database, as its owner."""

from typing import Any

import asyncpg

from deploy.local.servers.postgres import superuser_dsn
from deploy.local.stack import Stack

DATABASE = "postgres"


def owner_dsn(stack: Stack, database: str = DATABASE) -> str:
    return superuser_dsn(stack.config.ports.postgres, stack.keys.postgres_password, database)


async def rows(stack: Stack, sql: str, *arguments: object) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    connection = await asyncpg.connect(owner_dsn(stack))
    try:
        return [dict(row) for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()
