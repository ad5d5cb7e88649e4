"""Measured durations: taken from callbacks alone; the first look at a job depends on them."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest

from core.domain.look_times import first_look_seconds
from core.domain.messages.jobs import JobRef
from core.store.database import Database
from core.store.jobs.jobs import get_job
from core.store.providers.model_durations import (
    MAX_SAMPLES,
    MEASURE_DURATIONS,
    MIN_SAMPLES,
    SAMPLE_DAYS,
    SLOW_SHARE,
    measure_durations,
)
from tests.store.jobs.test_looks import submitted
from tests.support.plans import Explaining
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G7")
USUAL = 100
MODEL = "fal-ai/flux/schnell"


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as database:
        yield database


# Copies of one job: $2 ended ones, whose callbacks took from $3 to $4 seconds and arrived $5
# seconds before their end was stored.
COPY = """
INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, state, send_number,
    created_at, submitted_at, callback_at, ended_at, calls_back)
SELECT $6 || n, execution_id, step_name, user_id, generation, provider, model, 'completed', 1,
    now(), now() - interval '1 h', called_at, called_at + make_interval(secs => $5), true
FROM jobs, generate_series(1, $2::int) AS g (n),
LATERAL (SELECT now() - interval '1 h'
                + make_interval(secs => $3::float8 + ($4::float8 - $3::float8) * n / $2) AS called_at) AS c
WHERE job_id = $1
"""


async def ended(
    database: Database,
    ref: JobRef,
    number: int,
    *,
    fastest: float,
    slowest: float,
    late: float = 0.1,
    name: str = "job_x",
) -> None:
    async with database.as_system() as conn:
        await conn.execute(
            COPY, ref.job_id, number, float(fastest), float(slowest), float(late), name
        )


async def measured(database: Database) -> float | None:
    async with database.as_system() as conn:
        durations = {item.model: item.slow_seconds for item in await measure_durations(conn)}
    return durations.get(MODEL)


async def first_look(database: Database, name: str) -> float:
    """Return the age of the first look at a new job, whose callback is requested."""
    ref = await submitted(database, name, calls_back=True, usual_seconds=USUAL)
    async with database.as_system() as conn:
        job = await get_job(conn, ref.job_id)
    assert job.next_look_at is not None
    assert job.submitted_at is not None
    return (job.next_look_at - job.submitted_at).total_seconds()


async def test_too_few_jobs_leave_the_catalogue(database: Database) -> None:
    ref = await submitted(database)
    await ended(database, ref, MIN_SAMPLES - 1, fastest=1, slowest=10)
    assert await measured(database) is None
    assert await first_look(database, "p2") == first_look_seconds(USUAL, None)


@pytest.mark.parametrize("slowest", [10, 150, 5000])
async def test_first_look_follows_recent_callbacks_within_bounds(
    database: Database, slowest: int
) -> None:
    ref = await submitted(database)
    await ended(database, ref, 100, fastest=0, slowest=slowest)
    slow = await measured(database)
    assert slow is not None
    assert 0.94 * slowest < slow < 0.96 * slowest
    assert await first_look(database, "p2") == pytest.approx(first_look_seconds(USUAL, slow))


async def test_ends_without_their_callback_are_not_measured(database: Database) -> None:
    """An end that a look found is as late as the look: it would move the next first look later."""
    ref = await submitted(database)
    await ended(database, ref, 30, fastest=10, slowest=10)
    await ended(database, ref, 500, fastest=900, slowest=900, late=-1, name="job_delivered_again")
    await ended(database, ref, 500, fastest=900, slowest=900, name="job_lost")
    await ended(database, ref, 500, fastest=900, slowest=900, name="job_polled")
    async with database.as_system() as conn:
        await conn.execute("UPDATE jobs SET callback_at = NULL WHERE job_id LIKE 'job_lost%'")
        await conn.execute("UPDATE jobs SET calls_back = false WHERE job_id LIKE 'job_polled%'")
    assert await measured(database) == pytest.approx(10)


async def test_measurement_is_forgotten_when_no_jobs_end(database: Database) -> None:
    ref = await submitted(database)
    await ended(database, ref, MIN_SAMPLES, fastest=10, slowest=10)
    assert await measured(database) == pytest.approx(10)
    async with database.as_system() as conn:
        await conn.execute("UPDATE jobs SET ended_at = ended_at - make_interval(days => 8)")
    assert await measured(database) == pytest.approx(10)  # callbacks may be lost for a while
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE model_durations SET measured_at = measured_at - make_interval(days => 8)"
        )
    assert await measured(database) is None


async def test_measuring_reads_a_bounded_number_of_jobs(
    database: Database, fresh_database: FreshDatabase
) -> None:
    ref = await submitted(database)
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    await owner.execute("ALTER TABLE jobs DISABLE TRIGGER USER")  # so many events take seconds
    await ended(database, ref, MAX_SAMPLES + 2_000, fastest=10, slowest=20)
    await owner.execute("ANALYZE jobs")
    await owner.close()
    async with database.as_system() as conn:
        explaining, explained = Explaining.of(conn)
        arguments = (SLOW_SHARE, MIN_SAMPLES, MAX_SAMPLES, SAMPLE_DAYS)
        await explained.fetch(MEASURE_DURATIONS, *arguments)
    (statement,) = explaining.executed
    assert statement.rows_read == MAX_SAMPLES
    assert statement.sequential == ()
