"""Raised holds: more money for steps whose price became known later, within every limit."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from core.domain.money import NanoUsd
from core.store.database import Database
from core.store.money.raised_holds import ExecutionCostError, raise_hold
from core.store.money.reports.ledger_check import list_findings
from tests.support.rows import IMAGE_PRICE, VIDEO_PRICE, Accepted, accept, new_execution, new_user
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G4")

MORE = IMAGE_PRICE


@pytest.fixture
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=4) as opened,
    ):
        yield opened


async def raise_video(database: Database, one: Accepted) -> None:
    async with database.as_user(one.user_id) as conn:
        await raise_hold(conn, one.video.job_id, NanoUsd(VIDEO_PRICE + MORE))


async def until_blocked(database: Database) -> None:
    async with database.reading_all() as conn, asyncio.timeout(15):
        while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


async def test_two_steps_at_once_stay_within_the_maximum_cost(database: Database) -> None:
    new = new_execution(await new_user(database))
    limit = NanoUsd(IMAGE_PRICE + VIDEO_PRICE + MORE)
    one = await accept(database, replace(new, max_cost_nano_usd=limit))
    async with database.as_user(one.user_id) as conn:
        await raise_hold(conn, one.image.job_id, NanoUsd(IMAGE_PRICE + MORE))
        second = asyncio.create_task(raise_video(database, one))
        await until_blocked(database)
    with pytest.raises(ExecutionCostError):
        await second
    async with database.reading_all() as conn:
        assert await conn.fetchval("SELECT sum(held_nano_usd)::bigint FROM charges") == limit
        assert await list_findings(conn) == []
