"""The daily spending cap over all users, and the commands that set and show it."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.money import NanoUsd, usd_text
from core.domain.states import CostBasis
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.money.charges import release_hold
from core.store.money.daily_spending_cap import (
    ServiceBudgetExceededError,
    get_service_today,
    set_daily_limit,
)
from core.store.money.settlement import settle_charge
from tests.support.admin import run_admin
from tests.support.rows import (
    IMAGE_PRICE,
    VIDEO_PRICE,
    accept,
    assert_books_balance,
    new_execution,
    new_user,
)
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G4")

PRICE = IMAGE_PRICE + VIDEO_PRICE


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=12) as opened:
        yield opened


async def limit(database: Database, nano_usd: int | None) -> None:
    async with database.as_system() as conn:
        await set_daily_limit(conn, None if nano_usd is None else NanoUsd(nano_usd))


async def today(database: Database) -> tuple[int, int]:
    """Return the held and settled sums of today after checking them against the charges."""
    async with database.as_system() as conn:
        now = await get_service_today(conn)
        row = await conn.fetchrow(
            "SELECT coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0)::bigint,"
            " coalesce(sum(settled_nano_usd), 0)::bigint FROM charges WHERE budget_day = $1",
            now.day,
        )
    assert row is not None
    assert tuple(row) == (now.held_nano_usd, now.settled_nano_usd)
    return now.held_nano_usd, now.settled_nano_usd


async def test_daily_limit_is_never_exceeded_by_concurrent_users(
    database: Database,
) -> None:
    await limit(database, 11 * PRICE - 1)
    users = [await new_user(database) for _ in range(4)]

    async def hold(number: int) -> bool:
        try:
            await accept(database, new_execution(users[number % 4]), claimed=False)
        except ServiceBudgetExceededError:
            return False
        return True

    assert sum(await asyncio.gather(*(hold(number) for number in range(60)))) == 10
    assert await today(database) == (10 * PRICE, 0)
    for user_id in users:
        async with database.as_user(user_id) as conn:
            await assert_books_balance(conn, user_id)
            open_executions = await conn.fetchval(
                "SELECT open_executions FROM concurrency_counters"
            )
            assert open_executions == await conn.fetchval("SELECT count(*) FROM executions")


async def test_daily_limit_counts_settled_costs(database: Database) -> None:
    user_id = await new_user(database)
    one = await accept(database, new_execution(user_id))
    await limit(database, PRICE)
    with pytest.raises(ServiceBudgetExceededError):
        await accept(database, new_execution(user_id))
    async with database.as_user(user_id) as conn:
        await release_hold(conn, one.video.job_id)
    async with database.as_user(user_id) as conn:
        await settle_charge(conn, one.image.job_id, NanoUsd(0), CostBasis.REPORTED)
    assert await today(database) == (0, 0)
    other = await accept(database, new_execution(user_id))
    async with database.as_user(user_id) as conn:
        await settle_charge(
            conn, other.video.job_id, NanoUsd(5 * PRICE), CostBasis.REPORTED
        )  # commits despite the limit
    assert await today(database) == (IMAGE_PRICE, 5 * PRICE)
    with pytest.raises(ServiceBudgetExceededError):
        await accept(database, new_execution(user_id))
    await limit(database, None)
    await accept(database, new_execution(user_id))


async def test_first_hold_of_a_day_respects_the_limit(database: Database) -> None:
    await limit(database, PRICE - 1)
    with pytest.raises(ServiceBudgetExceededError):
        await accept(database, new_execution(await new_user(database)))
    assert await today(database) == (0, 0)


async def test_bill_of_yesterday_counts_against_yesterday(
    fresh_database: FreshDatabase, database: Database
) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE charges SET budget_day = budget_day - 1 WHERE job_id = $1", one.video.job_id
        )
        await conn.execute(
            "INSERT INTO daily_spending (day, held_nano_usd) SELECT day - 1, $1 FROM daily_spending",
            VIDEO_PRICE,
        )
        await conn.execute("UPDATE daily_spending SET held_nano_usd = held_nano_usd - $1 WHERE day = $2", VIDEO_PRICE,
                           datetime.now(UTC).date())  # fmt: skip
    await limit(database, PRICE)
    async with database.as_user(one.user_id) as conn:
        await settle_charge(conn, one.video.job_id, NanoUsd(9 * PRICE), CostBasis.REPORTED)
    assert await today(database) == (IMAGE_PRICE, 0)
    shown = (await run_admin(fresh_database.application_dsn, "service", "show")).json
    assert shown["leftUsd"] == usd_text(VIDEO_PRICE)


async def test_settlement_locks_the_shared_day_only_for_its_commit(database: Database) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    async with database.as_user(one.user_id) as conn:
        await settle_charge(conn, one.video.job_id, NanoUsd(7), CostBasis.REPORTED)
        async with database.as_system() as other:  # another user's settlement, meanwhile
            locked = "SELECT held_nano_usd FROM daily_spending FOR UPDATE NOWAIT"
            assert await other.fetchval(locked) == PRICE
    assert await today(database) == (IMAGE_PRICE, 7)


async def test_admin_sets_and_shows_the_daily_limit(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    shown = (await run_admin(url, "service", "show")).json
    assert (shown["dailyUsd"], shown["heldUsd"], shown["settledUsd"], shown["leftUsd"]) == (
        None,
        "0",
        "0",
        None,
    )
    await accept(database, new_execution(await new_user(database)))
    shown = (await run_admin(url, "service", "set-daily-limit", "0.5", "--actor", "Ada")).json
    assert (shown["dailyUsd"], shown["heldUsd"]) == ("0.5", usd_text(PRICE))
    assert shown["leftUsd"] == usd_text(500_000_000 - PRICE)
    resets_at = datetime.fromisoformat(shown["resetsAt"])
    assert timedelta(0) < resets_at - datetime.now(UTC) <= timedelta(days=1)
    assert (await run_admin(url, "service", "set-daily-limit", "none", "--actor", "Bob")).json[
        "dailyUsd"
    ] is None
    refused = await run_admin(url, "service", "set-daily-limit", "1e3")
    assert (refused.code, "not an amount" in refused.err) == (2, True)
    async with database.as_system() as conn:
        entries = [(one.actor, one.action, dict(one.detail)) for one in await list_audit(conn)]
    assert entries == [
        ("Bob", "service set-daily-limit", {"from": "0.5", "to": None}),
        ("Ada", "service set-daily-limit", {"from": None, "to": "0.5"}),
    ]


async def test_admin_sets_the_concurrency_limit_of_a_user(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    made = (await run_admin(url, "users", "create", "Ada", "--running-executions", "3")).json
    assert (made["openExecutions"], made["runningExecutions"]) == ("default", 3)
    changed = (
        await run_admin(url, "users", "set-limits", made["userId"], "--open-executions", "7")
    ).json
    assert (changed["openExecutions"], changed["runningExecutions"]) == (7, 3)
    changed = (
        await run_admin(
            url, "users", "set-limits", made["userId"], "--running-executions", "default"
        )
    ).json
    assert (changed["openExecutions"], changed["runningExecutions"]) == (7, "default")
    await run_admin(url, "users", "set-limits", made["userId"], "--media-seconds", "3600")
    (listed,) = (await run_admin(url, "users", "list")).json
    assert (listed["openExecutions"], listed["runningExecutions"]) == (7, "default")
    assert listed["mediaSeconds"] == 3600
