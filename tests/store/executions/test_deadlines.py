"""Deadlines: each generation has the same time, however long an earlier one was queued."""

from datetime import timedelta

import asyncpg
import pytest

from core.domain.states import ExecutionStatus
from core.store.database import Database
from core.store.executions.executions import claim_execution
from core.store.recovery.rebuild import requeue_execution
from tests.store.money.books import end, retry
from tests.support.rows import Accepted, accept, new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G5")

ALLOWED = timedelta(seconds=600)
QUEUED_FOR_AN_HOUR = """
UPDATE executions SET queued_at = queued_at - interval '1 hour', deadline_at = deadline_at - interval '1 hour'
"""


async def allowed(database: Database) -> timedelta:
    """Return how long the execution may take from now on."""
    async with database.as_system() as conn:
        return await conn.fetchval("SELECT deadline_at - updated_at FROM executions")


async def claimed_late(fresh: FreshDatabase, database: Database) -> Accepted:
    """Return an execution that waited for an hour before it was claimed."""
    new = new_execution(await new_user(database), deadline_seconds=int(ALLOWED.total_seconds()))
    one = await accept(database, new, claimed=False)
    owner = await asyncpg.connect(fresh.owner_dsn)
    await owner.execute(QUEUED_FOR_AN_HOUR)
    await owner.close()
    async with database.as_user(one.user_id) as conn:
        await claim_execution(conn, one.ref)
    assert await allowed(database) == ALLOWED
    return one


async def test_retry_after_a_long_queue_has_the_same_time(fresh_database: FreshDatabase) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await claimed_late(fresh_database, database)
        for _ in range(2):
            await end(database, one, ExecutionStatus.FAILED)
            await retry(database, one)
            assert await allowed(database) == ALLOWED


async def test_recovery_after_a_long_queue_gives_the_same_time(
    fresh_database: FreshDatabase,
) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await claimed_late(fresh_database, database)
        for _ in range(2):
            async with database.as_system() as conn:
                assert await requeue_execution(conn, one.execution_id, 1, cancel_reason=None)
            assert await allowed(database) == ALLOWED
