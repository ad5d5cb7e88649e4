"""Durations of recent jobs by model and length: what `eta` is computed from."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest

from core.domain.estimates.durations import LEVELS, Durations
from core.domain.messages.jobs import JobRef
from core.store.database import Database
from core.store.providers.job_durations import (
    MEASURE_JOBS,
    DurationHistory,
    measure_job_durations,
    read_history,
)
from core.store.providers.model_durations import MAX_SAMPLES, MIN_SAMPLES, SAMPLE_DAYS
from tests.support.plans import Explaining
from tests.support.rows import IMAGE_MODEL, VIDEO_MODEL, accept, new_execution, new_user
from tests.support.servers import FreshDatabase

IMAGE, VIDEO = ("fal", IMAGE_MODEL), ("replicate", VIDEO_MODEL)


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as database:
        yield database


# Copies of a job that ended after $3 to $4 seconds, the latest a minute ago.
COPY = """
INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, state, send_number,
    created_at, submitted_at, ended_at, reused_from)
SELECT $5 || n, execution_id, step_name, user_id, generation, provider, $6, 'completed', 1, now(),
    ended - make_interval(secs => $3::float8 + ($4::float8 - $3::float8) * n / $2), ended, $7
FROM jobs, generate_series(1, $2::int) AS g (n),
LATERAL (SELECT now() - make_interval(secs => 60 + n) AS ended) AS e
WHERE job_id = $1
"""


async def ended(
    database: Database,
    ref: JobRef,
    number: int,
    *,
    fastest: float,
    slowest: float,
    name: str = "job_x",
    model: str = VIDEO_MODEL,
    reused: str | None = None,
) -> None:
    async with database.as_system() as conn:
        values = (number, float(fastest), float(slowest), name, model, reused)
        await conn.execute(COPY, ref.job_id, *values)


async def measured(database: Database) -> DurationHistory:
    async with database.as_system() as conn:
        await measure_job_durations(conn)
    async with database.as_user(await new_user(database)) as conn:
        return await read_history(conn)


def ends(durations: Durations | None) -> tuple[float, float]:
    assert durations is not None
    return durations.points[0], durations.points[-1]


async def test_durations_are_measured_by_model_and_length(database: Database) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    await ended(database, one.video, 200, fastest=0, slowest=200)
    history = await measured(database)
    low, high = ends(history.find(*VIDEO, "5", 90))
    assert (low, high) == pytest.approx((200 * LEVELS[0], 200 * LEVELS[-1]), abs=2)
    assert ends(history.find(*VIDEO, "10", 90)) == (low, high), "all lengths stand in"
    assert ends(history.find(*VIDEO, None, 90)) == (low, high)
    assert history.find(*IMAGE, None, 4) is None


async def test_lengths_with_enough_jobs_have_their_own_durations(database: Database) -> None:
    user_id = await new_user(database)
    short, long = [await accept(database, new_execution(user_id)) for _ in range(2)]
    async with database.as_system() as conn:
        # The owner of steps cannot change them; the second execution's are replaced by a copy.
        await conn.execute(
            "INSERT INTO steps SELECT execution_id, 'longer', user_id, 9, kind, provider, model,"
            " parameters || '{\"duration_seconds\": 10}', usual_seconds, deadline_seconds"
            " FROM steps WHERE execution_id = $1 AND name = 'video'",
            long.execution_id,
        )
        await conn.execute(
            "UPDATE jobs SET step_name = 'longer' WHERE job_id = $1", long.video.job_id
        )
    await ended(database, short.video, 60, fastest=50, slowest=50)
    await ended(database, long.video, 60, fastest=100, slowest=100, name="job_long")
    history = await measured(database)
    assert ends(history.find(*VIDEO, "5", 90)) == pytest.approx((50, 50))
    assert ends(history.find(*VIDEO, "10", 90)) == pytest.approx((100, 100))
    assert ends(history.find(*VIDEO, "8", 90)) == pytest.approx((50, 100))


async def test_reused_files_and_other_models_do_not_count(database: Database) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    await ended(database, one.video, MIN_SAMPLES, fastest=50, slowest=50)
    await ended(
        database, one.video, 40, fastest=1, slowest=1, name="job_r", reused=one.video.job_id
    )
    await ended(database, one.video, 40, fastest=1, slowest=1, name="job_o", model="stand-in")
    history = await measured(database)
    assert ends(history.find(*VIDEO, "5", 90)) == pytest.approx((50, 50))
    assert history.find("replicate", "stand-in", "5", 90) is None


async def test_too_few_or_old_jobs_are_no_history(database: Database) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    await ended(database, one.video, MIN_SAMPLES - 1, fastest=50, slowest=50)
    assert (await measured(database)).find(*VIDEO, "5", 90) is None
    await ended(database, one.video, 1, fastest=50, slowest=50, name="job_y")
    assert (await measured(database)).find(*VIDEO, "5", 90) is not None
    async with database.as_system() as conn:
        await conn.execute("UPDATE job_durations SET measured_at = now() - interval '8 days'")
        await conn.execute("UPDATE jobs SET ended_at = ended_at - interval '8 days'")
    assert (await measured(database)).find(*VIDEO, "5", 90) is None


async def test_media_steps_are_measured_against_their_usual_duration() -> None:
    points = Durations.around(1.0)
    history = DurationHistory({("media", "merge", ""): points})
    assert history.find("media", "merge", None, 30) == points.times(30)


async def test_time_after_the_last_job_is_measured(database: Database) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    copy = (
        "INSERT INTO executions (execution_id, user_id, type, status, plan, request, estimated_nano_usd, deadline_at,"
        " ended_at) SELECT 'exec_x' || n, user_id, type, 'completed', plan, request, 0, now(), now() - make_interval("
        "secs => n) FROM executions, generate_series(1, 30) AS g (n) WHERE execution_id = $1"
    )
    step = (
        "INSERT INTO steps SELECT 'exec_x' || n, name, user_id, position, kind, provider, model, parameters,"
        " usual_seconds, deadline_seconds FROM steps, generate_series(1, 30) AS g (n) WHERE execution_id = $1"
    )
    job = (
        "INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, state, ended_at)"
        " SELECT 'job_x' || n, 'exec_x' || n, step_name, user_id, 1, provider, model, 'completed',"
        " now() - make_interval(secs => n + 3) FROM jobs, generate_series(1, 30) AS g (n) WHERE job_id = $1"
    )
    async with database.as_system() as conn:
        await conn.execute(copy, one.execution_id)
        await conn.execute(step, one.execution_id)
        await conn.execute(job, one.video.job_id)
    assert ends((await measured(database)).passing) == pytest.approx((3, 3))


async def test_measuring_reads_a_bounded_number_of_rows(
    database: Database, fresh_database: FreshDatabase
) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    await owner.execute("ALTER TABLE jobs DISABLE TRIGGER USER")  # so many events take seconds
    await ended(database, one.video, MAX_SAMPLES + 2_000, fastest=10, slowest=20)
    await owner.execute("ANALYZE jobs")
    await owner.close()
    async with database.as_system() as conn:
        explaining, explained = Explaining.of(conn)
        await explained.fetch(MEASURE_JOBS, MIN_SAMPLES, MAX_SAMPLES, SAMPLE_DAYS)
    (jobs,) = explaining.executed
    assert jobs.rows_read <= 2 * MAX_SAMPLES
    assert "jobs" not in jobs.sequential
