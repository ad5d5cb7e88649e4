"""Positions in the queue of a user and of a provider, read from a bounded number of rows."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from core.domain.ids import ExecutionId
from core.store.database import Database
from core.store.executions.executions import mark_cancel_requested
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.limits.queue_positions import (
    MAX_AHEAD,
    READ_QUEUE,
    READ_SLOTS,
    READ_WAITERS,
    UserQueue,
    read_user_queue,
    read_waiting_jobs,
)
from tests.store.executions.concurrency import TWO, Starter, accept_queued, claim, user_with_limits
from tests.support.plans import Explaining
from tests.support.rows import Accepted, new_user
from tests.support.servers import FreshDatabase


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as database:
        yield database


async def positions(
    database: Database, several: Sequence[Accepted], limits: ConcurrencyLimits = TWO
) -> list[int | None]:
    ids = [one.execution_id for one in several]
    async with database.reading_as(several[0].user_id) as conn:
        queue = await read_user_queue(conn, several[0].user_id, limits, ids)
    return [queue.position(execution_id) for execution_id in ids]


async def test_positions_are_those_in_which_executions_start(database: Database) -> None:
    user_id = await user_with_limits(database, running=1)
    others = await accept_queued(database, await new_user(database), 3)
    accepted = await accept_queued(database, user_id, 4)
    assert await positions(database, accepted) == [0, 1, 2, 3], "the first one has a slot"
    starter = Starter(database)
    for place in range(3):
        await claim(database, accepted[place].ref)
        waiting = accepted[place + 1 :]
        assert await positions(database, waiting) == list(range(1, len(waiting) + 1))
        await starter.end(accepted[place].ref)
        assert starter.started[-1] == waiting[0].execution_id
    assert await positions(database, others) == [0, 0, 1], "other users do not count"


async def test_cancelled_execution_is_not_ahead_of_others(database: Database) -> None:
    user_id = await user_with_limits(database, running=1)
    running, cancelled, behind = await accept_queued(database, user_id, 3)
    await claim(database, running.ref)
    async with database.as_user(user_id) as conn:
        await mark_cancel_requested(conn, cancelled.execution_id, "user", generation=1)
    assert await positions(database, [cancelled, behind]) == [None, 1]


async def test_queue_shows_how_long_executions_run(database: Database) -> None:
    user_id = await user_with_limits(database, running=2)
    accepted = await accept_queued(database, user_id, 3)
    for one in accepted[:2]:
        await claim(database, one.ref)
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE executions SET started_at = now() - interval '50 s' WHERE execution_id = $1",
            accepted[1].execution_id,
        )
    async with database.reading_as(user_id) as conn:
        queue = await read_user_queue(conn, user_id, TWO, [accepted[2].execution_id])
    assert (queue.running_limit, queue.running, len(queue.running_ages)) == (2, 2, 2)
    assert queue.running_ages[0] == pytest.approx(50, abs=20)
    assert queue.running_ages[1] < queue.running_ages[0]


QUEUE = """
INSERT INTO submit_queue (job_id, provider, user_id, continuing, since)
VALUES ($1, $2, $3, $4, now() - make_interval(secs => $5))
"""


@asynccontextmanager
async def as_owner(fresh: FreshDatabase) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
    owner = await asyncpg.connect(fresh.owner_dsn)
    try:
        yield owner
    finally:
        await owner.close()


async def test_position_at_a_provider_counts_own_jobs_alone(
    database: Database, fresh_database: FreshDatabase
) -> None:
    """The order of `read_capacity` within a user: continuing steps, then the longest wait."""
    mine = await accept_queued(database, await new_user(database), 3)
    (other,) = await accept_queued(database, await new_user(database), 1)
    first, second, third = [one.image.job_id for one in mine]
    async with as_owner(fresh_database) as owner:
        for job_id, user_id, continuing, seconds, provider in (
            (first, mine[0].user_id, False, 20, "fal"),
            (second, mine[0].user_id, False, 30, "fal"),
            (third, mine[0].user_id, True, 1, "fal"),
            (mine[0].video.job_id, mine[0].user_id, False, 99, "replicate"),
            (other.image.job_id, other.user_id, True, 99, "fal"),
        ):
            await owner.execute(QUEUE, job_id, provider, user_id, continuing, float(seconds))
    async with database.reading_as(mine[0].user_id) as conn:
        found = await read_waiting_jobs(
            conn, mine[0].user_id, [first, second, third, other.image.job_id]
        )
    assert {job_id: job.ahead for job_id, job in found.items()} == {third: 0, second: 1, first: 2}
    assert {job.provider for job in found.values()} == {"fal"}
    async with as_owner(fresh_database) as owner:
        await owner.execute("UPDATE jobs SET state = 'cancelled' WHERE job_id = $1", third)
    async with database.reading_as(mine[0].user_id) as conn:
        found = await read_waiting_jobs(conn, mine[0].user_id, [second, third])
    assert {job_id: job.ahead for job_id, job in found.items()} == {second: 0}


MANY_QUEUED = """
INSERT INTO executions (execution_id, user_id, type, status, plan, request, estimated_nano_usd, deadline_at, queued_at)
SELECT 'exec_x' || lpad(n::text, 6, '0'), user_id, type, 'queued', plan, request, 0, now(),
       now() + make_interval(secs => n)
FROM executions, generate_series(1, $2::int) AS g (n) WHERE execution_id = $1
"""
MANY_WAITING = """
INSERT INTO submit_queue (job_id, provider, user_id, continuing)
SELECT 'job_x' || n, 'fal', 'usr_' || n, false FROM generate_series(1, 5000) AS g (n)
"""


async def test_reads_do_not_grow_with_the_queues(
    database: Database, fresh_database: FreshDatabase
) -> None:
    user_id = await user_with_limits(database, running=1)
    running, waiting = await accept_queued(database, user_id, 2)
    await claim(database, running.ref)
    async with as_owner(fresh_database) as owner:
        await owner.execute(MANY_QUEUED, waiting.execution_id, 5_000)
        await owner.execute(MANY_WAITING)
        await owner.execute(QUEUE, waiting.image.job_id, "fal", user_id, False, 1.0)
        await owner.execute("ANALYZE executions; ANALYZE submit_queue")
    ids = [waiting.execution_id, "exec_x000999", "exec_x001000", "exec_x005000"]
    async with database.reading_as(user_id) as conn:
        explaining, explained = Explaining.of(conn)
        await explained.fetch(READ_QUEUE, user_id, ids)
        await explained.fetch(READ_SLOTS, user_id, 1)
        await explained.fetch(READ_WAITERS, user_id, [waiting.image.job_id])
        queue = await read_user_queue(conn, user_id, TWO, [ExecutionId(one) for one in ids])
    assert [queue.position(ExecutionId(one)) for one in ids] == [1, 1000, None, None]
    read = [statement.rows_read for statement in explaining.executed]
    assert read[0] <= MAX_AHEAD + 10
    assert read[1] < 10
    assert read[2] < 10
    assert not any("executions" in one.sequential for one in explaining.executed)
    assert not any("submit_queue" in one.sequential for one in explaining.executed)


def test_queue_without_a_limit_has_no_positions() -> None:
    queue = UserQueue(
        places={ExecutionId("exec_a"): 7},
        running_limit=None,
        running=3,
        recent_run_seconds=None,
        running_ages=(),
    )
    assert queue.position(ExecutionId("exec_a")) == 0
    assert queue.position(ExecutionId("exec_b")) is None
