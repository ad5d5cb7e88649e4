"""`python -m tests.bench.growth`: reads of one user with very many executions.

It fills a database of its own by a script, with the rows that an image → video execution leaves,
and measures usage and lists as the application's role with row security.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg

from core.domain.ids import UserId
from core.domain.plans import PlanType
from core.domain.states import ExecutionStatus
from core.store.database import Connection, Database
from core.store.executions.views.lists import ExecutionFilter, list_executions
from core.store.migrate import migrate
from core.store.money.reports.usage import get_usage
from core.store.recovery.counter_repair import repair_usage
from tests.support.part_servers import postgres_part, running
from tests.support.plans import Explaining
from tests.support.rows import new_user
from tests.support.servers import PostgresServer

READS: Final = 25
BATCH: Final = 100_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Read = Callable[[Connection, UserId], Awaitable[object]]

# The oldest execution is 30 days old. One in 1,000 failed, one in 10,000 was cancelled, the newest
# 50 are open. $1: the user. $2, $3: the numbers of the batch. $4: the number of all.
FILL: Final[tuple[str, ...]] = (
    """
    CREATE TEMP TABLE filled AS
    SELECT n, at, digits, 'exec_' || digits AS execution_id,
           CASE WHEN n > $4 - 50 THEN 'running' WHEN n % 10000 = 0 THEN 'cancelled'
                WHEN n % 1000 = 0 THEN 'failed' ELSE 'completed' END AS status
    FROM (SELECT n, at, lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
                        || substr(md5(n::text), 1, 19) AS digits
          FROM (SELECT n, now() - interval '30 days' * ($4 - n) / $4 AS at
                FROM generate_series($2::bigint, $3::bigint) AS g (n)) AS i) AS t
    """,
    """
    INSERT INTO executions (execution_id, user_id, type, status, plan, request, metadata, progress,
        result, error, estimated_nano_usd, budget_month, deadline_at, created_at, queued_at, started_at, ended_at,
        updated_at)
    SELECT execution_id, $1, 'generate-video', status, jsonb_build_object('steps', repeat('x', 400)),
        jsonb_build_object('prompt', repeat('a paper boat ', 20)),
        jsonb_build_object('orderId', 'A-' || n,
                           'environment', CASE WHEN n % 100 = 0 THEN 'test' ELSE 'production' END),
        100, CASE status WHEN 'completed' THEN '{"videoUrl": "https://cdn.example.com/a.mp4"}'::jsonb END,
        CASE status WHEN 'failed' THEN '{"code": "content_rejected", "message": ""}'::jsonb END, 303000000,
        date_trunc('month', now() AT TIME ZONE 'UTC')::date, at + interval '1 hour', at, at, at,
        CASE status WHEN 'running' THEN NULL ELSE at + interval '90 s' END, at
    FROM filled
    """,
    """
    INSERT INTO steps SELECT execution_id, s.name, $1, s.position, s.name, s.provider, s.model, '{}', 30, 600
    FROM filled, (VALUES ('image', 0, 'fal', 'fal-ai/flux/schnell'),
                         ('video', 1, 'replicate', 'bytedance/seedance-1-pro')) AS s (name, position, provider, model)
    """,
    """
    INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, state, send_number,
        provider_job_id, created_at, submitted_at, ended_at, updated_at)
    SELECT 'job_' || left(s.name, 1) || digits, execution_id, s.name, $1, 1, s.provider, s.model,
        CASE status WHEN 'running' THEN 'submitted' ELSE 'completed' END, 1, s.name || digits, at, at,
        CASE status WHEN 'running' THEN NULL ELSE at END, at
    FROM filled, (VALUES ('image', 'fal', 'fal-ai/flux/schnell'),
                         ('video', 'replicate', 'bytedance/seedance-1-pro')) AS s (name, provider, model)
    """,
    """
    INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, state, basis, price,
        held_nano_usd, settled_nano_usd, budget_month, budget_day, created_at, ended_at)
    SELECT 'chg_' || left(s.name, 1) || digits, 'job_' || left(s.name, 1) || digits, execution_id, $1, s.provider,
        s.model, CASE status WHEN 'running' THEN 'held' ELSE 'settled' END,
        CASE status WHEN 'running' THEN NULL ELSE 'reported' END, '{}', s.cost,
        CASE status WHEN 'running' THEN 0 ELSE s.cost END, date_trunc('month', now() AT TIME ZONE 'UTC')::date,
        (at AT TIME ZONE 'UTC')::date, at, CASE status WHEN 'running' THEN NULL ELSE at END
    FROM filled, (VALUES ('image', 'fal', 'fal-ai/flux/schnell', 3000000),
                         ('video', 'replicate', 'bytedance/seedance-1-pro', 300000000))
        AS s (name, provider, model, cost)
    """,
    """
    INSERT INTO webhooks (event_id, user_id, endpoint_id, execution_id, generation, sequence, type, url, body, state,
        created_at, ended_at)
    SELECT 'evt_' || digits, $1, 'end_1', execution_id, 1, 1, 'execution.completed', 'https://example.com', '{}',
        'delivered', at, at
    FROM filled WHERE status <> 'running'
    """,
    """
    INSERT INTO webhook_attempts (event_id, delivery, number, user_id, started_at, duration_ms, status_code)
    SELECT 'evt_' || digits, 1, 1, $1, at, 20, 200 FROM filled WHERE status <> 'running'
    """,
    "INSERT INTO metadata_terms SELECT e.user_id, t.term, e.execution_id"
    " FROM filled JOIN executions AS e USING (execution_id), list_metadata_terms(e.metadata) AS t (term)",
    "DROP TABLE filled",
)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _list(**filters: object) -> Read:
    async def read(conn: Connection, user_id: UserId) -> object:
        return await list_executions(conn, user_id, ExecutionFilter(limit=20, **filters))  # pyright: ignore[reportArgumentType]

    return read


def reads(executions: int) -> Mapping[str, Read]:
    """Return what is measured, by the name of its row in the table."""
    middle = datetime.now(UTC) - timedelta(days=15)
    return {
        "usage of the month": get_usage,
        "list, no filter": _list(),
        "status: completed (nearly all)": _list(statuses=[ExecutionStatus.COMPLETED]),
        "status: cancelled (1 in 10,000)": _list(statuses=[ExecutionStatus.CANCELLED]),
        "status: queued (none)": _list(statuses=[ExecutionStatus.QUEUED]),
        "status: failed or cancelled": _list(
            statuses=[ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
        ),
        "metadata: one order": _list(metadata_key="orderId", metadata_value=f"A-{executions // 2}"),
        "metadata: a value of 99 %": _list(metadata_key="environment", metadata_value="production"),
        "metadata: no such value": _list(metadata_key="orderId", metadata_value="B-1"),
        "metadata of 99 % and status: queued (none)": _list(
            metadata_key="environment",
            metadata_value="production",
            statuses=[ExecutionStatus.QUEUED],
        ),
        "created before the middle": _list(created_before=middle),
        "created in one hour, status: failed": _list(
            created_after=middle,
            created_before=middle + timedelta(hours=1),
            statuses=[ExecutionStatus.FAILED],
        ),
        "created before the first": _list(created_before=EPOCH + timedelta(days=9000)),
        "type: generate-video (all)": _list(type=PlanType.GENERATE_VIDEO),
    }


async def measure(executions: int, say: Callable[[str], None]) -> str:
    """Fill a database and return the table of results."""
    async with _database() as server:
        owner_dsn, application_dsn = server.owner_dsn("growth"), server.application_dsn("growth")
        await migrate(owner_dsn, application_dsn)
        async with Database.open(application_dsn, max_connections=2) as database:
            user_id = await new_user(database)
            await fill(owner_dsn, user_id, executions, say)
            rows = [
                await _row(database, user_id, name, read)
                for name, read in reads(executions).items()
            ]
    head = "| read | custom plans, median (slowest), ms | generic plans, median (slowest), ms | rows read |"
    return "\n".join((head, "| --- | --- | --- | --- |", *rows))


async def _row(database: Database, user_id: UserId, name: str, read: Read) -> str:
    cells: list[str] = []
    for mode in ("force_custom_plan", "force_generic_plan"):
        seconds: list[float] = []
        for _ in range(READS):
            async with database.reading_as(user_id) as conn:
                await conn.execute(f"SET LOCAL plan_cache_mode = {mode}")
                began = time.perf_counter()
                await read(conn, user_id)
                seconds.append(time.perf_counter() - began)
        cells.append(f"{median(seconds) * 1000:.1f} ({max(seconds) * 1000:.1f})")
    async with database.reading_as(user_id) as conn:
        explaining, explained = Explaining.of(conn)
        await read(explained, user_id)
    rows_read = sum(statement.rows_read for statement in explaining.executed)
    return f"| {name} | {' | '.join(cells)} | {rows_read:,} |"


async def fill(
    owner_dsn: str, user_id: UserId, executions: int, say: Callable[[str], None] = _say
) -> None:
    """Insert all rows without triggers and foreign keys, then derive the sums."""
    connection = await asyncpg.connect(owner_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("SET synchronous_commit = off")
        for first in range(1, executions + 1, BATCH):
            last = min(first + BATCH - 1, executions)
            for statement in FILL:
                await connection.execute(_bound(statement, user_id, first, last, executions))
            say(f"{last:,} executions")
        await repair_usage(connection)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def _bound(statement: str, user_id: UserId, first: int, last: int, executions: int) -> str:
    """Return the statement with its values: not every statement has all of them."""
    values = (f"'{user_id}'", first, last, executions)
    for number, value in enumerate(values, 1):
        statement = statement.replace(f"${number}", str(value))
    return statement


def new_folder() -> Path:
    """Return a folder that PostgreSQL's system user can enter when the caller is root."""
    folder = Path(tempfile.mkdtemp(prefix="takeone-growth-"))
    folder.chmod(0o711)
    return folder


@asynccontextmanager
async def _database() -> AsyncGenerator[PostgresServer]:
    folder = new_folder()
    try:
        async with running(postgres_part(folder)) as started:
            server = PostgresServer(port=int(started.part.address.rpartition(":")[2]))
            connection = await asyncpg.connect(server.owner_dsn())
            await connection.execute("CREATE DATABASE growth")
            await connection.close()
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    arguments = parser.parse_args()
    sys.stdout.write(asyncio.run(measure(arguments.executions, _say)) + "\n")


if __name__ == "__main__":
    main()
