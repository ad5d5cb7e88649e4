"""Orphans: one per provider id, never the job of a step, always with a bill."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import ExecutionId, JobId, ProviderJobId, new_job_id
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobReport, Output, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, JobState
from core.store.database import Database
from core.store.executions.executions import claim_execution, get_progress
from core.store.executions.unfinished import take_open_bills
from core.store.executions.views.status import find_execution
from core.store.jobs.jobs import get_job, list_owned, mark_job_ended, mark_reported
from core.store.jobs.orphans import record_orphan
from core.store.jobs.reports import find_step_report
from core.store.jobs.sends import begin_send, get_send, mark_waiting
from core.store.measures.open_work import NONE_WAITING, measure_open_bills
from core.store.money.settlement import settle_charge
from tests.support.rows import IMAGE, IMAGE_MODEL, Accepted, accept, new_execution, new_user
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G3")

REPORT = JobReport(
    state=JobState.COMPLETED, outputs=(Output(url="https://x.test/a.jpg", kind=MediaKind.IMAGE),)
)


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """One for all tests here: each has users of its own."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=10) as opened,
    ):
        yield opened


def handle(name: str) -> ProviderHandle:
    return ProviderHandle(
        provider="fal", model=IMAGE_MODEL, provider_job_id=ProviderJobId(name), urls={"a": "b"}
    )


async def replaced(database: Database) -> Accepted:
    """Accept an image whose first send was taken to be absent and whose second send is open."""
    # Steps that usually take so long make no progress by time alone.
    execution = new_execution(await new_user(database), usual_seconds=1_000_000)
    one = await accept(database, execution)
    async with database.as_user(one.user_id) as conn:
        assert await begin_send(conn, one.image, 1, {"url": "first"}, {"prompt": "first"})
        assert await mark_waiting(conn, one.image.job_id, 1)
        assert await begin_send(conn, one.image, 2, {"url": "second"}, {"prompt": "second"})
    return one


async def orphaned(database: Database, one: Accepted) -> JobId:
    async with database.as_user(one.user_id) as conn:
        orphan = await record_orphan(
            conn, one.image.job_id, 1, handle(f"theirs-{one.image.job_id}")
        )
    assert orphan is not None
    return orphan


async def test_orphan_is_made_once_by_many_at_once(database: Database) -> None:
    one = await replaced(database)

    async def learn() -> JobId | None:
        async with database.as_user(one.user_id) as conn:
            return await record_orphan(
                conn, one.image.job_id, 1, handle(f"theirs-{one.image.job_id}")
            )

    made = [
        job_id
        for job_id in await asyncio.gather(*(learn() for _ in range(8)))
        if job_id is not None
    ]
    assert len(made) == 1
    async with database.as_user(one.user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM jobs WHERE orphan") == 1
        assert await conn.fetchval("SELECT count(*) FROM charges") == 3


async def test_orphan_carries_the_send_it_came_from(database: Database) -> None:
    one = await replaced(database)
    orphan = await orphaned(database, one)
    async with database.as_user(one.user_id) as conn:
        job, send = await get_job(conn, orphan), await get_send(conn, orphan, 1)
        serials = await conn.fetch("SELECT serial FROM sends ORDER BY serial")
    assert (job.orphan, job.state, job.handle) == (
        True,
        JobState.SUBMITTED,
        handle(f"theirs-{one.image.job_id}"),
    )
    assert (send.request, send.inputs) == ({"url": "first"}, {"prompt": "first"})
    assert len(serials) == 3


async def test_orphan_requires_a_send_and_a_free_id(database: Database) -> None:
    one, other = await replaced(database), await replaced(database)
    await orphaned(database, one)
    async with database.as_user(other.user_id) as conn:
        assert await record_orphan(conn, other.image.job_id, 7, handle("nobody's")) is None
        assert await record_orphan(conn, new_job_id(), 1, handle("nobody's")) is None
        # Another user's job has it: their rows are not seen, their ids are.
        assert (
            await record_orphan(conn, other.image.job_id, 1, handle(f"theirs-{one.image.job_id}"))
            is None
        )
        assert await conn.fetchval("SELECT count(*) FROM charges") == 2


async def test_orphan_is_never_the_job_of_its_step(database: Database) -> None:
    one = await replaced(database)
    async with database.as_user(one.user_id) as conn:
        before = await get_progress(conn, one.execution_id)
    orphan = await orphaned(database, one)
    async with database.as_user(one.user_id) as conn:
        await mark_reported(conn, orphan, REPORT)
        assert await mark_job_ended(
            conn, orphan, JobState.COMPLETED, None, expected=(JobState.SUBMITTED,)
        )
        assert await get_progress(conn, one.execution_id) == before
        assert await find_step_report(conn, one.execution_id, IMAGE) is None
        claim = await claim_execution(conn, one.ref)
        record = await find_execution(conn, one.user_id, one.execution_id)
    assert {job.step: job.job_id for job in claim.jobs}[IMAGE] == one.image.job_id
    assert record is not None
    assert [job.orphan for job in record.jobs if job.step == IMAGE] == [False, True]


async def test_orphan_has_an_open_bill_until_it_is_settled(database: Database) -> None:
    """The bill stays open while its execution runs and although an orphan has no hold."""
    one = await replaced(database)
    orphan = await orphaned(database, one)
    name = ProviderJobId(f"theirs-{one.image.job_id}")
    async with database.as_system() as conn:
        assert await list_owned(conn, "fal", [name]) == {name}
        counted = (await measure_open_bills(conn))["fal"].number
        assert orphan in {bill.ref.job_id for bill in await take_open_bills(conn, limit=50)}
    async with database.as_user(one.user_id) as conn:
        await settle_charge(conn, orphan, NanoUsd(5), CostBasis.REPORTED)
    async with database.as_system() as conn:
        left = (await measure_open_bills(conn)).get("fal", NONE_WAITING)
        assert left.number == counted - 1
        assert orphan not in {bill.ref.job_id for bill in await take_open_bills(conn, limit=50)}


async def test_execution_is_not_final_while_an_orphans_bill_is_open(database: Database) -> None:
    one = await replaced(database)
    orphan = await orphaned(database, one)
    assert await _final(database, one, one.execution_id) is False
    async with database.as_system() as conn:
        for job_id in (one.image.job_id, one.video.job_id):
            await settle_charge(conn, job_id, NanoUsd(1), CostBasis.REPORTED)
        await conn.execute(
            "UPDATE executions SET status = 'failed', ended_at = now() WHERE execution_id = $1",
            one.execution_id,
        )
    assert await _final(database, one, one.execution_id) is False
    async with database.as_system() as conn:
        await settle_charge(conn, orphan, NanoUsd(5), CostBasis.REPORTED)
    assert await _final(database, one, one.execution_id) is True


async def _final(database: Database, one: Accepted, execution_id: ExecutionId) -> bool:
    async with database.as_user(one.user_id) as conn:
        record = await find_execution(conn, one.user_id, execution_id)
    assert record is not None
    return record.final
