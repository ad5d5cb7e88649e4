"""Budget alerts: each threshold of a month is reported once, in the transaction that reaches it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from core.domain.ids import ProviderJobId, UserId
from core.domain.messages.jobs import ProviderHandle
from core.domain.money import NanoUsd, usd_text
from core.domain.months import next_month, reached_percents
from core.domain.states import CostBasis, ExecutionStatus
from core.store.accounts.users import UserLimits, set_limits
from core.store.database import Connection, Database
from core.store.executions.ends import mark_ended
from core.store.executions.retries import lock_execution, queue_again
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import begin_send
from core.store.money.budget_counters import count_video
from core.store.money.charges import BudgetExceededError, release_hold
from core.store.money.settlement import record_cost, settle_charge
from core.store.recovery.start_memo import Rebuilt, get_accepted, rebuild
from core.store.recovery.start_memo import StartMemo as RecoveredExecution
from core.store.webhooks.endpoints import set_webhook_url
from tests.support.rows import (
    IMAGE_PRICE,
    VIDEO_MODEL,
    VIDEO_PRICE,
    Accepted,
    accept,
    new_execution,
    new_user,
)
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G4")

PRICE = IMAGE_PRICE + VIDEO_PRICE
URL = "https://account.example/hooks"
Alerts = list[tuple[str, int]]
ALL_OF_BOTH = sorted((kind, percent) for kind in ("usd", "videos") for percent in (50, 80, 100))


@pytest.fixture(scope="module")
async def fresh(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    """Share one database among the tests of this module; each test creates its own users."""
    async with new_database(postgres_server, template_database) as made:
        yield made


@pytest.fixture(scope="module")
async def database(fresh: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh.application_dsn, max_connections=12) as opened:
        yield opened


async def account(
    database: Database,
    *,
    executions: int | None = None,
    videos: int | None = None,
    url: str | None = URL,
) -> UserId:
    """Create a user whose month allows this many executions by cost, and this many videos."""
    money = None if executions is None else NanoUsd(executions * PRICE)
    user_id = await new_user(database, UserLimits(monthly_videos=videos, monthly_nano_usd=money))
    async with database.as_system() as conn:
        assert await set_webhook_url(conn, user_id, url)
    return user_id


async def hold(database: Database, user_id: UserId, count: int = 1) -> list[Accepted]:
    return [await accept(database, new_execution(user_id), claimed=False) for _ in range(count)]


async def bodies(database: Database, user_id: UserId) -> list[dict[str, Any]]:
    """Return the bodies of the alerts, in the order it was written."""
    async with database.as_user(user_id) as conn:
        rows = await conn.fetch(
            "SELECT body FROM webhooks WHERE execution_id IS NULL ORDER BY created_at, event_id"
        )
    return [json.loads(row["body"]) for row in rows]


async def alerts(database: Database, user_id: UserId) -> Alerts:
    return sorted((body["kind"], body["percent"]) for body in await bodies(database, user_id))


async def test_hold_that_reaches_thresholds_sends_alerts(database: Database) -> None:
    user_id = await account(database, executions=10, videos=20)
    seen: dict[int, Alerts] = {}
    for number in range(1, 11):
        await hold(database, user_id)
        seen[number] = await alerts(database, user_id)
    half, most = [("usd", 50)], [("usd", 50), ("usd", 80)]

    assert [seen[number] for number in (4, 5, 7, 8, 9)] == [[], half, half, most, most]
    assert seen[10] == [("usd", 50), ("usd", 80), ("usd", 100), ("videos", 50)]


async def test_alert_states_the_threshold_and_its_reset_time(database: Database) -> None:
    user_id = await account(database, executions=2, videos=2)
    await hold(database, user_id)
    money, videos = sorted(await bodies(database, user_id), key=lambda body: body["kind"])
    month = datetime.now(UTC).date().replace(day=1)
    resets_at = next_month(month).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    assert money.pop("timestamp").endswith("Z")
    assert money.pop("id") != videos["id"]
    half = {
        "type": "budget.threshold_reached",
        "month": f"{month:%Y-%m}",
        "percent": 50,
        "resetsAt": resets_at,
    }
    assert money == half | {
        "kind": "usd",
        "currency": "USD",
        "limit": usd_text(2 * PRICE),
        "used": usd_text(PRICE),
        "held": usd_text(PRICE),
        "settled": "0",
    }
    assert {name: videos[name] for name in ("kind", "limit", "used", "held", "settled")} == {
        "kind": "videos",
        "limit": 2,
        "used": 1,
        "held": 1,
        "settled": 0,
    }
    assert "currency" not in videos


async def test_concurrent_holds_send_each_alert_once(database: Database) -> None:
    user_id = await account(database, executions=10, videos=10)
    results = await asyncio.gather(
        *(accept(database, new_execution(user_id), claimed=False) for _ in range(40)),
        return_exceptions=True,
    )

    assert sum(isinstance(result, Accepted) for result in results) == 10
    assert sum(isinstance(result, BudgetExceededError) for result in results) == 30
    assert await alerts(database, user_id) == ALL_OF_BOTH


async def test_hold_that_reaches_several_thresholds_sends_an_alert_each(database: Database) -> None:
    user_id = await account(database, executions=1)
    await hold(database, user_id)

    assert await alerts(database, user_id) == [("usd", 50), ("usd", 80), ("usd", 100)]


async def test_refused_hold_sends_no_alert(database: Database) -> None:
    """The rollback also discards a threshold that one measure reached before the other refused."""
    user_id = await account(database, executions=100, videos=0)
    with pytest.raises(BudgetExceededError):
        await hold(database, user_id)

    assert await alerts(database, user_id) == []


async def test_threshold_reached_again_sends_no_second_alert(database: Database) -> None:
    """The rule holds after a release and after a raised limit."""
    user_id = await account(database, executions=2)
    (one,) = await hold(database, user_id)
    half = [("usd", 50)]
    assert await alerts(database, user_id) == half
    async with database.as_user(user_id) as conn:
        assert await release_hold(conn, one.image.job_id)
        assert await release_hold(conn, one.video.job_id)
    await hold(database, user_id)
    assert await alerts(database, user_id) == half
    async with database.as_system() as conn:
        await set_limits(
            conn, user_id, UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(4 * PRICE))
        )
    await hold(database, user_id)

    assert await alerts(database, user_id) == half


async def test_limit_lowered_to_current_usage_sends_alerts(database: Database) -> None:
    """No later hold could send them, because every hold is refused."""
    user_id = await account(database, executions=10)
    await hold(database, user_id, 2)
    assert await alerts(database, user_id) == []
    async with database.as_system() as conn:
        await set_limits(
            conn, user_id, UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(2 * PRICE))
        )

    assert await alerts(database, user_id) == [("usd", 50), ("usd", 80), ("usd", 100)]


async def test_cost_above_its_hold_reaches_thresholds(database: Database) -> None:
    user_id = await account(database, executions=3)
    (one,) = await hold(database, user_id)
    assert await alerts(database, user_id) == []
    async with database.as_user(user_id) as conn:
        await settle_charge(conn, one.video.job_id, NanoUsd(2 * VIDEO_PRICE), CostBasis.REPORTED)
    assert await alerts(database, user_id) == [("usd", 50)]


async def test_adjustment_upwards_reaches_thresholds(database: Database) -> None:
    user_id = await account(database, executions=3)
    (one,) = await hold(database, user_id)
    async with database.as_user(user_id) as conn:
        await settle_charge(conn, one.video.job_id, NanoUsd(1), CostBasis.ASSUMED)
        await record_cost(conn, one.video.job_id, NanoUsd(3 * PRICE), CostBasis.REPORTED)
        await record_cost(conn, one.video.job_id, NanoUsd(3 * PRICE), CostBasis.REPORTED)
    assert await alerts(database, user_id) == [("usd", 50), ("usd", 80), ("usd", 100)]


async def orphan_of(conn: Connection, one: Accepted) -> None:
    """Book a second purchase by the same send, billed at the price of an execution."""
    assert await begin_send(conn, one.video, 1, {}, {})
    handle = ProviderHandle(
        provider="replicate",
        model=VIDEO_MODEL,
        provider_job_id=ProviderJobId(f"late-{one.execution_id}"),
    )
    orphan = await record_orphan(conn, one.video.job_id, 1, handle)
    assert orphan is not None
    await settle_charge(conn, orphan, NanoUsd(PRICE), CostBasis.REPORTED)


async def test_orphan_reaches_thresholds(database: Database) -> None:
    user_id = await account(database, executions=4)
    one = await accept(database, new_execution(user_id))
    async with database.as_user(user_id) as conn:
        await orphan_of(conn, one)
    assert await alerts(database, user_id) == [("usd", 50)]


async def test_retry_that_buys_nothing_counts_its_video(database: Database) -> None:
    user_id = await account(database)
    (one,) = await hold(database, user_id)
    async with database.as_user(user_id) as conn:
        await mark_ended(
            conn, one.execution_id, ExecutionStatus.FAILED, progress=0, result=None, error=None
        )
        await count_video(conn, one.execution_id, completed=False)
    async with database.as_system() as conn:
        await set_limits(conn, user_id, UserLimits(monthly_videos=1, monthly_nano_usd=None))
    assert await alerts(database, user_id) == []
    async with database.as_user(user_id) as conn:
        ended = await lock_execution(conn, user_id, one.execution_id)
        assert ended is not None
        await queue_again(conn, ended, [], {})

    assert await alerts(database, user_id) == [("videos", 50), ("videos", 80), ("videos", 100)]


async def test_account_without_an_endpoint_records_thresholds_without_alerts(
    database: Database,
) -> None:
    user_id = await account(database, executions=2, url=None)
    await hold(database, user_id)
    async with database.as_system() as conn:
        await set_webhook_url(conn, user_id, URL)
    await hold(database, user_id)

    assert await alerts(database, user_id) == [("usd", 80), ("usd", 100)]
    async with database.as_user(user_id) as conn:
        rows = await conn.fetch(
            "SELECT percent, event_id IS NULL AS untold FROM budget_alerts ORDER BY percent"
        )
    assert [tuple(row) for row in rows] == [(50, True), (80, False), (100, False)]


async def test_new_month_resets_thresholds_and_a_past_month_sends_none(
    database: Database, fresh: FreshDatabase
) -> None:
    user_id = await account(database, executions=2)
    (before,) = await hold(database, user_id)
    assert await alerts(database, user_id) == [("usd", 50)]
    owner = await asyncpg.connect(fresh.owner_dsn)
    try:
        await owner.execute("UPDATE budget_alerts SET event_id = NULL WHERE user_id = $1", user_id)
        await owner.execute("DELETE FROM webhooks WHERE user_id = $1", user_id)
        for table in ("budget_alerts", "budgets", "charges", "executions"):
            await owner.execute(
                f"UPDATE {table} SET budget_month = '2024-02-01' WHERE user_id = $1", user_id
            )
    finally:
        await owner.close()
    async with database.as_user(user_id) as conn:  # far above the limit of the previous month
        await settle_charge(conn, before.video.job_id, NanoUsd(9 * PRICE), CostBasis.REPORTED)
    assert await alerts(database, user_id) == []
    await hold(database, user_id)

    assert await alerts(database, user_id) == [("usd", 50)]


async def test_threshold_lost_by_a_restore_keeps_its_event_id(
    fresh_database: FreshDatabase,
) -> None:
    """The receiver recognizes the event by its id, and a completed delivery is not repeated."""
    async with Database.open(fresh_database.application_dsn) as database:
        user_id = await account(database, executions=2)
        (one,) = await hold(database, user_id)
        before = [body["id"] for body in await bodies(database, user_id)]
        async with database.as_system() as conn:
            document = (await get_accepted(conn, one.execution_id)).document
        owner = await asyncpg.connect(fresh_database.owner_dsn)
        try:
            await owner.execute("TRUNCATE executions, execution_events, budgets CASCADE")
        finally:
            await owner.close()
        assert await bodies(database, user_id) == []
        for expected in (Rebuilt.MADE, Rebuilt.OPEN):
            async with database.as_system() as conn:
                assert await rebuild(conn, RecoveredExecution(document=document)) is expected

        assert [body["id"] for body in await bodies(database, user_id)] == before != []


def test_reached_percents_are_exact_at_their_edges() -> None:
    limit = 10**17 + 1  # a float would round it
    half = -(-limit // 2)

    assert reached_percents(limit, half - 1) == ()
    assert reached_percents(limit, half) == (50,)
    assert reached_percents(limit, limit - 1) == (50, 80)
    assert reached_percents(limit, limit) == reached_percents(limit, 3 * limit) == (50, 80, 100)
    assert reached_percents(None, limit) == reached_percents(0, 0) == ()
    assert reached_percents(0, 1) == (50, 80, 100)
