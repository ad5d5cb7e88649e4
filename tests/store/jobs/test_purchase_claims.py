"""Claims of purchases: of equal orders of a user at once, one job buys."""

import asyncio

import pytest

from core.domain.messages.jobs import JobRef
from core.store.database import Database
from core.store.jobs.content_keys import Claim, claim_purchase
from core.store.jobs.jobs import cancel_waiting_jobs
from tests.support.media_rows import accept_film, new_film
from tests.support.rows import new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G2", "G6")

KEY = "key"


async def test_one_of_many_equal_orders_is_bought(fresh_database: FreshDatabase) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=6) as database:

        async def claim(ref: JobRef) -> Claim:
            async with database.as_user(ref.user_id) as conn:
                return await claim_purchase(conn, ref.user_id, KEY, ref.job_id)

        user_id = await new_user(database)
        films = [await accept_film(database, new_film(user_id)) for _ in range(6)]
        foreign = await accept_film(database, new_film(await new_user(database)))
        for _ in range(2):  # the second buyer follows the first one, which failed
            claims = await asyncio.gather(*(claim(film.video) for film in films))
            assert [each.is_busy for each in claims].count(False) == 1
            buyer = films.pop([each.is_busy for each in claims].index(False))
            assert await claim(buyer.video) == Claim()
            async with database.as_user(user_id) as conn:
                await cancel_waiting_jobs(conn, buyer.execution_id)
        assert await claim(foreign.video) == Claim()
