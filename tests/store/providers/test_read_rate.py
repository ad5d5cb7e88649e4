"""The rate of a provider key: urgent reads come first, and all reads together stay within it."""

import asyncio
import time
from collections.abc import AsyncGenerator

import pytest

from core.store.database import Connection, Database
from core.store.jobs.looks import TAKE_READS
from core.store.providers.read_rate import take_urgent_read
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G7")
RATE = 600
BURST = RATE // 10


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=12) as database:
        yield database


async def status_reads(conn: Connection, wanted: int, scope: str = "replicate") -> int:
    row = await conn.fetchrow(TAKE_READS, scope, wanted, RATE)
    assert row is not None
    granted: int = row["granted"]
    return granted


async def urgent_reads(conn: Connection, wanted: int, scope: str = "replicate") -> int:
    granted = 0
    while granted < wanted and await take_urgent_read(conn, scope, RATE) == 0:
        granted += 1
    return granted


async def pass_time(conn: Connection, seconds: float) -> None:
    await conn.execute(
        "UPDATE rate_limits SET arrival_at = arrival_at - make_interval(secs => $1)", seconds
    )


async def test_urgent_read_is_granted_at_once_and_delays_status_reads(database: Database) -> None:
    async with database.as_system() as conn:
        assert await status_reads(conn, 1000) == BURST
        assert await status_reads(conn, 1) == 0
        assert await urgent_reads(conn, 10) == 10
        await pass_time(conn, 0.5)  # of the five reads that this allows, urgent ones took all
        assert await status_reads(conn, 1) == 0
        await pass_time(conn, 1.0)
        assert await status_reads(conn, 10) in (5, 6)


async def test_neither_kind_starves_and_the_sum_keeps_the_rate(database: Database) -> None:
    """Far more of both is wanted than the key allows, for two minutes."""
    status, urgent = list[int](), list[int]()
    began = time.monotonic()
    async with database.as_system() as conn:
        for _ in range(240):
            status.append(await status_reads(conn, 1000))
            urgent.append(await urgent_reads(conn, 1000))
            await pass_time(conn, 0.5)
    slower = 1 + (time.monotonic() - began) / 60  # the time of the statements counts, too
    second_minute = (sum(status[120:]), sum(urgent[120:]))
    assert second_minute[0] >= 0.2 * RATE
    assert second_minute[1] >= 0.7 * RATE
    sums = [a + b for a, b in zip(status, urgent, strict=True)]
    worst = max(sum(sums[first : first + 120]) for first in range(120))
    assert (
        worst <= 1.25 * RATE * slower
    )  # Replicate allows as much: 3,000 a minute at a rate of 2,400
    assert sum(sums[120:]) <= 1.02 * RATE * slower


async def test_reads_of_both_kinds_never_deadlock(database: Database) -> None:
    scopes = ("fal", "replicate", "replicate/pkey_1")

    async def status() -> int:
        async with database.as_system() as conn:
            return sum([await status_reads(conn, 3, scope) for scope in scopes])

    async def urgent(number: int) -> int:
        async with database.as_system() as conn:
            return await urgent_reads(conn, 1, scopes[number % 3])

    granted = await asyncio.gather(*(status() for _ in range(10)), *map(urgent, range(30)))
    assert all(granted)


async def test_other_keys_are_not_delayed(database: Database) -> None:
    async with database.as_system() as conn:
        assert await urgent_reads(conn, 1000) >= BURST * 3 // 4
        assert await urgent_reads(conn, 1, "replicate/pkey_1") == 1
        assert await status_reads(conn, 1, "replicate/pkey_1") == 1
