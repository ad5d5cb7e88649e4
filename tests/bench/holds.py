"""Durable holds per second of one user: executions accepted through the store like by the API.

Each is a transaction of its own with its rows, its charges, its ledger entries, the user's load and
budget and the service's day, committed to disk. All of them wait for the same rows: this is what
the guard costs at its worst.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from core.domain.ids import UserId
from core.domain.money import NanoUsd
from core.store.accounts.users import UserLimits
from core.store.database import Database
from core.store.executions.executions import insert_execution
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.migrate import migrate
from tests.support.rows import new_execution, new_user

CONNECTIONS = 8
WARM_UP_SECONDS = 1.0
NAME = "holds"
PLENTY = UserLimits(monthly_videos=10**9, monthly_nano_usd=NanoUsd(10**18))
"""Limits that are never reached: every hold is checked and none is refused."""
LIMITS = ConcurrencyLimits(open_executions=10**9, running_executions=10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """The result. connections: the number of concurrent transactions."""

    number: int
    seconds: float
    connections: int

    @property
    def per_second(self) -> float:
        return self.number / self.seconds


async def measure_holds(owner_url: str, application_url: str, *, seconds: float) -> Holds:
    """Measure holds in a separate database, where no worker starts the accepted executions.

    Raises AssertionError if the counters differ from the holds.
    """
    async with (
        _database(owner_url, application_url) as url,
        Database.open(url, max_connections=CONNECTIONS) as database,
    ):
        user_id = await new_user(database, PLENTY)
        warm = await _hold(database, user_id, WARM_UP_SECONDS)
        holds = await _hold(database, user_id, seconds)
        async with database.as_user(user_id) as conn:
            counted = await conn.fetchrow(
                "SELECT (SELECT count(*) FROM executions), (SELECT sum(held_videos) FROM budgets)::bigint,"
                " (SELECT open_executions FROM concurrency_counters)"
            )
        assert counted is not None
        assert set(counted) == {warm.number + holds.number}
        return holds


async def _hold(database: Database, user_id: UserId, seconds: float) -> Holds:
    number, began = 0, time.monotonic()

    async def lane() -> None:
        nonlocal number
        while time.monotonic() - began < seconds:
            async with database.as_user(user_id) as conn:
                await insert_execution(conn, new_execution(user_id), LIMITS)
            number += 1

    await asyncio.gather(*(lane() for _ in range(CONNECTIONS)))
    return Holds(number=number, seconds=time.monotonic() - began, connections=CONNECTIONS)


@asynccontextmanager
async def _database(owner_url: str, application_url: str) -> AsyncGenerator[str]:
    """Create a migrated database on the same server, yield its application URL, and drop it."""
    await _execute(owner_url, f"CREATE DATABASE {NAME}")
    try:
        url = _named(application_url)
        await migrate(_named(owner_url), url)
        yield url
    finally:
        await _execute(owner_url, f"DROP DATABASE {NAME} WITH (FORCE)")


def _named(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{NAME}"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
