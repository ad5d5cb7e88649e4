"""Reads of executions: amounts add up, jobs are in order, and each read is one snapshot."""

from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import ExecutionId, JobId, UserId, new_execution_id, new_job_id
from core.domain.money import NanoUsd
from core.domain.plans import Parameters, Plan, PlanType, Step, StepKind
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import UserLimits, insert_user, set_limits
from core.store.database import Connection, Database
from core.store.executions.executions import NewExecution, NewStep, insert_execution
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.views.lists import ExecutionFilter, list_executions
from core.store.executions.views.status import (
    ExecutionStatusRecord,
    find_execution,
    get_budget_left,
    list_applied_migrations,
)
from core.store.migrate import migration_names
from core.store.money.budget_admission import admit_execution
from core.store.money.charges import Hold, insert_charges, release_charge
from core.store.money.settlement import settle_charge
from tests.support.rows import quote_at
from tests.support.servers import FreshDatabase

HELD = NanoUsd(1000)
QUOTE = quote_at(HELD)
END = "UPDATE jobs SET state = $2, ended_at = now() WHERE job_id = $1"


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as database:
        yield database


@pytest.fixture
async def user_id(database: Database) -> UserId:
    async with database.as_system() as conn:
        limits = UserLimits(monthly_videos=10, monthly_nano_usd=NanoUsd(10_000))
        return (await insert_user(conn, Sealer([bytes(32)]), "Ada", limits)).user_id


async def _insert(database: Database, user_id: UserId) -> ExecutionId:
    names = ("zebra", "apple")  # plan order is not the order of names
    steps = [
        Step(
            name=name,
            kind=StepKind.IMAGE,
            provider="fal",
            model="m",
            deadline_seconds=60,
            usual_seconds=10,
        )
        for name in names
    ]
    new = NewExecution(
        execution_id=new_execution_id(),
        user_id=user_id,
        plan=Plan(type=PlanType.GENERATE_VIDEO, steps=tuple(steps), result_step="apple"),
        steps=[
            NewStep(step=step, parameters=Parameters(values={"prompt": "x"}), quote=QUOTE)
            for step in steps
        ],
        request={},
        metadata={},
        webhook_url=None,
        webhook_secret=None,
        deadline_seconds=60,
    )
    async with database.as_user(user_id) as conn:
        await insert_execution(conn, new)
    return new.execution_id


async def _find(
    database: Database, user_id: UserId, execution_id: ExecutionId
) -> ExecutionStatusRecord:
    async with database.reading_as(user_id) as conn:
        found = await find_execution(conn, user_id, execution_id)
    assert found is not None
    return found


async def _buy_again(
    conn: Connection, user_id: UserId, execution_id: ExecutionId, superseded: JobId
) -> JobId:
    """Insert a second job for the step of an ended job, as a retry does."""
    job_id = new_job_id()
    await conn.execute(
        """
        INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, supersedes)
        SELECT $2, execution_id, step_name, user_id, 2, provider, model, job_id FROM jobs WHERE job_id = $1
        """,
        superseded,
        job_id,
    )
    hold = Hold.at(QUOTE, job_id=job_id, provider="fal", model="m")
    total = await insert_charges(conn, user_id, execution_id, [hold])
    await admit_execution(conn, user_id, ConcurrencyLimits(), total, videos=0)
    return job_id


async def test_jobs_are_listed_in_plan_order_then_by_age(
    database: Database, user_id: UserId
) -> None:
    execution_id = await _insert(database, user_id)
    first = (await _find(database, user_id, execution_id)).jobs[0]
    async with database.as_user(user_id) as conn:
        await conn.execute(END, first.job_id, JobState.FAILED)
        again = await _buy_again(conn, user_id, execution_id, first.job_id)

    jobs = (await _find(database, user_id, execution_id)).jobs

    assert [job.step for job in jobs] == ["zebra", "zebra", "apple"]
    assert [jobs[0].job_id, jobs[1].job_id] == [first.job_id, again]


async def test_amounts_add_up_with_overage_and_release(database: Database, user_id: UserId) -> None:
    execution_id = await _insert(database, user_id)
    zebra, apple = (await _find(database, user_id, execution_id)).jobs
    async with database.as_user(user_id) as conn:
        await settle_charge(conn, zebra.job_id, NanoUsd(1500), CostBasis.REPORTED)
    half = await _find(database, user_id, execution_id)
    assert (half.held_nano_usd, half.settled_nano_usd, half.released_nano_usd) == (HELD, 1500, 0)

    async with database.as_user(user_id) as conn:
        await settle_charge(conn, apple.job_id, NanoUsd(400), CostBasis.COMPUTED)
        await conn.execute("UPDATE executions SET status = 'failed', ended_at = now()")

    ended = await _find(database, user_id, execution_id)
    assert (ended.held_nano_usd, ended.settled_nano_usd, ended.released_nano_usd) == (0, 1900, 600)
    assert ended.final
    async with database.as_user(user_id) as conn:
        released = await conn.fetchval(
            "SELECT sum(amount_nano_usd)::bigint FROM ledger_entries WHERE kind = 'released'"
        )
    assert released == ended.released_nano_usd


async def test_execution_is_not_final_while_a_bill_is_open(
    database: Database, user_id: UserId
) -> None:
    execution_id = await _insert(database, user_id)
    zebra, apple = (await _find(database, user_id, execution_id)).jobs
    async with database.as_user(user_id) as conn:
        await release_charge(conn, zebra.job_id)
        await conn.execute("UPDATE executions SET status = 'failed', ended_at = now()")

    assert not (await _find(database, user_id, execution_id)).final
    async with database.as_user(user_id) as conn:
        await release_charge(conn, apple.job_id)
    assert (await _find(database, user_id, execution_id)).final


async def test_execution_update_time_follows_its_jobs(database: Database, user_id: UserId) -> None:
    execution_id = await _insert(database, user_id)
    before = await _find(database, user_id, execution_id)
    async with database.as_user(user_id) as conn:
        await conn.execute(
            "UPDATE jobs SET updated_at = now() WHERE job_id = $1", before.jobs[1].job_id
        )

    assert (await _find(database, user_id, execution_id)).updated_at > before.updated_at


async def test_reads_in_a_transaction_use_one_snapshot(database: Database, user_id: UserId) -> None:
    execution_id = await _insert(database, user_id)
    async with database.reading_as(user_id) as reading:
        before = await find_execution(reading, user_id, execution_id)
        assert before is not None
        async with database.as_user(user_id) as conn:
            await settle_charge(conn, before.jobs[0].job_id, NanoUsd(7), CostBasis.REPORTED)
        assert await find_execution(reading, user_id, execution_id) == before

    assert (await _find(database, user_id, execution_id)).settled_nano_usd == 7


async def test_list_has_no_next_page_after_a_full_last_page(
    database: Database, user_id: UserId
) -> None:
    ids = [await _insert(database, user_id) for _ in range(4)]

    async with database.reading_as(user_id) as conn:
        first = await list_executions(conn, user_id, ExecutionFilter(limit=2))
        last = await list_executions(
            conn, user_id, ExecutionFilter(limit=2, before_id=first.next_before_id)
        )
        none = await list_executions(
            conn, user_id, ExecutionFilter(limit=2, statuses=[ExecutionStatus.RUNNING])
        )

    assert [record.execution_id for record in (*first.data, *last.data)] == ids[::-1]
    assert first.next_before_id == ids[2]
    assert last.next_before_id is None
    assert (none.data, none.next_before_id) == ([], None)


async def test_list_by_the_system_role_is_limited_to_one_user(
    database: Database, user_id: UserId
) -> None:
    await _insert(database, user_id)

    async with database.as_system() as conn:
        page = await list_executions(conn, UserId("usr_other"), ExecutionFilter(limit=10))

    assert page.data == []


async def test_budget_left_counts_holds_and_is_never_negative(
    database: Database, user_id: UserId
) -> None:
    await _insert(database, user_id)
    async with database.reading_as(user_id) as conn:
        left = await get_budget_left(conn, user_id)
    assert (left.nano_usd, left.videos) == (8000, 9)

    async with database.as_system() as conn:
        await set_limits(conn, user_id, UserLimits(monthly_videos=0, monthly_nano_usd=None))
    async with database.reading_as(user_id) as conn:
        left = await get_budget_left(conn, user_id)
        with pytest.raises(LookupError):
            await get_budget_left(conn, UserId("usr_other"))
    assert (left.nano_usd, left.videos) == (None, 0)


async def test_applied_migrations_are_listed(database: Database) -> None:
    async with database.as_system() as conn:
        assert await list_applied_migrations(conn) == migration_names()
