"""An API process, and a user whose executions change."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from core.domain.ids import UserId
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS
from tests.api.processes import Served, served
from tests.support.rows import Accepted, accept, new_execution
from tests.support.servers import FreshDatabase, PostgresServer, new_database

NO_TEMPORAL = "127.0.0.1:9"
SETTINGS = {"LOG_LEVEL": "ERROR", "RATE_LIMIT_READS": "0", "STREAMS_PER_KEY": "5"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The database behind an API process, and its user."""

    fresh: FreshDatabase
    database: Database
    user_id: UserId
    api_key: str

    @asynccontextmanager
    async def superuser(self) -> "AsyncGenerator[asyncpg.Connection[asyncpg.Record]]":
        """Yield a connection of the owner of the tables."""
        connection = await asyncpg.connect(self.fresh.owner_dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def execution(self, webhook_url: str | None = None) -> Accepted:
        return await accept(self.database, new_execution(self.user_id, webhook_url=webhook_url))


@pytest.fixture(scope="package")
async def watched(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Watched]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=6) as database,
    ):
        async with database.as_system() as conn:
            user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "Ada", NO_LIMITS)
            key = await insert_api_key(conn, user.user_id, "test")
        yield Watched(fresh=fresh, database=database, user_id=user.user_id, api_key=key.key.text)


@pytest.fixture(scope="package")
async def process(watched: Watched) -> AsyncGenerator[Served]:
    """Yield a process that no test ends."""
    async with served(watched.fresh, NO_TEMPORAL, watched.api_key, **SETTINGS) as running:
        yield running


@pytest.fixture
def http(process: Served) -> httpx.AsyncClient:
    return process.http


def path_of(one: Accepted, name: str = "events") -> str:
    return f"/api/executions/{one.execution_id}/{name}"
