"""Spend limits of API keys: never exceeded, counted like budgets, verified by the ledger check."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

import pytest

from core.domain.ids import KeyId, UserId
from core.domain.money import NanoUsd
from core.domain.retries import decide_retry
from core.domain.scopes import USUAL_SCOPES
from core.domain.states import CostBasis, ExecutionStatus
from core.store.accounts.users import UserLimits, insert_api_key, revoke_api_key
from core.store.database import Database
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.retries import lock_execution, lock_purchases, queue_again
from core.store.jobs.orphans import record_orphan
from core.store.money.adjustments import adjust_charge
from core.store.money.charges import BudgetExceededError, Hold, hold_as_before, release_hold
from core.store.money.key_spending import (
    NO_LIMIT,
    KeySpendLimitReachedError,
    Period,
    SpendLimit,
    find_key_spending,
    lock_spend_limit,
    set_spend_limit,
)
from core.store.money.raised_holds import raise_hold
from core.store.money.refunds import refund_by_hand
from core.store.money.reports.ledger_check import list_findings
from core.store.money.settlement import settle_charge
from core.store.recovery.counter_repair import repair_counters
from tests.store.money.books import buy, end, handle
from tests.support.rows import (
    IMAGE_MODEL,
    IMAGE_PRICE,
    MEGAPIXEL,
    VIDEO_PRICE,
    Accepted,
    accept,
    new_execution,
    new_user,
    quote_at,
)
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G4")

PRICE = IMAGE_PRICE + VIDEO_PRICE
COUNTERS = ("key-spending", "budgets", "days", "charges")


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=12) as opened,
    ):
        yield opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of a user of its own."""

    database: Database
    user_id: UserId
    key_id: KeyId

    async def order(self) -> Accepted:
        return await accept(self.database, replace(new_execution(self.user_id), key_id=self.key_id))

    async def limit(self, daily: int | None = None, monthly: int | None = None) -> None:
        async with self.database.as_user(self.user_id) as conn:
            locked = await lock_spend_limit(conn, self.key_id, user_id=self.user_id)
            await set_spend_limit(conn, locked, _limit(daily, monthly))

    async def spent(self) -> tuple[int, int]:
        """Return what is held and settled today, after the ledger check of both periods."""
        async with self.database.reading_all() as conn:
            assert [found for found in await list_findings(conn) if found.check in COUNTERS] == []
        async with self.database.reading_as(self.user_id) as conn:
            spending = await find_key_spending(conn, self.user_id, self.key_id)
        assert spending is not None
        day, month = spending.day, spending.month
        assert (day.held_nano_usd, day.settled_nano_usd) == (
            month.held_nano_usd,
            month.settled_nano_usd,
        )
        return day.held_nano_usd, day.settled_nano_usd


def _limit(daily: int | None = None, monthly: int | None = None) -> SpendLimit:
    return SpendLimit(
        daily_nano_usd=None if daily is None else NanoUsd(daily),
        monthly_nano_usd=None if monthly is None else NanoUsd(monthly),
    )


async def new_key(
    database: Database, limit: SpendLimit = NO_LIMIT, user_id: UserId | None = None
) -> Key:
    user_id = user_id or await new_user(database)
    async with database.as_user(user_id) as conn:
        made = await insert_api_key(
            conn, user_id, "key", scopes=USUAL_SCOPES, made_by="key_0", spend_limit=limit
        )
    return Key(database=database, user_id=user_id, key_id=made.key_id)


@pytest.mark.parametrize("period", Period)
async def test_concurrent_orders_never_pass_the_limit(database: Database, period: Period) -> None:
    amount = 6 * PRICE - 1
    limit = _limit(daily=amount) if period is Period.DAY else _limit(monthly=amount)
    key = await new_key(database, limit)
    refused: set[tuple[KeyId, Period]] = set()

    async def order() -> bool:
        try:
            await key.order()
        except KeySpendLimitReachedError as error:
            refused.add((error.key_id, error.period))
            return False
        return True

    assert sum(await asyncio.gather(*(order() for _ in range(30)))) == 5
    assert refused == {(key.key_id, period)}
    assert await key.spent() == (5 * PRICE, 0)


async def test_first_order_respects_the_limit(database: Database) -> None:
    key = await new_key(database, _limit(daily=PRICE - 1))
    with pytest.raises(KeySpendLimitReachedError):
        await key.order()
    assert await key.spent() == (0, 0)


async def test_limit_of_one_key_leaves_others_alone(database: Database) -> None:
    key = await new_key(database, _limit(daily=0))
    other = await new_key(database, user_id=key.user_id)
    await other.order()
    await accept(database, new_execution(key.user_id))  # by a token
    assert (await key.spent(), await other.spent()) == ((0, 0), (PRICE, 0))


async def test_released_hold_and_refund_can_be_spent_again(database: Database) -> None:
    key = await new_key(database, _limit(daily=PRICE))
    one = await key.order()
    with pytest.raises(KeySpendLimitReachedError):
        await key.order()
    await buy(database, one, f"req-{key.key_id}", IMAGE_PRICE)
    async with database.as_user(key.user_id) as conn:
        await release_hold(conn, one.video.job_id)
    assert await key.spent() == (0, IMAGE_PRICE)
    with pytest.raises(KeySpendLimitReachedError):
        await key.order()
    async with database.as_system() as conn:
        await refund_by_hand(conn, one.image.job_id, IMAGE_PRICE)
    assert await key.spent() == (0, 0)
    await key.order()


async def test_overage_and_adjustment_count(database: Database) -> None:
    key = await new_key(database, _limit(monthly=PRICE))
    one = await key.order()
    async with database.as_user(key.user_id) as conn:
        await settle_charge(conn, one.image.job_id, NanoUsd(4 * PRICE), CostBasis.ASSUMED)
    assert await key.spent() == (VIDEO_PRICE, 4 * PRICE)  # commits despite the limit
    async with database.as_user(key.user_id) as conn:
        await adjust_charge(conn, one.image.job_id, NanoUsd(7), CostBasis.REPORTED)
    assert await key.spent() == (VIDEO_PRICE, 7)


async def test_orphan_counts_for_the_key_of_its_step(database: Database) -> None:
    key = await new_key(database)
    one = await key.order()
    await buy(database, one, f"req-{key.key_id}", IMAGE_PRICE)
    async with database.as_system() as conn:
        orphan = await record_orphan(conn, one.image.job_id, 1, handle(f"orphan-{key.key_id}"))
        assert orphan is not None
        await settle_charge(conn, orphan, NanoUsd(77), CostBasis.REPORTED)
    assert await key.spent() == (VIDEO_PRICE, IMAGE_PRICE + 77)


async def test_raised_hold_stays_within_the_limit(database: Database) -> None:
    key = await new_key(database, _limit(daily=PRICE + 5))
    one = await key.order()
    with pytest.raises(KeySpendLimitReachedError) as refused:
        async with database.as_user(key.user_id) as conn:
            await raise_hold(conn, one.video.job_id, NanoUsd(VIDEO_PRICE + 6))
    assert refused.value.period is Period.DAY
    assert await key.spent() == (PRICE, 0)
    async with database.as_user(key.user_id) as conn:
        await raise_hold(conn, one.video.job_id, NanoUsd(VIDEO_PRICE + 5))
    assert await key.spent() == (PRICE + 5, 0)


async def test_raise_and_order_at_once_stay_within_the_limit(database: Database) -> None:
    key = await new_key(database, _limit(monthly=2 * PRICE))
    one = await key.order()

    async def raise_video() -> None:
        async with database.as_user(key.user_id) as conn:
            await raise_hold(conn, one.video.job_id, NanoUsd(VIDEO_PRICE + 1))

    results = await asyncio.gather(raise_video(), key.order(), return_exceptions=True)
    assert sum(isinstance(result, KeySpendLimitReachedError) for result in results) == 1
    assert (await key.spent())[0] in (PRICE + 1, 2 * PRICE)


async def test_retry_counts_for_the_key_that_retries(database: Database) -> None:
    first = await new_key(database)
    second = await new_key(database, _limit(daily=PRICE - 1), first.user_id)
    one = await first.order()
    await end(database, one, ExecutionStatus.FAILED)
    assert await first.spent() == (0, 0)
    with pytest.raises(KeySpendLimitReachedError):
        await retry(second, one)
    assert (await first.spent(), await second.spent()) == ((0, 0), (0, 0))
    await second.limit(daily=PRICE)
    await retry(second, one)
    assert (await first.spent(), await second.spent()) == ((0, 0), (PRICE, 0))


async def retry(key: Key, one: Accepted) -> None:
    async with key.database.as_user(key.user_id) as conn:
        execution = await lock_execution(conn, one.user_id, one.execution_id)
        assert execution is not None
        purchases = await lock_purchases(conn, one.execution_id)
        steps = decide_retry(execution.plan, purchases, execution.error)
        quotes = {
            step.name: quote_at(price)
            for step, price in zip(execution.plan.steps, (IMAGE_PRICE, VIDEO_PRICE), strict=True)
        }
        await queue_again(conn, execution, steps, quotes, ConcurrencyLimits(), key_id=key.key_id)


async def test_alternative_model_counts_for_the_same_key(database: Database) -> None:
    key = await new_key(database, _limit(daily=PRICE))
    one = await key.order()
    async with database.as_user(key.user_id) as conn:
        await settle_charge(conn, one.image.job_id, NanoUsd(0), CostBasis.COMPUTED)
    async with database.as_user(key.user_id) as conn:
        await conn.execute(
            "INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, orphan)"
            " SELECT $2, execution_id, step_name, user_id, 1, provider, model, true FROM jobs WHERE job_id = $1",
            one.image.job_id,
            job_id := one.image.job_id + "_2",
        )
        hold = Hold.at(quote_at(NanoUsd(5), MEGAPIXEL), job_id=job_id, provider="fal", model=IMAGE_MODEL)  # type: ignore[arg-type] # fmt: skip
        await hold_as_before(conn, one.image.job_id, hold)
    assert await key.spent() == (VIDEO_PRICE + 5, 0)


async def test_lower_limit_applies_to_the_next_order(database: Database) -> None:
    key = await new_key(database)
    await key.order()
    await key.limit(daily=PRICE)  # what was spent without a limit counts
    with pytest.raises(KeySpendLimitReachedError):
        await key.order()
    await key.limit()
    await key.order()


async def test_revoked_key_leaves_its_executions_and_their_limit(database: Database) -> None:
    key = await new_key(database, _limit(daily=PRICE))
    one = await key.order()
    async with database.as_user(key.user_id) as conn:
        await revoke_api_key(conn, key.key_id)
    with pytest.raises(KeySpendLimitReachedError):
        async with database.as_user(key.user_id) as conn:
            await raise_hold(conn, one.video.job_id, NanoUsd(VIDEO_PRICE + 1))
    await buy(database, one, f"req-{key.key_id}", IMAGE_PRICE)
    assert await key.spent() == (VIDEO_PRICE, IMAGE_PRICE)


async def test_free_order_passes_an_exhausted_limit(database: Database) -> None:
    key = await new_key(database, _limit(daily=0))
    new = new_execution(key.user_id)
    free = tuple(replace(step, quote=quote_at(NanoUsd(0))) for step in new.steps)
    await accept(database, replace(new, steps=free, key_id=key.key_id))
    assert await key.spent() == (0, 0)


async def test_users_budget_is_checked_before_the_key(database: Database) -> None:
    limits = UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(PRICE))
    key = await new_key(database, _limit(daily=2 * PRICE), await new_user(database, limits))
    await key.order()
    with pytest.raises(BudgetExceededError):
        await key.order()
    assert await key.spent() == (PRICE, 0)


async def test_check_finds_a_wrong_key_counter_and_repairs_it(
    postgres_server: PostgresServer, template_database: str
) -> None:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=4) as database,
    ):
        key = await new_key(database)
        await key.order()
        async with database.as_system() as conn:
            await conn.execute("UPDATE key_spending SET held_nano_usd = 1 WHERE period = 'day'")
            await conn.execute("DELETE FROM key_spending WHERE period = 'month'")
        async with database.reading_all() as conn:
            found = await list_findings(conn)
        assert [finding.check for finding in found] == ["key-spending"] * 2
        assert {finding.target.split()[0] for finding in found} == {key.key_id}
        async with database.as_system() as conn:
            assert (await repair_counters(conn, dry_run=False)).remaining == []
        assert await key.spent() == (PRICE, 0)
