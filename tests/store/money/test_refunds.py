"""Refunds: booked once, at most the billed amount, and deducted from the month and the day."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import JobId
from core.domain.money import NanoUsd
from core.domain.states import CostBasis
from core.store.accounts.users import UserLimits
from core.store.database import Database
from core.store.money.charges import BudgetExceededError, ChargeConflictError, get_money
from core.store.money.refunds import Refunded, refund_by_hand
from core.store.money.reports.ledger_check import list_findings
from core.store.money.settlement import record_cost, settle_charge
from core.store.operator import RefusedError
from tests.store.money.books import buy
from tests.support.admin import run_admin
from tests.support.operator_jobs import given_up, settle
from tests.support.rows import IMAGE_PRICE, VIDEO_PRICE, Accepted, accept, new_execution, new_user
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G3")

COST = 5 * IMAGE_PRICE


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=8) as opened,
    ):
        yield opened


async def bought(database: Database, limits: UserLimits | None = None) -> Accepted:
    """Return an execution whose image is settled with COST, as the provider reported it."""
    user_id = await (new_user(database, limits) if limits is not None else new_user(database))
    one = await accept(database, new_execution(user_id))
    await buy(database, one, f"req-{one.image.job_id}", COST)
    return one


async def refund(
    database: Database, job_id: JobId, nano_usd: int, reference: str | None = None
) -> Refunded:
    async with database.as_system() as conn:
        return await refund_by_hand(conn, job_id, NanoUsd(nano_usd), reference=reference)


async def money_of(database: Database, one: Accepted) -> tuple[int, int, int]:
    """Return the settled sums of the charges, the month and the day of a balanced ledger."""
    async with database.reading_all() as conn:
        assert await list_findings(conn) == []
        settled = (await get_money(conn, one.execution_id)).settled_nano_usd
        month = await conn.fetchval(
            "SELECT settled_nano_usd FROM budgets WHERE user_id = $1", one.user_id
        )
        day = await conn.fetchval("SELECT sum(settled_nano_usd)::bigint FROM daily_spending")
    return settled, month, day


async def test_refund_reduces_the_cost_and_the_budget_usage(
    database: Database,
) -> None:
    one = await bought(database)
    settled, month, day = await money_of(database, one)
    assert (settled, month) == (COST, COST)
    done = await refund(database, one.image.job_id, 4)
    assert done == Refunded(
        changed=True, settled_nano_usd=NanoUsd(COST - 4), refunded_nano_usd=NanoUsd(4)
    )
    assert await money_of(database, one) == (COST - 4, COST - 4, day - 4)


async def test_repeated_refund_changes_nothing(
    database: Database,
) -> None:
    one = await bought(database)
    name = one.image.job_id
    assert [(await refund(database, name, 4)).changed for _ in range(2)] == [True, False]
    with pytest.raises(
        RefusedError, match=r"already has a refund of 0\.000000004 USD without a reference"
    ):
        await refund(database, name, 5)
    assert [(await refund(database, name, 5, "credit 7")).changed for _ in range(2)] == [
        True,
        False,
    ]
    assert (await refund(database, name, 4, "credit 8")).refunded_nano_usd == 13
    with pytest.raises(RefusedError, match="under credit 7"):
        await refund(database, name, 6, "credit 7")
    assert (await money_of(database, one))[:2] == (COST - 13, COST - 13)


async def test_concurrent_repeats_of_a_refund_book_it_once(database: Database) -> None:
    one = await bought(database)
    done = await asyncio.gather(
        *(refund(database, one.image.job_id, 9, "credit 9") for _ in range(8))
    )
    assert sorted(item.changed for item in done) == [False] * 7 + [True]
    assert (await money_of(database, one))[0] == COST - 9


async def test_refund_is_never_more_than_was_billed(database: Database) -> None:
    one = await bought(database)
    with pytest.raises(RefusedError, match=r"cannot exceed the cost of .*, 0\.\d+ USD"):
        await refund(database, one.image.job_id, COST + 1)
    await refund(database, one.image.job_id, COST)
    with pytest.raises(RefusedError, match=r", 0 USD\."):
        await refund(database, one.image.job_id, 1, "more")
    assert (await money_of(database, one))[:2] == (0, 0)


async def test_refund_requires_a_billed_charge(fresh_database: FreshDatabase) -> None:
    async with Database.open(fresh_database.application_dsn, max_connections=2) as database:
        await _refuse_what_was_not_billed(database)


async def _refuse_what_was_not_billed(database: Database) -> None:
    one = await given_up(database)
    with pytest.raises(RefusedError, match="is open"):
        await refund(database, one.image.job_id, 1)
    await settle(database, one.image, IMAGE_PRICE)
    with pytest.raises(RefusedError, match="is assumed"):
        await refund(database, one.image.job_id, 1)
    other = await given_up(database)
    await settle(database, other.image, 0)
    with pytest.raises(RefusedError, match="Nothing was billed"):
        await refund(database, other.image.job_id, 1)
    with pytest.raises(LookupError, match="job_none does not exist"):
        await refund(database, JobId("job_none"), 1)


async def test_repeated_settlement_after_a_refund_is_no_conflict(database: Database) -> None:
    """A repeated settlement states the billed amount, which a refund does not change."""
    one = await bought(database)
    await refund(database, one.image.job_id, 4)
    for again in (settle_charge, record_cost):
        async with database.as_system() as conn:
            assert (await again(conn, one.image.job_id, NanoUsd(COST), CostBasis.REPORTED)).repeated
        with pytest.raises(ChargeConflictError):
            async with database.as_system() as conn:
                await again(conn, one.image.job_id, NanoUsd(COST - 4), CostBasis.REPORTED)
    assert (await money_of(database, one))[0] == COST - 4


async def test_refund_allows_the_next_hold(database: Database) -> None:
    price = IMAGE_PRICE + VIDEO_PRICE
    limit = (
        VIDEO_PRICE + COST + price - 4
    )  # the video is held and the image settled; the next hold needs both
    one = await bought(database, UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(limit)))
    with pytest.raises(BudgetExceededError):
        await accept(database, new_execution(one.user_id))
    await refund(database, one.image.job_id, 4)
    await accept(database, new_execution(one.user_id))


async def test_refund_command_is_in_the_audit_log(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    async with Database.open(url, max_connections=2) as database:
        one = await bought(database)
    order = (
        "jobs",
        "refund",
        one.image.job_id,
        "0.000000004",
        "--reason",
        "came out black",
        "--reference",
        "credit 7",
    )
    done = (await run_admin(url, *order)).json
    assert done == {
        "jobId": one.image.job_id,
        "changed": True,
        "settledUsd": "0.014999996",
        "refundedUsd": "0.000000004",
    }
    assert not (await run_admin(url, *order)).json["changed"]
    (entry,) = (await run_admin(url, "audit", "list", "--target", one.image.job_id)).json
    assert (entry["action"], entry["detail"]["reason"], entry["detail"]["usd"]) == (
        "jobs refund",
        "came out black",
        "0.000000004",
    )
    shown = (await run_admin(url, "jobs", "show", one.image.job_id)).json
    assert shown["charge"]["refundedUsd"] == "0.000000004"
    assert shown["ledger"][-1]["kind"] == "refund"
    assert (
        await run_admin(url, "jobs", "refund", one.image.job_id, "0", "--reason", "x")
    ).code == 2
    assert (await run_admin(url, "jobs", "refund", "job_none", "1", "--reason", "x")).code == 1
