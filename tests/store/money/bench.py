"""The test bench of the money state machine: its own database and event loop."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from core.domain.ids import ProviderJobId
from core.store.database import Database
from tests.support.servers import FreshDatabase, PostgresServer, new_database

T = TypeVar("T")


@dataclass(slots=True)
class Bench:
    """A database and an event loop, because hypothesis calls its rules outside of any loop."""

    runner: asyncio.Runner
    stack: AsyncExitStack
    database: Database
    owner: "asyncpg.Connection[asyncpg.Record]"
    names: int = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def new_name(self) -> ProviderJobId:
        self.names += 1
        return ProviderJobId(f"req-{self.names}")


async def open_bench_database(
    server: PostgresServer, template: str
) -> tuple[AsyncExitStack, Database, Any]:
    stack = AsyncExitStack()
    fresh: FreshDatabase = await stack.enter_async_context(new_database(server, template))
    database = await stack.enter_async_context(
        Database.open(fresh.application_dsn, max_connections=2)
    )
    owner = await asyncpg.connect(fresh.owner_dsn)
    stack.push_async_callback(owner.close)
    return stack, database, owner
