"""Event streams: memory of each, the time of one change to all, and what events cost an execution.

Has a PostgreSQL and API processes of its own; this process is the client of all streams, and shares
the processors with them.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Final, cast

import asyncpg

from api.http.server import raise_open_file_limit
from core.domain.ids import UserId
from core.domain.states import ExecutionStatus
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from core.store.migrate import migrate
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS
from tests.api.processes import Served, served
from tests.bench.servers import Say
from tests.bench.tables import table
from tests.support.changes import buy, finish
from tests.support.folders import data_folder
from tests.support.part_servers import postgres_part, running
from tests.support.rows import Accepted, accept, new_execution
from tests.support.servers import FreshDatabase, PostgresServer, new_database

NOWHERE: Final = "127.0.0.1:9"
AT_ONCE: Final = 100
"""Streams that open at the same time."""
SPARE_FILES: Final = 500
RECORD_TRIGGERS: Final = """
SELECT tgrelid::regclass::text AS "table", tgname FROM pg_trigger
WHERE tgname LIKE 'record_%' AND NOT tgisinternal
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--streams", type=int, default=10_000, help="open streams")
    parser.add_argument("--processes", type=int, default=5, help="API processes")
    parser.add_argument("--watching", type=int, default=5_000, help="streams that get the change")
    parser.add_argument("--changes", type=int, default=10, help="changes, one after the other")
    parser.add_argument("--executions", type=int, default=200, help="executions per round of costs")
    parser.add_argument("--settle", type=float, default=3, help="seconds before memory is read")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rounds of costs")


async def run(options: argparse.Namespace, say: Say) -> None:
    raise_open_file_limit(options.streams + SPARE_FILES)
    with data_folder("takeone-bench-") as folder:
        async with _database(folder) as fresh:
            await measure(options, say, fresh)


async def measure(options: argparse.Namespace, say: Say, fresh: FreshDatabase) -> None:
    """Measure on a migrated database, with API processes of its own."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(fresh.application_dsn, max_connections=12)
        )
        await _costs(options, say, fresh, database)
        await _streams(options, say, fresh, database, stack)


@asynccontextmanager
async def _database(folder: Path) -> AsyncGenerator[FreshDatabase]:
    async with running(postgres_part(folder)) as started:
        server = PostgresServer(port=int(started.part.address.rpartition(":")[2]), running=started)
        async with new_database(server) as fresh:
            await migrate(fresh.owner_dsn, fresh.application_dsn)
            yield fresh


async def _new_user(database: Database) -> tuple[UserId, str]:
    async with database.as_system() as conn:
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "bench", NO_LIMITS)
        key = await insert_api_key(conn, user.user_id, "bench")
    return user.user_id, key.key.text


async def _costs(
    options: argparse.Namespace, say: Say, fresh: FreshDatabase, database: Database
) -> None:
    """Compare whole executions, in the store alone, with and without their events."""
    owner = await asyncpg.connect(fresh.owner_dsn)
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    try:
        triggers = await owner.fetch(RECORD_TRIGGERS)
        for _ in range(options.rounds):
            for name, act in (("with", "ENABLE"), ("without", "DISABLE")):
                for row in triggers:
                    await owner.execute(f"ALTER TABLE {row['table']} {act} TRIGGER {row['tgname']}")
                seconds[name].append(await _round(database, options.executions))
        for row in triggers:
            await owner.execute(f"ALTER TABLE {row['table']} ENABLE TRIGGER {row['tgname']}")
        rows = await owner.fetchrow(
            "SELECT count(*)::float8 / count(DISTINCT execution_id) AS number,"
            " avg(pg_column_size(v))::int AS bytes FROM execution_events AS v"
        )
    finally:
        await owner.close()
    assert rows is not None
    per = {name: 1000 * median(each) / options.executions for name, each in seconds.items()}
    differences = [
        1000 * (a - b) / options.executions
        for a, b in zip(seconds["with"], seconds["without"], strict=True)
    ]
    say(
        table(
            ("executions in the store", "median"),
            [
                ("ms per execution with events", f"{per['with']:.1f}"),
                ("ms per execution without", f"{per['without']:.1f}"),
                ("difference in ms", f"{median(differences):.1f}"),
                ("events per execution", f"{rows['number']:.1f}"),
                ("bytes per event", f"{rows['bytes']}"),
            ],
        )
    )


async def _round(database: Database, number: int) -> float:
    """Run executions one after the other; return the seconds."""
    user_id, _ = await _new_user(database)
    started = time.perf_counter()
    for _ in range(number):
        one = await accept(database, new_execution(user_id))
        await buy(database, one.image)
        await buy(database, one.video)
        await finish(database, one.ref, ExecutionStatus.COMPLETED)
    return time.perf_counter() - started


class _Reader(asyncio.Protocol):
    """One stream. opened: its first event has arrived. got: the number of events of the change."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got = 0
        self.at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.got += data.count(b"event: cost")
        self.at = time.perf_counter()
        if b"event: snapshot" in data and not self.opened.done():
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the stream was refused"))


async def _streams(
    options: argparse.Namespace,
    say: Say,
    fresh: FreshDatabase,
    database: Database,
    stack: AsyncExitStack,
) -> None:
    user_id, key = await _new_user(database)
    most = str(options.streams)
    settings = {
        "LOG_LEVEL": "ERROR",
        "RATE_LIMIT_READS": "0",
        "DATABASE_POOL_SIZE": "10",
        "API_MAX_CONNECTIONS": str(max(options.streams + SPARE_FILES, 1000)),
        **{f"STREAMS_PER_{name}": most for name in ("KEY", "USER", "PROCESS")},
    }
    processes = [
        await stack.enter_async_context(served(fresh, NOWHERE, key, **settings))
        for _ in range(options.processes)
    ]
    changing, quiet = [await accept(database, new_execution(user_id)) for _ in range(2)]
    before = [_memory(process) for process in processes]
    started = time.perf_counter()
    readers = await _open(options, key, processes, changing, quiet)
    opening = time.perf_counter() - started
    await asyncio.sleep(options.settle)
    added = sum(map(_memory, processes)) - sum(before)
    watching = readers[: options.watching]
    times = [
        await _change(database, changing, watching, number) for number in range(options.changes)
    ]
    say(
        table(
            (f"{options.streams:,} streams, {options.processes} API processes", "value"),
            [
                ("KiB per stream", f"{added / options.streams / 1024:.1f}"),
                ("MiB per process before", f"{median(before) / 2**20:.0f}"),
                ("seconds to open all", f"{opening:.1f}"),
                (
                    f"one change to {options.watching:,} streams, s, median (worst)",
                    f"{median(times):.2f} ({max(times):.2f})",
                ),
            ],
        )
    )
    for reader in readers:
        reader.transport.abort()


async def _open(
    options: argparse.Namespace,
    key: str,
    processes: Sequence[Served],
    changing: Accepted,
    quiet: Accepted,
) -> list[_Reader]:
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> _Reader:
        execution = changing if number < options.watching else quiet
        host, port = processes[number % len(processes)].url.removeprefix("http://").split(":")
        request = (
            f"GET /api/executions/{execution.execution_id}/events HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {key}\r\n\r\n"
        ).encode()
        async with gate:
            _, reader = await loop.create_connection(lambda: _Reader(request), host, int(port))
            await reader.opened
            return reader

    return list(await asyncio.gather(*map(one, range(options.streams))))


async def _change(
    database: Database, one: Accepted, watching: Sequence[_Reader], number: int
) -> float:
    """Change an execution; return the seconds from the COMMIT until every stream has its event."""
    before = [reader.got for reader in watching]
    async with database.as_user(one.user_id) as conn:
        await conn.execute(
            "UPDATE executions SET estimated_nano_usd = $2 WHERE execution_id = $1",
            one.execution_id,
            number,
        )
    committed = time.perf_counter()
    async with asyncio.timeout(120):
        while any(reader.got <= seen for reader, seen in zip(watching, before, strict=True)):  # noqa: ASYNC110 - thousands of readers
            await asyncio.sleep(0.02)
    return max(reader.at for reader in watching) - committed


def _memory(process: Served) -> int:
    """Return the resident memory of a process in bytes."""
    for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("VmRSS")
