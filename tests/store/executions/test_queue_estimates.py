"""What the estimate of a wait is computed from: recent runs, and the work at each provider."""

import asyncpg
import pytest

from core.store.database import Database
from core.store.executions.executions import insert_execution
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits, QueueFullError
from core.store.providers.provider_queues import (
    MEASUREMENT_LIFE_SECONDS,
    list_queues,
    measure_provider_queues,
)
from tests.store.executions.concurrency import Starter, accept_queued, claim, user_with_limits
from tests.support.rows import Accepted, new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G5")


async def as_owner(fresh: FreshDatabase, sql: str, *arguments: object) -> None:
    owner = await asyncpg.connect(fresh.owner_dsn)
    try:
        await owner.execute(sql, *arguments)
    finally:
        await owner.close()


async def recent(database: Database, one: Accepted) -> float | None:
    async with database.as_user(one.user_id) as conn:
        return await conn.fetchval("SELECT recent_run_seconds FROM concurrency_counters")


async def test_average_of_recent_runs_counts_from_the_start(fresh_database: FreshDatabase) -> None:
    """The time in the queue is no part of a run, nor is an execution that never ran."""
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        user_id = await new_user(database)
        first, second, never = await accept_queued(database, user_id, 3)
        starter = Starter(database)
        await starter.end(never.ref)
        assert await recent(database, first) is None
        for one, seconds, expected in ((first, 100, 100), (second, 200, 110)):
            await claim(database, one.ref)
            await as_owner(
                fresh_database,
                "UPDATE executions SET started_at = now() - make_interval(secs => $2),"
                " queued_at = now() - interval '5 hours' WHERE execution_id = $1",
                one.execution_id,
                float(seconds),
            )
            await starter.end(one.ref)
            assert await recent(database, one) == pytest.approx(expected, rel=0.05)


async def test_execution_is_refused_while_its_users_queue_is_too_long(
    fresh_database: FreshDatabase,
) -> None:
    """Its steps usually take two seconds, and its user has one slot."""
    limits = ConcurrencyLimits(queue_seconds=8)
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        user_id = await user_with_limits(database, running=1)
        may_start: list[bool] = []
        for _ in range(3):
            async with database.as_user(user_id) as conn:
                may_start.append(await insert_execution(conn, new_execution(user_id), limits))
        assert may_start == [True, False, False]
        with pytest.raises(QueueFullError) as refused:
            async with database.as_user(user_id) as conn:
                await insert_execution(conn, new_execution(user_id), limits)
        assert (refused.value.waiting, refused.value.wait_seconds) == (3, 6.0)
        async with database.as_user(user_id) as conn:
            assert await conn.fetchval("SELECT count(*) FROM executions") == 3
            assert await conn.fetchval("SELECT open_executions FROM concurrency_counters") == 3


async def test_provider_queue_has_the_open_jobs_of_all_users(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        users = [await new_user(database) for _ in range(2)]
        await accept_queued(database, users[0], 2)
        await accept_queued(database, users[1], 1)
        ended = (await accept_queued(database, users[1], 1))[0]
        await claim(database, ended.ref)
        await Starter(database).end(ended.ref)
        # One video of the model has completed and took 50 seconds.
        await as_owner(
            fresh_database,
            "UPDATE jobs SET state = 'completed', submitted_at = now() - interval '50 s', ended_at = now()"
            " WHERE job_id = $1",
            ended.video.job_id,
        )
        async with database.as_system() as conn:
            await measure_provider_queues(conn, {"fal": 5, "replicate": 7})
        async with database.as_user(users[0]) as conn:
            queues = {
                queue.provider: queue
                for queue in await list_queues(conn, users[0], ["fal", "replicate"])
            }
        assert {name: (q.jobs, q.users, q.slots) for name, q in queues.items()} == {
            "fal": (3, 2, 5),
            "replicate": (3, 2, 7),
        }
        assert queues["fal"].work_seconds == 3
        assert queues["replicate"].work_seconds == pytest.approx(150)
        assert {queue.own_executions for queue in queues.values()} == {2}
        assert not any(queue.own_key for queue in queues.values())
        await as_owner(
            fresh_database,
            "UPDATE provider_queues SET measured_at = measured_at - make_interval(secs => $1)",
            MEASUREMENT_LIFE_SECONDS,
        )
        async with database.as_user(users[0]) as conn:
            assert await list_queues(conn, users[0], ["fal", "replicate"]) == []
