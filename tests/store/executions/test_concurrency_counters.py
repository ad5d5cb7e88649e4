"""Counters of a user's open and running executions: exact under concurrency and repetition."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace

import asyncpg
import pytest

from core.domain.ids import UserId
from core.domain.messages.executions import (
    ClaimOutcome,
)
from core.domain.money import NanoUsd
from core.domain.retries import decide_retry
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.store.database import Database
from core.store.executions.executions import (
    insert_execution,
    mark_cancel_requested,
)
from core.store.executions.limits.concurrency_counters import (
    ConcurrencyLimits,
    OpenLimitReachedError,
    recount,
)
from core.store.executions.retries import lock_execution, lock_purchases, queue_again
from core.store.executions.unfinished import FRONT, find_next, list_queued
from core.store.jobs.jobs import mark_job_ended
from core.store.money.settlement import settle_charge
from core.store.recovery.rebuild import requeue_execution
from tests.store.executions.concurrency import (
    TWO,
    Starter,
    accept_queued,
    claim,
    read_counters,
    user_with_limits,
)
from tests.store.test_sql import CONSTANTS
from tests.support.rows import (
    VIDEO_PRICE,
    Accepted,
    accept,
    assert_books_balance,
    new_execution,
    quote_at,
)
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G4")


@pytest.fixture(scope="module")
async def fresh(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    async with new_database(postgres_server, template_database) as fresh:
        yield fresh


@pytest.fixture(scope="module")
async def database(fresh: FreshDatabase) -> AsyncGenerator[Database]:
    """Share one database between the tests of this file; each test creates its own users."""
    async with Database.open(fresh.application_dsn, max_connections=12) as opened:
        yield opened


async def as_owner(fresh: FreshDatabase, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(fresh.owner_dsn)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


def _status_changes() -> Iterator[str]:
    for name, sql in CONSTANTS.items():
        if "INSERT INTO executions" in sql or (
            "UPDATE executions" in sql and "SET status =" in sql
        ):
            yield name.removeprefix("core.store.")


def test_every_statement_that_changes_an_execution_status_is_tested() -> None:
    """Each of these statements also changes the counters, and has a test below."""
    assert set(_status_changes()) == {
        "executions.executions.INSERT_EXECUTION",  # accepted
        "executions.executions.CLAIM_EXECUTION",  # claimed
        "executions.ends.END_EXECUTION",  # every end
        "executions.retries.QUEUE_AGAIN",  # retried
        "recovery.rebuild.REQUEUE_EXECUTION",  # recovered
        "recovery.start_memo.MAKE_EXECUTION",  # rebuilt (tests/maintenance/test_recovery.py)
    }


async def test_concurrent_orders_fill_the_open_limit_exactly(
    database: Database,
) -> None:
    user_id = await user_with_limits(database, opened=10)

    async def order() -> bool:
        try:
            await accept(database, new_execution(user_id), claimed=False)
        except OpenLimitReachedError as error:
            refused.append((error.limit, error.open_executions))
            return False
        return True

    refused: list[tuple[int, int]] = []
    assert sum(await asyncio.gather(*(order() for _ in range(60)))) == 10
    assert refused == 50 * [(10, 10)]
    assert await read_counters(database, user_id) == (10, 0)
    async with database.as_user(user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM executions") == 10
        await assert_books_balance(conn, user_id)


async def test_open_limit_of_zero_refuses_every_execution(database: Database) -> None:
    with pytest.raises(OpenLimitReachedError):
        await accept(database, new_execution(await user_with_limits(database, opened=0)))


async def test_concurrent_claims_fill_the_running_limit_exactly(database: Database) -> None:
    user_id = await user_with_limits(database, running=3)
    ones = await accept_queued(database, user_id, 12)
    claims = await asyncio.gather(*(claim(database, one.ref) for one in ones))
    assert [one.outcome for one in claims].count(ClaimOutcome.CLAIMED) == 3
    assert [one.outcome for one in claims].count(ClaimOutcome.WAITING) == 9
    assert await read_counters(database, user_id) == (12, 3)


async def test_claim_that_waits_for_a_cancel_takes_no_running_slot(
    database: Database, fresh: FreshDatabase
) -> None:
    user_id = await user_with_limits(database)
    (one,) = await accept_queued(database, user_id, 1)
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    owner = await asyncpg.connect(fresh.owner_dsn)
    try:
        async with database.as_user(user_id) as conn:
            assert await mark_cancel_requested(conn, one.execution_id, "enough", generation=1)
            claiming = asyncio.create_task(claim(database, one.ref))
            while not await owner.fetchval(blocked):
                assert not claiming.done()
                await asyncio.sleep(0.01)
    finally:
        await owner.close()
    assert (await claiming).outcome is ClaimOutcome.CANCELLED
    assert await read_counters(database, user_id) == (1, 0)


async def test_repeated_claim_takes_one_running_slot(database: Database) -> None:
    """A retried activity, a reset or restarted run and a zombie worker claim one generation."""
    user_id = await user_with_limits(database)
    one, other, third = await accept_queued(database, user_id, 3)
    claims = await asyncio.gather(*(claim(database, one.ref) for _ in range(8)))
    assert {found.outcome for found in claims} == {ClaimOutcome.CLAIMED}
    assert await read_counters(database, user_id) == (3, 1)
    assert (await claim(database, other.ref)).outcome is ClaimOutcome.CLAIMED
    assert (await claim(database, third.ref)).outcome is ClaimOutcome.WAITING
    # The limit is reached, and this execution already holds a slot.
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.CLAIMED
    assert (await claim(database, replace(one.ref, generation=2))).outcome is ClaimOutcome.LOST
    assert await read_counters(database, user_id) == (3, 2)


@pytest.mark.parametrize(
    "status", [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
)
@pytest.mark.parametrize("running", [True, False])
async def test_every_end_releases_its_slots_once(
    database: Database, status: ExecutionStatus, running: bool
) -> None:
    """A worker, the reconciler and a zombie worker end it concurrently and repeatedly."""
    user_id = await user_with_limits(database)
    one, other = await accept_queued(database, user_id, 2)
    for ref in (one.ref, other.ref) if running else ():
        await claim(database, ref)
    starter = Starter(database)
    await asyncio.gather(*(starter.end(one.ref, status) for _ in range(6)))
    await starter.end(one.ref, status)
    assert await read_counters(database, user_id) == (1, 1 if running else 0)
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.LOST
    await starter.end(other.ref, status)
    assert await read_counters(database, user_id) == (0, 0)


async def test_queued_execution_is_cancelled_without_a_running_slot(database: Database) -> None:
    user_id = await user_with_limits(database)
    *running, waiting = await accept_queued(database, user_id, 3)
    for one in running:
        await claim(database, one.ref)
    async with database.as_user(user_id) as conn:
        assert await mark_cancel_requested(conn, waiting.execution_id, "enough", generation=1)
    assert (await claim(database, waiting.ref)).outcome is ClaimOutcome.CANCELLED
    assert await read_counters(database, user_id) == (3, 2)
    starter = Starter(database)
    await starter.end(waiting.ref, ExecutionStatus.CANCELLED)
    assert await read_counters(database, user_id) == (2, 2)
    assert starter.started == []


async def test_end_starts_the_next_queued_execution(database: Database) -> None:
    user_id = await user_with_limits(database, running=2)
    ones = await accept_queued(database, user_id, 5)
    starter = Starter(database)
    for one in ones[:2]:
        await claim(database, one.ref)
    await starter.end(ones[1].ref)
    # The third execution is already started, so the next one is the fourth.
    await starter.end(ones[0].ref)
    assert starter.started == [ones[2].execution_id, ones[3].execution_id]
    await claim(database, ones[2].ref)
    await claim(database, ones[3].ref)
    await starter.end(ones[2].ref)
    assert starter.started[2:] == [ones[4].execution_id]
    # The end is repeated as if the worker had died before it started the next execution.
    await starter.end(ones[2].ref)
    assert starter.started[3:] == [ones[4].execution_id]


async def test_end_starts_no_execution_without_a_limit(database: Database) -> None:
    user_id = await user_with_limits(database)
    one, _ = await accept_queued(database, user_id, 2)
    starter = Starter(database, ConcurrencyLimits())
    await starter.end(one.ref)
    assert starter.started == []


async def test_accepted_execution_may_start_within_the_running_limit(
    database: Database,
) -> None:
    user_id = await user_with_limits(database, running=2)
    may_start: list[bool] = []
    for _ in range(3):
        async with database.as_user(user_id) as conn:
            may_start.append(
                await insert_execution(conn, new_execution(user_id), ConcurrencyLimits())
            )
    assert may_start == [True, True, False]


async def retried(database: Database, one: Accepted, limits: ConcurrencyLimits) -> bool:
    async with database.as_user(one.user_id) as conn:
        execution = await lock_execution(conn, one.user_id, one.execution_id)
        assert execution is not None
        steps = decide_retry(
            execution.plan, await lock_purchases(conn, one.execution_id), execution.error
        )
        quotes = {item.step.name: quote_at(VIDEO_PRICE) for item in steps}
        return await queue_again(conn, execution, steps, quotes, limits)


async def test_retry_takes_an_open_slot_or_is_refused(database: Database) -> None:
    user_id = await user_with_limits(database, opened=1)
    starter = Starter(database)
    (one,) = await accept_queued(database, user_id, 1)
    await claim(database, one.ref)
    await starter.end(one.ref)
    (other,) = await accept_queued(database, user_id, 1)
    with pytest.raises(OpenLimitReachedError):
        await retried(database, one, ConcurrencyLimits())
    assert await read_counters(database, user_id) == (1, 0)
    await starter.end(other.ref)
    assert await retried(database, one, ConcurrencyLimits())
    assert await read_counters(database, user_id) == (1, 0)
    again = replace(one.ref, generation=2)
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.LOST
    assert (await claim(database, again)).outcome is ClaimOutcome.CLAIMED
    assert await read_counters(database, user_id) == (1, 1)
    await starter.end(one.ref)  # the previous generation holds no slots
    assert await read_counters(database, user_id) == (1, 1)
    await starter.end(again)
    assert await read_counters(database, user_id) == (0, 0)


async def test_recovered_execution_releases_its_running_slot(database: Database) -> None:
    user_id = await user_with_limits(database)
    one, _ = await accept_queued(database, user_id, 2)
    await claim(database, one.ref)
    for _ in range(2):
        async with database.as_system() as conn:
            assert await requeue_execution(conn, one.execution_id, 1, cancel_reason=None)
        assert await read_counters(database, user_id) == (2, 0)
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.CLAIMED
    assert await read_counters(database, user_id) == (2, 1)


async def test_end_corrects_wrong_counters(fresh: FreshDatabase, database: Database) -> None:
    """A wrong counter does not prevent an execution from ending."""
    user_id = await user_with_limits(database)
    one, _ = await accept_queued(database, user_id, 2)
    await claim(database, one.ref)
    await as_owner(
        fresh,
        "UPDATE concurrency_counters SET open_executions = 0, running_executions = 0 WHERE user_id = $1",
        user_id,
    )
    await Starter(database).end(one.ref)
    assert await read_counters(database, user_id) == (1, 0)
    await as_owner(fresh, "DELETE FROM concurrency_counters WHERE user_id = $1", user_id)
    async with database.as_user(user_id) as conn:
        await recount(conn, user_id)
    assert await read_counters(database, user_id) == (1, 0)


async def test_deadline_is_counted_from_the_claim(fresh: FreshDatabase, database: Database) -> None:
    """An execution that waited for a slot gets its full time after the claim."""
    user_id = await user_with_limits(database)
    (one,) = await accept_queued(database, user_id, 1)
    await as_owner(
        fresh,
        "UPDATE executions SET queued_at = queued_at - interval '50 min', deadline_at = deadline_at - interval '50 min'"
        " WHERE execution_id = $1",
        one.execution_id,
    )
    await claim(database, one.ref)
    async with database.as_user(user_id) as conn:
        left = await conn.fetchval(
            "SELECT extract(epoch FROM deadline_at - now())::int FROM executions"
        )
    assert 3590 <= left <= 3600


async def test_reconciler_starts_users_in_turn_within_their_limits(
    fresh: FreshDatabase, database: Database
) -> None:
    await as_owner(fresh, "TRUNCATE executions, concurrency_counters CASCADE")
    many, few, full = [await user_with_limits(database) for _ in range(3)]
    a, c = await accept_queued(database, many, 5), await accept_queued(database, full, 5)
    b = await accept_queued(database, few, 1)
    for one in c[:2]:
        await claim(database, one.ref)
    await as_owner(
        fresh,
        "UPDATE executions SET queued_at = queued_at - interval '1 day' WHERE execution_id = $1",
        a[4].execution_id,
    )
    async with database.as_user(full) as conn:
        await mark_cancel_requested(conn, c[4].execution_id, "enough", generation=1)
    async with database.as_system() as conn:
        found = await list_queued(conn, TWO, older_than_seconds=0, after=FRONT, limit=100)
        first = await list_queued(conn, TWO, older_than_seconds=0, after=FRONT, limit=3)
        rest = await list_queued(conn, TWO, older_than_seconds=0, after=first[-1].place, limit=100)
    ids = [one.ref.execution_id for one in found]
    assert set(ids[:2]) == {a[4].execution_id, c[4].execution_id}  # executions to end need no slot
    assert set(ids[2:4]) == {a[0].execution_id, b[0].execution_id}
    assert ids[4:] == [a[1].execution_id]
    assert [one.ref.execution_id for one in [*first, *rest]] == ids
    assert [one.late for one in found].count(True) == 1


async def test_concurrent_changes_cause_no_deadlock_and_exact_counters(
    fresh_database: FreshDatabase,
) -> None:
    """Two users accept, claim, settle, end and retry executions on the same rows."""
    async with Database.open(fresh_database.application_dsn, max_connections=12) as database:
        users = [await user_with_limits(database, opened=20, running=4) for _ in range(2)]
        most = await asyncio.gather(
            *(_lane(database, user_id) for user_id in users for _ in range(6))
        )
        assert max(most) == 4
        for user_id in users:
            assert await read_counters(database, user_id) == (0, 0)
            async with database.as_user(user_id) as conn:
                await assert_books_balance(conn, user_id)
                assert await find_next(conn, user_id, TWO) is None
        async with database.as_system() as conn:
            day = await conn.fetchrow("SELECT held_nano_usd, settled_nano_usd FROM daily_spending")
            charges = await conn.fetchrow(
                "SELECT coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0)::bigint,"
                " sum(settled_nano_usd)::bigint FROM charges"
            )
    assert day is not None
    assert charges is not None
    assert tuple(day) == tuple(charges) == (0, 2 * 6 * 6 * 4_000_000)


async def _lane(database: Database, user_id: UserId) -> int:
    """Run and retry six executions in sequence. Return the highest number running at once."""
    starter, most = Starter(database, ConcurrencyLimits()), 0
    for _ in range(6):
        one = await accept(database, new_execution(user_id), claimed=False)
        async with asyncio.timeout(60):
            while (await claim(database, one.ref)).outcome is ClaimOutcome.WAITING:  # noqa: ASYNC110 - no event: rows
                await asyncio.sleep(0.01)
        async with database.as_user(user_id) as conn:
            most = max(
                most,
                await conn.fetchval("SELECT count(*) FROM executions WHERE status = 'running'"),
            )
        await _settle(database, one)
        await asyncio.gather(*(starter.end(one.ref) for _ in range(3)))
        await retried(database, one, ConcurrencyLimits())
        again = replace(one.ref, generation=2)
        await asyncio.gather(claim(database, again), starter.end(again), starter.end(again))
    return most


async def _settle(database: Database, one: Accepted) -> None:
    """Settle the image for more than its hold."""
    async with database.as_user(one.user_id) as conn:
        await conn.execute(
            "UPDATE jobs SET state = 'submitted', provider_job_id = job_id WHERE job_id = $1",
            one.image.job_id,
        )
        await mark_job_ended(
            conn, one.image.job_id, JobState.COMPLETED, None, expected=(JobState.SUBMITTED,)
        )
        await settle_charge(conn, one.image.job_id, NanoUsd(4_000_000), CostBasis.REPORTED)
