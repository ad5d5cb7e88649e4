"""Jobs of media steps: no charge, one end, and one job for each content key."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import asyncpg
import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobRef, JobReport, Output
from core.domain.retries import RetryAction, decide_retry
from core.domain.states import ExecutionStatus, JobState
from core.store.database import Database
from core.store.executions.ends import lock_open_execution, mark_ended
from core.store.executions.executions import claim_execution
from core.store.executions.retries import list_purchases, lock_execution, queue_again
from core.store.files.assets import list_job_assets
from core.store.jobs.content_keys import Claim, claim_content
from core.store.jobs.jobs import cancel_waiting_jobs, get_job
from core.store.jobs.media_jobs import (
    FilesExpiredError,
    MadeFiles,
    complete_media_job,
    fail_media_job,
    get_warnings,
    reserve_keys,
)
from core.store.jobs.reports import report_to_json
from core.store.money.charges import get_money, release_hold
from core.store.money.reports.ledger_check import CHECKS
from core.store.money.reports.usage import get_usage
from tests.support.media_rows import AcceptedFilm, accept_film, asset_of_job, new_film
from tests.support.rows import VIDEO_PRICE, new_user
from tests.support.servers import FreshDatabase, PostgresServer, new_database

KEY = "key"
VIDEO_FILE = Output(url="https://files.test/video.mp4", kind=MediaKind.VIDEO)
FAILED = Failure.of(FailureCode.MEDIA_FAILED)


@pytest.fixture(scope="module")
async def fresh(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    async with new_database(postgres_server, template_database) as made:
        yield made


@pytest.fixture(scope="module")
async def database(fresh: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh.application_dsn, max_connections=6) as opened:
        yield opened


async def film_of(database: Database) -> AcceptedFilm:
    return await accept_film(database, new_film(await new_user(database)))


async def complete(database: Database, ref: JobRef, made: MadeFiles | None = None) -> bool:
    made = made or MadeFiles(assets=[asset_of_job(ref)], processor_ms=1500)
    async with database.as_user(ref.user_id) as conn:
        await reserve_keys(conn, ref.user_id, [asset.object_key for asset in made.assets])
    async with database.as_user(ref.user_id) as conn:
        return await complete_media_job(conn, ref.user_id, ref.job_id, made)


async def fail(database: Database, ref: JobRef) -> bool:
    async with database.as_user(ref.user_id) as conn:
        return await fail_media_job(conn, ref.user_id, ref.job_id, FAILED, processor_ms=500)


async def claim(database: Database, ref: JobRef) -> Claim:
    async with database.as_user(ref.user_id) as conn:
        return await claim_content(conn, ref.user_id, KEY, ref.job_id)


async def test_media_job_has_no_charge_and_books_balance(
    database: Database, fresh: FreshDatabase
) -> None:
    one = await film_of(database)
    async with database.as_user(one.user_id) as conn:
        assert (await get_money(conn, one.execution_id)).held_nano_usd == VIDEO_PRICE
        assert await conn.fetchval("SELECT count(*) FROM charges") == 1
    owner = await asyncpg.connect(fresh.owner_dsn)
    try:
        found = {row["target"] for row in await owner.fetch(CHECKS["jobs"])}
    finally:
        await owner.close()
    assert found.isdisjoint({one.video.job_id, one.film.job_id})


async def test_media_job_completes_once_with_its_files(database: Database) -> None:
    one = await film_of(database)
    made = MadeFiles(assets=[asset_of_job(one.film)], warnings=["no sound"], processor_ms=1500)
    assert await complete(database, one.film, made)
    assert not await fail(database, one.film)
    async with database.as_user(one.user_id) as conn:
        job = await get_job(conn, one.film.job_id)
        assert job.state is JobState.COMPLETED
        assert await list_job_assets(conn, one.film.job_id) == list(made.assets)
        assert await get_warnings(conn, one.film.job_id) == ["no sound"]
        assert await conn.fetchval("SELECT count(*) FROM file_deletions") == 0
        assert (await get_usage(conn, one.user_id)).media_ms == 1500


async def test_failed_media_job_keeps_its_failure_and_counts_its_time(database: Database) -> None:
    one = await film_of(database)
    assert await fail(database, one.film)
    assert not await complete(database, one.film)
    async with database.as_user(one.user_id) as conn:
        assert (await get_job(conn, one.film.job_id)).failure == FAILED
        assert await list_job_assets(conn, one.film.job_id) == []
        assert (await get_usage(conn, one.user_id)).media_ms == 500


async def test_files_of_a_cancelled_job_are_queued_for_deletion(database: Database) -> None:
    one = await film_of(database)
    async with database.as_user(one.user_id) as conn:
        await cancel_waiting_jobs(conn, one.execution_id)
    assert not await complete(database, one.film)
    async with database.as_user(one.user_id) as conn:
        queued = await conn.fetchval("SELECT array_agg(object_key) FROM file_deletions")
    assert queued == [asset_of_job(one.film).object_key]


async def test_files_that_were_deleted_meanwhile_are_not_recorded(database: Database) -> None:
    one = await film_of(database)
    made = MadeFiles(assets=[asset_of_job(one.film)])
    with pytest.raises(FilesExpiredError):
        async with database.as_user(one.user_id) as conn:
            await complete_media_job(conn, one.user_id, one.film.job_id, made)
    async with database.as_user(one.user_id) as conn:
        assert (await get_job(conn, one.film.job_id)).state is JobState.WAITING


async def test_content_key_is_claimed_by_one_of_two_jobs(database: Database) -> None:
    user_id = await new_user(database)
    one, other = [await accept_film(database, new_film(user_id)) for _ in range(2)]
    claims = await asyncio.gather(claim(database, one.film), claim(database, other.film))
    assert sorted(each.is_busy for each in claims) == [False, True]
    winner, loser = (one, other) if claims[1].is_busy else (other, one)
    assert await claim(database, winner.film) == Claim()
    await complete(database, winner.film)
    assert await claim(database, loser.film) == Claim(made_by=winner.film.job_id)


async def test_content_key_passes_on_after_a_failure_or_deletion(database: Database) -> None:
    user_id = await new_user(database)
    one, two, three = [await accept_film(database, new_film(user_id)) for _ in range(3)]
    await claim(database, one.film)
    await fail(database, one.film)
    assert await claim(database, two.film) == Claim()
    await complete(database, two.film)
    async with database.as_user(user_id) as conn:
        await conn.execute("DELETE FROM assets WHERE job_id = $1", two.film.job_id)
    assert await claim(database, three.film) == Claim()


async def test_content_keys_of_two_users_are_independent(database: Database) -> None:
    one, other = await film_of(database), await film_of(database)
    await claim(database, one.film)
    assert await claim(database, other.film) == Claim()


async def test_retry_makes_a_failed_media_step_again_at_no_cost(database: Database) -> None:
    one = await film_of(database)
    await fail(database, one.film)
    async with database.as_user(one.user_id) as conn:
        assert await lock_open_execution(conn, one.ref) is not None
        await conn.execute(
            "UPDATE jobs SET state = 'completed', report = $2, ended_at = now() WHERE job_id = $1",
            one.video.job_id,
            report_to_json(JobReport(state=JobState.COMPLETED, outputs=(VIDEO_FILE,))),
        )
        await release_hold(conn, one.video.job_id)
        await mark_ended(
            conn,
            one.execution_id,
            ExecutionStatus.FAILED,
            progress=50,
            result=None,
            error={"code": FAILED.code, "message": FAILED.message},
        )
    async with database.as_user(one.user_id) as conn:
        execution = await lock_execution(conn, one.user_id, one.execution_id)
        assert execution is not None
        purchases = await list_purchases(conn, one.execution_id)
        steps = decide_retry(execution.plan, purchases, FailureCode.MEDIA_FAILED)
        assert [item.action for item in steps] == [RetryAction.KEPT, RetryAction.MADE]
        await queue_again(conn, execution, steps, {})
        claimed = await claim_execution(conn, replace(one.ref, generation=2))
    film = claimed.jobs[1]
    assert (film.state, film.job_id == one.film.job_id) == (JobState.WAITING, False)


async def test_retry_keeps_a_stored_media_step(database: Database) -> None:
    one = await film_of(database)
    await complete(database, one.film)
    async with database.as_user(one.user_id) as conn:
        execution = await lock_execution(conn, one.user_id, one.execution_id)
        assert execution is not None
        purchases = await list_purchases(conn, one.execution_id)
        await conn.execute("DELETE FROM assets WHERE job_id = $1", one.film.job_id)
        without_file = await list_purchases(conn, one.execution_id)
    actions = [
        decide_retry(execution.plan, found, None)[1].action for found in (purchases, without_file)
    ]
    assert actions == [RetryAction.KEPT, RetryAction.MADE]
