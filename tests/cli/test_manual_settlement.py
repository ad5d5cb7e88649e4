"""`takeone-admin jobs settle`, `release` and `adjust`: exact, and applied once."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import JobId, ProviderJobId
from core.domain.messages.jobs import JobReport
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, JobState
from core.store.database import Database
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.jobs.cases import get_case
from core.store.jobs.jobs import mark_reported
from core.store.jobs.manual_changes import ManualSettlement, release_by_hand, settle_by_hand
from core.store.jobs.orphans import record_orphan
from core.store.money.adjustments import adjust_charge
from core.store.money.charges import ChargeConflictError
from core.store.money.settlement import record_cost, settle_charge
from core.store.operator import RefusedError
from tests.support.operator_jobs import (
    adopt,
    end,
    entries,
    given_up,
    handle,
    job_of,
    refused,
    sent,
    settle,
)
from tests.support.rows import IMAGE_PRICE, assert_books_balance
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G3")


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=12) as opened,
    ):
        yield opened


@pytest.mark.parametrize("cost", [1, IMAGE_PRICE, 3 * IMAGE_PRICE])
async def test_settle_of_an_abandoned_job_has_quality_assumed(
    database: Database, cost: int
) -> None:
    one = await given_up(database)
    assert await settle(database, one.image, cost) == ManualSettlement(
        changed=True, released=False, held_nano_usd=IMAGE_PRICE, settled_nano_usd=NanoUsd(cost)
    )
    assert not (await settle(database, one.image, cost)).changed
    booked = await entries(database, one.image)
    assert booked["settled"] + booked.get("overage", 0) == cost
    assert booked["settled"] + booked.get("released", 0) == IMAGE_PRICE
    async with database.as_system() as conn:
        assert (await get_case(conn, one.image.job_id))["charge"]["basis"] == "assumed"
    assert "is closed: settled with" in await refused(settle(database, one.image, cost + 1))


@pytest.mark.parametrize("way", ["settle", "release"])
async def test_settle_with_zero_and_release_free_the_hold(database: Database, way: str) -> None:
    one = await given_up(database)
    for changed in (True, False):
        async with database.as_system() as conn:
            zero = NanoUsd(0)
            by_settle = way == "settle"
            booked = await (
                settle_by_hand(conn, one.image.job_id, zero)
                if by_settle
                else release_by_hand(conn, one.image.job_id)
            )
        assert (booked.changed, booked.released, booked.settled_nano_usd) == (changed, True, 0)
    assert await entries(database, one.image) == {"held": IMAGE_PRICE, "released": IMAGE_PRICE}


async def test_release_refuses_a_confirmed_job(database: Database) -> None:
    one = await given_up(database)
    await adopt(database, one.image, "req-confirmed")
    async with database.as_system() as conn:
        assert "accepted" in await refused(release_by_hand(conn, one.image.job_id))
    assert "repeat with --yes" in await refused(settle(database, one.image, 0))
    assert (await settle(database, one.image, 0, confirmed=True)).released is False
    booked = await entries(database, one.image)
    assert (booked["settled"], booked["released"]) == (0, IMAGE_PRICE)


async def test_settle_refuses_a_job_in_progress(database: Database) -> None:
    one = await sent(database)
    assert "adopt its id, or wait" in await refused(settle(database, one.image, 1))
    assert "waiting" in await refused(settle(database, one.video, 1))
    await adopt(database, one.image, "req-runs")
    assert "runs at the provider" in await refused(settle(database, one.image, 1))
    async with database.as_system() as conn:
        with pytest.raises(LookupError, match="no job job_none"):
            await settle_by_hand(conn, JobId("job_none"), NanoUsd(1))
    assert await entries(database, one.image) == {"held": IMAGE_PRICE}


async def test_settle_of_an_unknown_job_waits_for_the_reconciler(
    database: Database,
) -> None:
    one = await sent(database)
    async with database.as_user(one.user_id) as conn:
        await end(conn, one)
    assert "reconciler gives it up" in await refused(settle(database, one.image, 1))


async def test_settle_closes_a_submitted_job_without_a_workflow(database: Database) -> None:
    one = await sent(database)
    await adopt(database, one.image, "req-silent")
    async with database.as_user(one.user_id) as conn:
        await end(conn, one)
    await settle(database, one.image, IMAGE_PRICE, confirmed=True)
    assert (await job_of(database, one.image)).state is JobState.FAILED
    assert await entries(database, one.image) == {"held": IMAGE_PRICE, "settled": IMAGE_PRICE}


async def test_concurrent_settles_write_one_entry(database: Database) -> None:
    one = await given_up(database)
    done = await asyncio.gather(*(settle(database, one.image, IMAGE_PRICE) for _ in range(8)))
    assert sorted(booked.changed for booked in done) == [False] * 7 + [True]
    assert await entries(database, one.image) == {"held": IMAGE_PRICE, "settled": IMAGE_PRICE}


async def test_concurrent_settle_and_release_apply_only_one(database: Database) -> None:
    one = await given_up(database)

    async def release() -> ManualSettlement:
        async with database.as_system() as conn:
            return await release_by_hand(conn, one.image.job_id)

    done = await asyncio.gather(settle(database, one.image, 5), release(), return_exceptions=True)
    assert sum(isinstance(booked, ManualSettlement) for booked in done) == 1
    assert sum(isinstance(booked, RefusedError) for booked in done) == 1
    await entries(database, one.image)


@pytest.mark.parametrize("real", [0, IMAGE_PRICE - 1, IMAGE_PRICE, 10 * IMAGE_PRICE])
async def test_settle_racing_the_reconciler_ends_with_the_real_cost(
    database: Database, real: int
) -> None:
    """In either order, the ledger ends with the amount that the provider billed."""
    one = await given_up(database)
    await adopt(database, one.image, f"req-both-ways-{real}")

    async def by_the_reconciler() -> None:
        async with database.as_system() as conn:
            report = JobReport(state=JobState.COMPLETED, outputs=(), billed_units="1")
            await mark_reported(conn, one.image.job_id, report)
            await record_cost(conn, one.image.job_id, NanoUsd(real), CostBasis.REPORTED)

    done = await asyncio.gather(
        settle(database, one.image, IMAGE_PRICE, confirmed=True),
        by_the_reconciler(),
        return_exceptions=True,
    )
    assert done[1] is None
    assert isinstance(done[0], ManualSettlement | RefusedError)
    booked = await entries(database, one.image)
    assert booked["settled"] + booked.get("overage", 0) + booked.get("adjustment", 0) == real


@pytest.mark.parametrize("real", [0, IMAGE_PRICE - 1, 10 * IMAGE_PRICE])
async def test_adjust_writes_the_difference_once(database: Database, real: int) -> None:
    one = await given_up(database)
    await settle(database, one.image, IMAGE_PRICE)

    async def adjust() -> bool:
        async with database.as_system() as conn:
            settlement = await adjust_charge(
                conn, one.image.job_id, NanoUsd(real), CostBasis.REPORTED
            )
            return settlement.repeated

    assert sorted(await asyncio.gather(*(adjust() for _ in range(4)))) == [False, True, True, True]
    assert (await entries(database, one.image))["adjustment"] == real - IMAGE_PRICE
    async with database.as_system() as conn:
        with pytest.raises(ChargeConflictError):
            await adjust_charge(conn, one.image.job_id, NanoUsd(real + 1), CostBasis.REPORTED)


async def test_adjust_corrects_a_released_charge(database: Database) -> None:
    one = await given_up(database)
    async with database.as_system() as conn:
        await release_by_hand(conn, one.image.job_id)
        await adjust_charge(conn, one.image.job_id, NanoUsd(0), CostBasis.REPORTED)
    assert "adjustment" not in await entries(database, one.image)
    async with database.as_system() as conn:
        await adjust_charge(conn, one.image.job_id, NanoUsd(5), CostBasis.REPORTED)
    assert (await entries(database, one.image))["adjustment"] == 5


async def test_adjust_refuses_confirmed_costs_and_open_bills(
    database: Database,
) -> None:
    one = await given_up(database)
    for book in (settle_charge, adjust_charge):
        async with database.as_system() as conn:
            with pytest.raises(ChargeConflictError):
                await adjust_charge(conn, one.image.job_id, NanoUsd(5), CostBasis.REPORTED)
            if book is settle_charge:
                await book(conn, one.image.job_id, IMAGE_PRICE, CostBasis.REPORTED)
    assert await entries(database, one.image) == {"held": IMAGE_PRICE, "settled": IMAGE_PRICE}


async def test_orphan_settled_by_hand_writes_an_orphan_entry(database: Database) -> None:
    one = await sent(database, sends=2)
    async with database.as_system() as conn:
        orphan = await record_orphan(conn, one.image.job_id, 1, handle("req-orphan-by-hand"))
        assert orphan is not None
        booked = await settle_by_hand(conn, orphan, NanoUsd(9), confirmed=True)
        assert (booked.changed, booked.settled_nano_usd) == (True, 9)
        kinds = await conn.fetch(
            "SELECT kind, amount_nano_usd FROM ledger_entries WHERE job_id = $1", orphan
        )
        assert [tuple(row) for row in kinds] == [("orphan", 9)]
        await assert_books_balance(conn, one.user_id)


async def test_late_callback_after_a_release_charges_an_orphan(
    database: Database,
) -> None:
    one = await given_up(database)
    async with database.as_system() as conn:
        await release_by_hand(conn, one.image.job_id)
    async with database.as_system() as conn:
        outcome = await record_callback(
            conn,
            NewCallback(
                provider="fal",
                delivery_id="after-release",
                job_id=one.image.job_id,
                send_number=1,
                provider_job_id=ProviderJobId("req-called-late"),
            ),
        )
    assert outcome is CallbackOutcome.ORPHAN
