"""Charges: holds, settlements and releases keep the ledger, the charges and the budgets equal."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import ProviderHandle
from core.domain.money import NanoUsd
from core.domain.states import CostBasis
from core.store.accounts.users import UserLimits
from core.store.database import Database
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import begin_send
from core.store.money.budget_counters import count_video, move_budget
from core.store.money.charges import (
    BudgetExceededError,
    ChargeConflictError,
    get_money,
    release_charge,
)
from core.store.money.settlement import settle_charge
from tests.support.rows import (
    IMAGE_PRICE,
    VIDEO_MODEL,
    VIDEO_PRICE,
    Accepted,
    accept,
    assert_books_balance,
    new_execution,
    new_user,
)
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G3", "G4")

PRICE = IMAGE_PRICE + VIDEO_PRICE


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """Share one database among the tests of this module; each test creates its own users."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=12) as opened,
    ):
        yield opened


async def accepted(database: Database) -> Accepted:
    return await accept(database, new_execution(await new_user(database)))


async def kinds(database: Database, one: Accepted) -> dict[str, int]:
    async with database.as_user(one.user_id) as conn:
        await assert_books_balance(conn, one.user_id)
        rows = await conn.fetch(
            "SELECT kind, sum(amount_nano_usd)::bigint AS amount FROM ledger_entries GROUP BY kind"
        )
    return {row["kind"]: row["amount"] for row in rows}


PART = VIDEO_PRICE // 10
BILLS = [0, 1, 5 * PART, 10 * PART - 1, 10 * PART, 10 * PART + 1, 13 * PART, 100 * PART]


@pytest.mark.parametrize("cost", BILLS)
async def test_settle_charge_books_every_nano_dollar(database: Database, cost: int) -> None:
    """A bill above the quote is booked as reported, with the excess as an explicit overage."""
    one = await accepted(database)
    assert await kinds(database, one) == {"held": PRICE}
    async with database.as_user(one.user_id) as conn:
        await settle_charge(conn, one.video.job_id, NanoUsd(cost), CostBasis.REPORTED)
    parts = await kinds(database, one)
    assert parts["settled"] == min(cost, VIDEO_PRICE)
    assert parts.get("released", 0) == max(0, VIDEO_PRICE - cost)
    assert parts.get("overage", 0) == max(0, cost - VIDEO_PRICE)
    async with database.as_user(one.user_id) as conn:
        money = await get_money(conn, one.execution_id)
    assert (money.held_nano_usd, money.settled_nano_usd) == (IMAGE_PRICE, cost)


async def test_settle_charge_twice_is_one_settlement(database: Database) -> None:
    one = await accepted(database)
    for repeated in (False, True):
        async with database.as_user(one.user_id) as conn:
            settlement = await settle_charge(
                conn, one.video.job_id, VIDEO_PRICE, CostBasis.COMPUTED
            )
        assert settlement.repeated is repeated
    assert (await kinds(database, one))["settled"] == VIDEO_PRICE


async def test_settle_charge_by_many_at_once_is_one_settlement(database: Database) -> None:
    one = await accepted(database)

    async def settle() -> bool:
        async with database.as_user(one.user_id) as conn:
            return (
                await settle_charge(conn, one.video.job_id, VIDEO_PRICE, CostBasis.COMPUTED)
            ).repeated

    assert sorted(await asyncio.gather(*(settle() for _ in range(8)))) == [False] + [True] * 7
    assert (await kinds(database, one))["settled"] == VIDEO_PRICE


async def test_settle_charge_with_another_amount_is_a_conflict(
    database: Database,
) -> None:
    one = await accepted(database)
    async with database.as_user(one.user_id) as conn:
        await settle_charge(conn, one.video.job_id, VIDEO_PRICE, CostBasis.COMPUTED)
    before = await kinds(database, one)
    with pytest.raises(ChargeConflictError):
        async with database.as_user(one.user_id) as conn:
            await settle_charge(conn, one.video.job_id, NanoUsd(1), CostBasis.COMPUTED)
    assert await kinds(database, one) == before


async def test_settle_charge_books_an_orphan_as_one(database: Database) -> None:
    """An orphan has no hold but counts against the budget."""
    one = await accepted(database)
    async with database.as_user(one.user_id) as conn:
        assert await begin_send(conn, one.video, 1, {"url": "x"}, {"prompt": "x"})
        handle = ProviderHandle(
            provider="replicate", model=VIDEO_MODEL, provider_job_id=ProviderJobId(one.video.job_id)
        )
        orphan = await record_orphan(conn, one.video.job_id, 1, handle)
        assert orphan is not None
        assert await record_orphan(conn, one.video.job_id, 1, handle) is None
    async with database.as_user(one.user_id) as conn:
        money = await get_money(conn, one.execution_id)
        assert (money.open_bills, money.held_nano_usd) == (3, PRICE)
        for repeated in (False, True):
            settlement = await settle_charge(conn, orphan, NanoUsd(77), CostBasis.REPORTED)
            assert settlement.repeated is repeated
    assert await kinds(database, one) == {"held": PRICE, "orphan": 77}
    async with database.as_user(one.user_id) as conn:
        assert await conn.fetchval("SELECT settled_nano_usd FROM budgets") == 77
        money = await get_money(conn, one.execution_id)
    assert (money.open_bills, money.settled_nano_usd) == (2, 77)


async def test_release_charge_releases_the_hold_once(database: Database) -> None:
    one = await accepted(database)
    async with database.as_user(one.user_id) as conn:
        move = await release_charge(conn, one.image.job_id)
        assert move is not None
        await move_budget(conn, move)
    async with database.as_user(one.user_id) as conn:
        assert await release_charge(conn, one.image.job_id) is None
    assert await kinds(database, one) == {"held": PRICE, "released": IMAGE_PRICE}


async def test_hundred_concurrent_holds_never_exceed_the_limit(
    database: Database,
) -> None:
    limits = UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(11 * PRICE - 1))
    user_id = await new_user(database, limits)

    async def hold() -> bool:
        try:
            await accept(database, new_execution(user_id), claimed=False)
        except BudgetExceededError:
            return False
        return True

    assert sum(await asyncio.gather(*(hold() for _ in range(100)))) == 10
    async with database.as_user(user_id) as conn:
        await assert_books_balance(conn, user_id)
        assert await conn.fetchval("SELECT held_nano_usd FROM budgets") == 10 * PRICE
        assert await conn.fetchval("SELECT count(*) FROM executions") == 10


async def test_hold_counts_videos_and_releases_those_not_completed(
    database: Database,
) -> None:
    user_id = await new_user(database, UserLimits(monthly_videos=1, monthly_nano_usd=None))
    first = await accept(database, new_execution(user_id))
    with pytest.raises(BudgetExceededError):
        await accept(database, new_execution(user_id))
    async with database.as_user(user_id) as conn:
        await count_video(conn, first.execution_id, completed=False)
    second = await accept(database, new_execution(user_id))
    async with database.as_user(user_id) as conn:
        await count_video(conn, second.execution_id, completed=True)
    with pytest.raises(BudgetExceededError):
        await accept(database, new_execution(user_id))


async def test_overage_always_commits_and_counts_against_the_next_hold(database: Database) -> None:
    user_id = await new_user(
        database, UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(2 * PRICE))
    )
    one = await accept(database, new_execution(user_id))
    async with database.as_user(user_id) as conn:
        await settle_charge(conn, one.video.job_id, NanoUsd(3 * PRICE), CostBasis.REPORTED)
    assert (await kinds(database, one))["overage"] == 3 * PRICE - VIDEO_PRICE
    with pytest.raises(BudgetExceededError):
        await accept(database, new_execution(user_id))
