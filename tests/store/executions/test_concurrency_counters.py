"""Open and running executions of a user: taken once, given back once, whoever moves the rows,
however many at once.
"""

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
from core.store.executions.concurrency_counters import (
    ConcurrencyLimits,
    OpenLimitReachedError,
    recount,
)
from core.store.executions.executions import (
    insert_execution,
    mark_cancel_requested,
)
from core.store.executions.retries import lock_execution, lock_purchases, queue_again
from core.store.executions.unfinished import FRONT, find_next, list_queued
from core.store.jobs.jobs import mark_job_ended
from core.store.money.settlement import settle_charge
from core.store.recovery.rebuild import requeue_execution
from tests.store.executions.concurrency import TWO, Starter, claim, counters, limited, queued
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
    """One for all tests here: each has users of its own."""
    async with Database.open(fresh.application_dsn, max_connections=12) as opened:
        yield opened


async def as_owner(fresh: FreshDatabase, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(fresh.owner_dsn)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


def _moves() -> Iterator[str]:
    for name, sql in CONSTANTS.items():
        if "INSERT INTO executions" in sql or (
            "UPDATE executions" in sql and "SET status =" in sql
        ):
            yield name.removeprefix("core.store.")


def test_every_statement_that_changes_an_execution_status_is_tested() -> None:
    """Each of these statements also changes the counters, and has a test below."""
    assert set(_moves()) == {
        "executions.executions.INSERT_EXECUTION",  # accepted
        "executions.executions.CLAIM_EXECUTION",  # claimed
        "executions.executions.END_EXECUTION",  # every end
        "executions.retries.QUEUE_AGAIN",  # retried
        "recovery.rebuild.REQUEUE_EXECUTION",  # recovered
        "recovery.start_memo.MAKE_EXECUTION",  # made again (tests/maintenance/test_recovery.py)
    }


async def test_open_executions_at_once_with_room_for_ten_are_exactly_ten(
    database: Database,
) -> None:
    user_id = await limited(database, opened=10)

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
    assert await counters(database, user_id) == (10, 0)
    async with database.as_user(user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM executions") == 10
        await assert_books_balance(conn, user_id)


async def test_open_limit_of_zero_takes_nothing(database: Database) -> None:
    with pytest.raises(OpenLimitReachedError):
        await accept(database, new_execution(await limited(database, opened=0)))


async def test_claims_at_once_with_room_for_three_are_exactly_three(database: Database) -> None:
    user_id = await limited(database, running=3)
    ones = await queued(database, user_id, 12)
    claims = await asyncio.gather(*(claim(database, one.ref) for one in ones))
    assert [one.outcome for one in claims].count(ClaimOutcome.CLAIMED) == 3
    assert [one.outcome for one in claims].count(ClaimOutcome.WAITING) == 9
    assert await counters(database, user_id) == (12, 3)


async def test_claim_that_is_repeated_takes_room_once(database: Database) -> None:
    """A retried activity, a run that was reset or started again, a zombie: all the
    same generation.
    """
    user_id = await limited(database)
    one, other, third = await queued(database, user_id, 3)
    claims = await asyncio.gather(*(claim(database, one.ref) for _ in range(8)))
    assert {found.outcome for found in claims} == {ClaimOutcome.CLAIMED}
    assert await counters(database, user_id) == (3, 1)
    assert (await claim(database, other.ref)).outcome is ClaimOutcome.CLAIMED
    assert (await claim(database, third.ref)).outcome is ClaimOutcome.WAITING
    # Full, and it has its place.
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.CLAIMED
    assert (await claim(database, replace(one.ref, generation=2))).outcome is ClaimOutcome.LOST
    assert await counters(database, user_id) == (3, 2)


@pytest.mark.parametrize(
    "status", [ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED]
)
@pytest.mark.parametrize("running", [True, False])
async def test_every_end_gives_back_once(
    database: Database, status: ExecutionStatus, running: bool
) -> None:
    """Also if a worker, the sweep and a zombie end it at the same time, and again later."""
    user_id = await limited(database)
    one, other = await queued(database, user_id, 2)
    for ref in (one.ref, other.ref) if running else ():
        await claim(database, ref)
    starter = Starter(database)
    await asyncio.gather(*(starter.end(one.ref, status) for _ in range(6)))
    await starter.end(one.ref, status)
    assert await counters(database, user_id) == (1, 1 if running else 0)
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.LOST
    await starter.end(other.ref, status)
    assert await counters(database, user_id) == (0, 0)


async def test_cancelled_execution_ends_from_the_queue_without_room(database: Database) -> None:
    user_id = await limited(database)
    *running, waiting = await queued(database, user_id, 3)
    for one in running:
        await claim(database, one.ref)
    async with database.as_user(user_id) as conn:
        assert await mark_cancel_requested(conn, waiting.execution_id, "enough", generation=1)
    assert (await claim(database, waiting.ref)).outcome is ClaimOutcome.CANCELLED
    assert await counters(database, user_id) == (3, 2)
    starter = Starter(database)
    await starter.end(waiting.ref, ExecutionStatus.CANCELLED)
    assert await counters(database, user_id) == (2, 2)
    assert starter.started == []


async def test_end_starts_whoever_is_next(database: Database) -> None:
    user_id = await limited(database, running=2)
    ones = await queued(database, user_id, 5)
    starter = Starter(database)
    for one in ones[:2]:
        await claim(database, one.ref)
    await starter.end(ones[1].ref)
    # The third was started, but has not claimed yet: so it is the fourth.
    await starter.end(ones[0].ref)
    assert starter.started == [ones[2].execution_id, ones[3].execution_id]
    await claim(database, ones[2].ref)
    await claim(database, ones[3].ref)
    await starter.end(ones[2].ref)
    assert starter.started[2:] == [ones[4].execution_id]
    await starter.end(ones[2].ref)  # the worker died before it started anybody: its end is repeated
    assert starter.started[3:] == [ones[4].execution_id]


async def test_end_starts_nobody_without_a_limit(database: Database) -> None:
    user_id = await limited(database)
    one, _ = await queued(database, user_id, 2)
    starter = Starter(database, ConcurrencyLimits())
    await starter.end(one.ref)
    assert starter.started == []


async def test_accepted_execution_has_room_while_all_that_are_open_may_run(
    database: Database,
) -> None:
    user_id = await limited(database, running=2)
    has_room: list[bool] = []
    for _ in range(3):
        async with database.as_user(user_id) as conn:
            has_room.append(
                await insert_execution(conn, new_execution(user_id), ConcurrencyLimits())
            )
    assert has_room == [True, True, False]


async def retried(database: Database, one: Accepted, limits: ConcurrencyLimits) -> bool:
    async with database.as_user(one.user_id) as conn:
        execution = await lock_execution(conn, one.user_id, one.execution_id)
        assert execution is not None
        steps = decide_retry(
            execution.plan, await lock_purchases(conn, one.execution_id), execution.error
        )
        quotes = {item.step.name: quote_at(VIDEO_PRICE) for item in steps}
        return await queue_again(conn, execution, steps, quotes, limits)


async def test_retry_takes_an_open_place_or_is_refused(database: Database) -> None:
    user_id = await limited(database, opened=1)
    starter = Starter(database)
    (one,) = await queued(database, user_id, 1)
    await claim(database, one.ref)
    await starter.end(one.ref)
    (other,) = await queued(database, user_id, 1)
    with pytest.raises(OpenLimitReachedError):
        await retried(database, one, ConcurrencyLimits())
    assert await counters(database, user_id) == (1, 0)
    await starter.end(other.ref)
    assert await retried(database, one, ConcurrencyLimits())
    assert await counters(database, user_id) == (1, 0)
    again = replace(one.ref, generation=2)
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.LOST
    assert (await claim(database, again)).outcome is ClaimOutcome.CLAIMED
    assert await counters(database, user_id) == (1, 1)
    await starter.end(one.ref)  # of the generation before: nothing to give back
    assert await counters(database, user_id) == (1, 1)
    await starter.end(again)
    assert await counters(database, user_id) == (0, 0)


async def test_recovered_execution_gives_its_place_to_run_back(database: Database) -> None:
    user_id = await limited(database)
    one, _ = await queued(database, user_id, 2)
    await claim(database, one.ref)
    for _ in range(2):
        async with database.as_system() as conn:
            assert await requeue_execution(conn, one.execution_id, 1, cancel_reason=None)
        assert await counters(database, user_id) == (2, 0)
    assert (await claim(database, one.ref)).outcome is ClaimOutcome.CLAIMED
    assert await counters(database, user_id) == (2, 1)


async def test_end_heals_counters_that_are_wrong(fresh: FreshDatabase, database: Database) -> None:
    """A counter never keeps an execution from its end."""
    user_id = await limited(database)
    one, _ = await queued(database, user_id, 2)
    await claim(database, one.ref)
    await as_owner(
        fresh,
        "UPDATE concurrency_counters SET open_executions = 0, running_executions = 0 WHERE user_id = $1",
        user_id,
    )
    await Starter(database).end(one.ref)
    assert await counters(database, user_id) == (1, 0)
    await as_owner(fresh, "DELETE FROM concurrency_counters WHERE user_id = $1", user_id)
    async with database.as_user(user_id) as conn:
        await recount(conn, user_id)
    assert await counters(database, user_id) == (1, 0)


async def test_claim_gives_the_whole_time_from_then_on(
    fresh: FreshDatabase, database: Database
) -> None:
    """What waited for room for an hour is not bought to be ended a minute later."""
    user_id = await limited(database)
    (one,) = await queued(database, user_id, 1)
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


async def test_reconciler_starts_in_turns_and_only_what_has_room(
    fresh: FreshDatabase, database: Database
) -> None:
    await as_owner(fresh, "TRUNCATE executions, concurrency_counters CASCADE")
    many, few, full = [await limited(database) for _ in range(3)]
    a, c = await queued(database, many, 5), await queued(database, full, 5)
    b = await queued(database, few, 1)
    for one in c[:2]:
        await claim(database, one.ref)
    await as_owner(
        fresh,
        "UPDATE executions SET deadline_at = now() - interval '1 s' WHERE execution_id = $1",
        a[4].execution_id,
    )
    async with database.as_user(full) as conn:
        await mark_cancel_requested(conn, c[4].execution_id, "enough", generation=1)
    async with database.as_system() as conn:
        found = await list_queued(conn, TWO, older_than_seconds=0, after=FRONT, limit=100)
        first = await list_queued(conn, TWO, older_than_seconds=0, after=FRONT, limit=3)
        rest = await list_queued(conn, TWO, older_than_seconds=0, after=first[-1].place, limit=100)
    ids = [one.ref.execution_id for one in found]
    assert set(ids[:2]) == {a[4].execution_id, c[4].execution_id}  # to be ended: they need no room
    assert set(ids[2:4]) == {a[0].execution_id, b[0].execution_id}
    assert ids[4:] == [a[1].execution_id]
    assert [one.ref.execution_id for one in [*first, *rest]] == ids
    assert [one.late for one in found].count(True) == 1


async def test_storm_of_everything_at_once_blocks_nobody_and_leaves_nothing(
    fresh_database: FreshDatabase,
) -> None:
    """Accepts, claims, settlements, ends and retries of two users on the same rows: no deadlock,
    and all is counted.
    """
    async with Database.open(fresh_database.application_dsn, max_connections=12) as database:
        users = [await limited(database, opened=20, running=4) for _ in range(2)]
        most = await asyncio.gather(
            *(_lane(database, user_id) for user_id in users for _ in range(6))
        )
        assert max(most) == 4
        for user_id in users:
            assert await counters(database, user_id) == (0, 0)
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
    """Six executions, one after the other, each with a retry. The most that were seen running at
    once.
    """
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
    """The image was bought, for more than was held."""
    async with database.as_user(one.user_id) as conn:
        await conn.execute(
            "UPDATE jobs SET state = 'submitted', provider_job_id = job_id WHERE job_id = $1",
            one.image.job_id,
        )
        await mark_job_ended(
            conn, one.image.job_id, JobState.COMPLETED, None, expected=(JobState.SUBMITTED,)
        )
        await settle_charge(conn, one.image.job_id, NanoUsd(4_000_000), CostBasis.REPORTED)
