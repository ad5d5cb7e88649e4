"""The limit of a user's media steps: their processor time in a month."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import UserId
from core.store.accounts.users import UserLimits
from core.store.database import Database
from core.store.executions.executions import insert_execution
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.limits.media_seconds import MediaSecondsExceededError
from core.store.jobs.jobs import cancel_waiting_jobs
from core.store.jobs.media_jobs import MadeFiles, complete_media_job, mark_media_started
from core.store.money.reports.usage import get_usage
from tests.support.media_rows import AcceptedFilm, accept_film, new_film
from tests.support.rows import assert_books_balance, new_execution, new_user
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G4")

FILM_SECONDS = 10
"""The usual time of the media step of a film."""
NOTHING_MADE = MadeFiles(assets=[], processor_ms=4_200)


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=6) as opened,
    ):
        yield opened


async def user_with(database: Database, media_seconds: int | None) -> UserId:
    limits = UserLimits(monthly_videos=None, monthly_nano_usd=None, media_seconds=media_seconds)
    return await new_user(database, limits)


async def order(database: Database, user_id: UserId, setting: int | None = None) -> None:
    async with database.as_user(user_id) as conn:
        limits = ConcurrencyLimits(media_seconds=setting)
        await insert_execution(conn, new_film(user_id), limits)


async def refusal(database: Database, user_id: UserId, setting: int | None = None) -> list[int]:
    with pytest.raises(MediaSecondsExceededError) as refused:
        await order(database, user_id, setting)
    return [refused.value.needed, refused.value.left, refused.value.limit]


async def complete(database: Database, one: AcceptedFilm) -> None:
    async with database.as_user(one.user_id) as conn:
        assert await complete_media_job(conn, one.user_id, one.film.job_id, NOTHING_MADE)


async def test_concurrent_orders_fill_the_media_limit_exactly(database: Database) -> None:
    user_id = await user_with(database, 3 * FILM_SECONDS + 5)
    answers = await asyncio.gather(
        *(order(database, user_id) for _ in range(20)), return_exceptions=True
    )
    assert answers.count(None) == 3
    refused = [answer for answer in answers if answer is not None]
    assert {type(answer) for answer in refused} == {MediaSecondsExceededError}
    async with database.as_user(user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM executions") == 3
        await assert_books_balance(conn, user_id)


async def test_finished_media_step_counts_with_its_measured_time(database: Database) -> None:
    user_id = await user_with(database, 2 * FILM_SECONDS + 4)
    one = await accept_film(database, new_film(user_id))
    await accept_film(database, new_film(user_id))
    assert await refusal(database, user_id) == [FILM_SECONDS, 4, 24]
    await complete(database, one)
    assert await refusal(database, user_id) == [FILM_SECONDS, 9, 24]


async def test_own_media_limit_replaces_the_setting(database: Database) -> None:
    raised, usual = await user_with(database, FILM_SECONDS), await user_with(database, None)
    await order(database, raised, setting=0)
    assert await refusal(database, usual, setting=9) == [FILM_SECONDS, 9, 9]
    await order(database, usual)


async def test_plan_without_media_steps_ignores_the_media_limit(database: Database) -> None:
    user_id = await user_with(database, 0)
    async with database.as_user(user_id) as conn:
        await insert_execution(conn, new_execution(user_id))


async def test_cancelled_media_step_counts_while_it_ran(database: Database) -> None:
    user_id = await user_with(database, None)
    started, waiting = [await accept_film(database, new_film(user_id)) for _ in range(2)]
    async with database.as_user(user_id) as conn:
        await mark_media_started(conn, started.film.job_id)
        await conn.execute(
            "UPDATE jobs SET submitted_at = now() - interval '3 s' WHERE submitted_at IS NOT NULL"
        )
        for one in (started, waiting):
            await cancel_waiting_jobs(conn, one.execution_id)
        assert (await get_usage(conn, user_id)).media_ms == 3_000
