"""Leases of due jobs: one process at a time, within the rate of the provider's key."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from core.domain.ids import ProviderJobId
from core.domain.look_times import EARLY_SECONDS, LATE_SECONDS, LATE_SHARE, MIN_POLL_SECONDS
from core.domain.messages.jobs import JobRef, JobReport, ProviderHandle
from core.domain.states import JobState
from core.store.database import Connection, Database
from core.store.jobs.callbacks import notify_job
from core.store.jobs.jobs import get_job, mark_reported
from core.store.jobs.looks import Claim, Look, claim_looks, end_looks, schedule_look, start_looks
from core.store.jobs.sends import begin_send, mark_submitted
from tests.support.rows import accept, new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G7")


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=6) as database:
        yield database


MANY = {"fal": 1_000_000, "replicate": 1_000_000}
DONE = JobReport(state=JobState.COMPLETED)


async def submitted(
    database: Database, name: str = "p1", *, calls_back: bool = False, usual_seconds: int = 1
) -> JobRef:
    execution = new_execution(await new_user(database), usual_seconds=usual_seconds)
    ref = (await accept(database, execution)).image
    async with database.as_user(ref.user_id) as conn:
        assert await begin_send(conn, ref, 1, {}, {}, calls_back=calls_back)
        handle = ProviderHandle(
            provider="fal", model="fal-ai/flux/schnell", provider_job_id=ProviderJobId(name)
        )
        assert await mark_submitted(conn, ref.job_id, 1, handle)
    return ref


async def due(database: Database, ref: JobRef, seconds: float = -1.0) -> None:
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE jobs SET next_look_at = now() + make_interval(secs => $2) WHERE job_id = $1",
            ref.job_id,
            seconds,
        )


async def claim(
    conn: Connection, *, without: Sequence[str] = (), rates: dict[str, int] | None = None
) -> Claim:
    return await claim_looks(
        conn, limit=100, lease_seconds=10.0, without=without, reads_per_minute=rates or MANY
    )


async def claimed(database: Database) -> list[Look]:
    async with database.as_system() as conn:
        return list((await claim(conn)).looks)


async def left_seconds(database: Database, ref: JobRef) -> float | None:
    async with database.as_system() as conn:
        job = await get_job(conn, ref.job_id)
    return None if job.next_look_at is None else (job.next_look_at - job.now).total_seconds()


async def test_due_job_is_leased_by_one_of_two_processes(database: Database) -> None:
    ref = await submitted(database)
    await due(database, ref)
    async with database.as_system() as first, database.as_system() as second:
        mine = await claim(first)
        assert [look.job.job_id for look in mine.looks] == [ref.job_id]
        assert (await claim(second)).looks == ()  # does not wait for the first transaction
    assert await claimed(database) == []
    await due(database, ref)  # the lease expires
    (again,) = await claimed(database)
    (old,) = mine.looks
    async with database.as_system() as conn:  # the first process wakes up
        await schedule_look(conn, ref.job_id, old.lease, seconds=1000.0, failed_looks=7)
        await end_looks(conn, [(ref.job_id, old.lease)])
        job = await get_job(conn, ref.job_id)
    assert (job.next_look_at, job.failed_looks) == (again.lease, 0)


async def test_callback_during_a_look_is_not_lost(database: Database) -> None:
    ref = await submitted(database)
    await due(database, ref)
    (look,) = await claimed(database)
    async with database.as_system() as conn:
        await notify_job(conn, ref.job_id)
    async with database.as_system() as conn:
        await schedule_look(conn, ref.job_id, look.lease, seconds=1000.0, failed_looks=0)
    assert [again.job.job_id for again in await claimed(database)] == [ref.job_id]


@pytest.mark.parametrize("calls_back", [False, True])
async def test_first_look_depends_on_the_callback(database: Database, calls_back: bool) -> None:
    ref = await submitted(database, calls_back=calls_back)  # usually takes a second
    left = await left_seconds(database, ref)
    expected = LATE_SHARE + LATE_SECONDS if calls_back else max(MIN_POLL_SECONDS, EARLY_SECONDS / 6)
    assert left is not None
    assert expected - 1 < left <= expected


async def test_report_belongs_to_the_send_that_was_read(database: Database) -> None:
    """A stopped process brings the report of a send that another one has replaced."""
    ref = await submitted(database)
    async with database.as_user(ref.user_id) as conn:
        other = ProviderJobId("of-an-earlier-send")
        assert not await mark_reported(conn, ref.job_id, DONE, provider_job_id=other)
        own = ProviderJobId("p1")
        assert await mark_reported(
            conn, ref.job_id, DONE, provider_job_id=own, next_look_seconds=5.0
        )
        assert not await mark_reported(conn, ref.job_id, DONE, provider_job_id=own)
    left = await left_seconds(database, ref)
    assert left is not None
    assert 0 < left <= 5.0


async def test_rate_of_a_key_delays_its_jobs_alone(database: Database) -> None:
    refs = [await submitted(database, f"p{number}") for number in range(5)]
    for ref in refs:
        await due(database, ref)
    rates = {"fal": 20}  # two in six seconds
    async with database.as_system() as conn:
        first = await claim(conn, rates=rates)
        assert len(first.looks) == 2
        assert 0 < first.limited["fal"] <= 3.0
        second = await claim(conn, rates=rates)
        assert (len(second.looks), set(second.limited)) == (0, {"fal"})
        assert (await claim(conn, without=["fal"])).limited == {}
        await conn.execute("UPDATE rate_limits SET arrival_at = arrival_at - interval '3 s'")
        assert len((await claim(conn, rates=rates)).looks) == 1


async def test_notified_job_is_read_before_overdue_ones(database: Database) -> None:
    refs = [await submitted(database, f"p{number}") for number in range(4)]
    for ref in refs:
        await due(database, ref, -3600.0)
    async with database.as_system() as conn:
        await notify_job(conn, refs[-1].job_id)
        (look,) = (await claim(conn, rates={"fal": 10})).looks
    assert look.job.job_id == refs[-1].job_id
    assert 0 <= look.late_seconds < 60


async def test_job_without_a_schedule_gets_one_and_orphans_get_none(database: Database) -> None:
    ref = await submitted(database)
    async with database.as_system() as conn:
        await conn.execute("UPDATE jobs SET next_look_at = NULL")
        assert (await claim(conn)).next_seconds is None
        await start_looks(conn, ref.job_id)
    assert len(await claimed(database)) == 1
    await due(database, ref)
    async with database.as_system() as conn:
        await conn.execute("UPDATE jobs SET orphan = true WHERE job_id = $1", ref.job_id)
    assert await claimed(database) == []


async def test_claims_of_many_processes_never_overlap(database: Database) -> None:
    refs = [await submitted(database, f"p{number}") for number in range(12)]
    for ref in refs:
        await due(database, ref)
    found = [
        look.job.job_id
        for looks in await asyncio.gather(*(claimed(database) for _ in range(4)))
        for look in looks
    ]
    assert len(found) == len(set(found))
