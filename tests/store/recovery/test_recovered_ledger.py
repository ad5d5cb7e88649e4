"""The ledger of a recovered database is consistent, whichever state the backup contains."""

from contextlib import AsyncExitStack
from copy import deepcopy
from datetime import date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from core.domain.money import NanoUsd
from core.domain.states import ExecutionStatus, JobState
from core.store.database import Database
from core.store.executions.executions import NewExecution, claim_execution
from core.store.jobs.jobs import get_job
from core.store.money.charges import get_money, release_hold
from core.store.money.refunds import refund_by_hand
from core.store.money.reports.ledger_check import list_findings
from core.store.recovery.start_memo import Rebuilt, StartMemo, get_accepted, rebuild
from tests.store.money.books import buy, end, retry
from tests.support.rows import (
    IMAGE_PRICE,
    VIDEO_PRICE,
    Accepted,
    accept,
    new_execution,
    new_user,
)
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G3")

COST = 3 * IMAGE_PRICE


async def recovered(fresh: FreshDatabase, document: StartMemo, expected: Rebuilt) -> list[str]:
    """Return the findings of the ledger check after two recoveries.

    The second recovery repeats the first one, as after a recovery that was killed.
    """
    async with Database.open(fresh.application_dsn, max_connections=2) as database:
        for _ in range(2):
            async with database.as_system() as conn:
                assert await rebuild(conn, document) in (expected, Rebuilt.OPEN)
        async with database.reading_all() as conn:
            return [f"{finding.check}: {finding.text}" for finding in await list_findings(conn)]


async def advance(
    database: Database, state: str, new: NewExecution, one: Accepted | None
) -> Accepted | None:
    if state == "queued":
        return await accept(database, new, claimed=False)
    assert one is not None
    if state == "running":
        async with database.as_user(one.user_id) as conn:
            await claim_execution(conn, one.ref)
    elif state == "bought":
        await buy(database, one, "req-bought", COST)
    elif state == "refunded":
        async with database.as_system() as conn:
            await refund_by_hand(conn, one.image.job_id, NanoUsd(5))
    else:
        await end(database, one, ExecutionStatus.FAILED)
    return one


STATES = ("nothing", "queued", "running", "bought", "refunded", "failed")


@pytest.mark.parametrize("backed_up", STATES)
async def test_ledger_is_consistent_after_a_recovery_of_a_retry(
    postgres_server: PostgresServer, fresh_database: FreshDatabase, backed_up: str
) -> None:
    """After the backup, the execution buys, is refunded in part, fails and is retried."""
    url = fresh_database.application_dsn
    async with AsyncExitStack() as stack:
        async with Database.open(url, max_connections=4) as database:
            new, one, backup = new_execution(await new_user(database)), None, None
        for state in STATES:
            if state != "nothing":
                async with Database.open(url, max_connections=4) as database:
                    one = await advance(database, state, new, one)
            if state == backed_up:  # PostgreSQL copies a database only without connections
                backup = await stack.enter_async_context(
                    new_database(postgres_server, fresh_database.name)
                )
        assert one is not None
        assert backup is not None
        async with Database.open(url, max_connections=4) as database:
            await retry(database, one)
            async with database.as_user(one.user_id) as conn:
                document = StartMemo(document=(await get_accepted(conn, one.execution_id)).document)
        expected = Rebuilt.MADE if backed_up == "nothing" else Rebuilt.RAISED
        assert await recovered(backup, document, expected) == []


def earlier(document: StartMemo, days: int) -> StartMemo:
    """Return the memo of an execution that was accepted this many days earlier."""

    def moved(at: str) -> str:
        return (datetime.fromisoformat(at) - timedelta(days=days)).isoformat()

    plain: dict[str, Any] = deepcopy(dict(document.document))
    for name in ("created_at", "queued_at", "deadline_at"):
        plain["execution"][name] = moved(plain["execution"][name])
    for row in (*plain["jobs"], *plain["charges"]):
        row["created_at"] = moved(row["created_at"])
    for charge in plain["charges"]:
        day = date.fromisoformat(charge["budget_day"]) - timedelta(days=days)
        charge["budget_day"] = day.isoformat()
        charge["budget_month"] = day.replace(day=1).isoformat()
        plain["execution"]["budget_month"] = charge["budget_month"]
    return StartMemo(document=plain)


async def days_of(database: Database) -> list[tuple[int, int]]:
    """Return what each day holds and has settled, the oldest day first."""
    async with database.as_system() as conn:
        rows = await conn.fetch(
            "SELECT held_nano_usd, settled_nano_usd FROM daily_spending ORDER BY day"
        )
        return [(row["held_nano_usd"], row["settled_nano_usd"]) for row in rows]


@pytest.mark.parametrize("days", [1, 31, 400])
async def test_later_recovery_counts_on_the_day_of_the_hold(
    fresh_database: FreshDatabase, days: int
) -> None:
    """Held money of the recovered execution leaves its own day, never another customer's."""
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))
        async with database.as_user(one.user_id) as conn:
            document = earlier(
                StartMemo(document=(await get_accepted(conn, one.execution_id)).document), days
            )
        owner = await asyncpg.connect(fresh_database.owner_dsn)
        await owner.execute(  # the restore
            "TRUNCATE executions, execution_events, budgets, daily_spending, usage_money, usage_videos CASCADE"
        )
        await owner.close()
        other = await accept(database, new_execution(await new_user(database)))
        for _ in range(2):  # the second recovery repeats the first one
            async with database.as_system() as conn:
                await rebuild(conn, document)
        held = IMAGE_PRICE + VIDEO_PRICE
        assert await days_of(database) == [(held, 0), (held, 0)]
        async with database.as_user(one.user_id) as conn:
            await claim_execution(conn, one.ref)
        await buy(database, one, "req-recovered", COST)
        async with database.as_user(one.user_id) as conn:
            await release_hold(conn, one.video.job_id)
        assert await days_of(database) == [(0, COST), (held, 0)]
        await buy(database, other, "req-other", COST)
        assert await days_of(database) == [(0, COST), (VIDEO_PRICE, COST)]
        async with database.reading_all() as conn:
            assert await list_findings(conn) == []


async def test_reused_purchase_waits_after_a_recovery(fresh_database: FreshDatabase) -> None:
    """Its copies may be lost with their rows: it is to look again, and holds its money again."""
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        one = await accept(database, new_execution(await new_user(database)))
        async with database.as_user(one.user_id) as conn:
            document = deepcopy((await get_accepted(conn, one.execution_id)).document)
        job = next(job for job in document["jobs"] if job["job_id"] == one.image.job_id)
        job |= {"state": "completed", "reused_from": "job_lost", "ended_at": job["created_at"]}
        charge = next(item for item in document["charges"] if item["job_id"] == job["job_id"])
        charge |= {"state": "released", "ended_at": charge["created_at"]}
        owner = await asyncpg.connect(fresh_database.owner_dsn)
        await owner.execute(  # the restore
            "TRUNCATE executions, execution_events, budgets, daily_spending, usage_money, usage_videos CASCADE"
        )
        await owner.close()
        async with database.as_system() as conn:
            assert await rebuild(conn, StartMemo(document=document)) is Rebuilt.MADE
        async with database.as_user(one.user_id) as conn:
            assert (await get_job(conn, one.image.job_id)).state is JobState.WAITING
            money = await get_money(conn, one.execution_id)
        assert money.held_nano_usd == IMAGE_PRICE + VIDEO_PRICE
        async with database.reading_all() as conn:
            assert await list_findings(conn) == []
