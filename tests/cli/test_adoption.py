"""`takeone-admin jobs adopt`, also while a workflow or a callback adopts the same id."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import JobId
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, JobState
from core.store.database import Database
from core.store.executions.unfinished import take_open_bills
from core.store.jobs.callbacks import CHANNEL
from core.store.jobs.jobs import mark_job_ended
from core.store.jobs.manual_changes import Adoption, AdoptionResult, adopt_by_hand, release_by_hand
from core.store.jobs.sends import mark_send_answered, mark_submitted, mark_waiting
from core.store.money.settlement import settle_charge
from core.store.operator import RefusedError
from tests.support.operator_jobs import adopt, entries, given_up, handle, job_of, refused, sent
from tests.support.rows import (
    IMAGE_PRICE,
    Accepted,
    accept,
    assert_books_balance,
    new_execution,
    new_user,
)
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


async def test_adopt_stores_the_id_and_wakes_the_workflow(
    database: Database,
) -> None:
    one = await sent(database)
    woken = asyncio.Event()

    def wake(_conn: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == one.image.job_id:
            woken.set()

    async with database.listening_connection() as listener:
        await listener.add_listener(CHANNEL, wake)
        adopted = await adopt(database, one.image, "req-1")
        async with asyncio.timeout(30):
            await woken.wait()
    assert adopted == AdoptionResult(
        changed=True, outcome=Adoption.SUBMITTED, job_id=one.image.job_id, send=1
    )
    job = await job_of(database, one.image)
    assert (job.state, job.handle.provider_job_id) == (JobState.SUBMITTED, "req-1")


async def test_repeated_adopt_succeeds_without_a_change(database: Database) -> None:
    one = await sent(database)
    await adopt(database, one.image, "req-again")
    before = await job_of(database, one.image)
    again = await adopt(database, one.image, "req-again")
    assert again == AdoptionResult(
        changed=False, outcome=Adoption.ALREADY, job_id=one.image.job_id, send=1
    )
    after = await job_of(database, one.image)
    assert (after.state, after.handle) == (before.state, before.handle)


async def test_repeated_adopt_of_a_completed_job_reports_completion(
    database: Database,
) -> None:
    one = await sent(database)
    await adopt(database, one.image, "req-completed")
    async with database.as_user(one.user_id) as conn:
        await mark_job_ended(
            conn, one.image.job_id, JobState.COMPLETED, None, expected=(JobState.SUBMITTED,)
        )
    assert (await job_of(database, one.image)).state is JobState.COMPLETED
    again = await adopt(database, one.image, "req-completed")
    assert (again.changed, again.outcome) == (False, Adoption.ALREADY)


async def test_adopt_leaves_an_abandoned_jobs_bill_to_the_reconciler(
    database: Database,
) -> None:
    one = await given_up(database)
    assert (await adopt(database, one.image, "req-late")).outcome is Adoption.LATE
    job = await job_of(database, one.image)
    assert (job.state, job.handle.provider_job_id) == (JobState.FAILED, "req-late")
    async with database.as_system() as conn:
        assert one.image.job_id in [
            bill.ref.job_id for bill in await take_open_bills(conn, limit=100)
        ]
    assert await entries(database, one.image) == {"held": IMAGE_PRICE}


async def test_adopt_accepts_a_send_missing_from_the_providers_list(database: Database) -> None:
    one = await sent(database, sends=1)
    async with database.as_user(one.user_id) as conn:
        await mark_waiting(conn, one.image.job_id, 1)
        await mark_send_answered(conn, one.image.job_id, 1, "absent")
    assert (await adopt(database, one.image, "req-hidden")).outcome is Adoption.SUBMITTED
    assert (await job_of(database, one.image)).state is JobState.SUBMITTED


async def test_adopt_of_an_earlier_send_creates_an_orphan(
    database: Database,
) -> None:
    one = await sent(database, sends=2)
    for changed in (True, False):
        adopted = await adopt(database, one.image, "req-first", send=1)
        assert (adopted.changed, adopted.outcome) == (changed, Adoption.ORPHAN)
        assert adopted.job_id != one.image.job_id
    job = await job_of(database, one.image)
    assert (job.state, job.send_number, job.handle) == (JobState.UNKNOWN, 2, None)
    async with database.as_system() as conn:
        await settle_charge(conn, adopted.job_id, NanoUsd(7), CostBasis.REPORTED)
        await assert_books_balance(conn, one.user_id)


async def test_adopt_after_a_release_creates_an_orphan(database: Database) -> None:
    one = await given_up(database)
    async with database.as_system() as conn:
        await release_by_hand(conn, one.image.job_id)
    adopted = await adopt(database, one.image, "req-after-release")
    assert adopted.outcome is Adoption.ORPHAN
    async with database.as_system() as conn:
        await settle_charge(conn, adopted.job_id, IMAGE_PRICE, CostBasis.REPORTED)
        await assert_books_balance(conn, one.user_id)
    assert await entries(database, one.image) == {"held": IMAGE_PRICE, "released": IMAGE_PRICE}


async def test_adopt_refuses_and_names_another_jobs_id(
    database: Database,
) -> None:
    owner, one = await sent(database), await sent(database)
    await adopt(database, owner.image, "req-owned")
    said = await refused(adopt(database, one.image, "req-owned"))
    assert "belongs to another job" in said
    assert owner.image.job_id in said
    assert (await job_of(database, one.image)).handle is None


async def test_adopt_refuses_an_id_from_another_jobs_callback(
    database: Database,
) -> None:
    other, one = await sent(database), await sent(database)
    await adopt(database, other.image, "req-others")
    async with database.as_system() as conn:
        await conn.execute(
            "INSERT INTO callbacks (provider, delivery_id, job_id, user_id, send_number, provider_job_id, adopted)"
            " VALUES ('fal', 'evidence', $1, $2, 1, 'req-evidence', false)",
            other.image.job_id,
            other.user_id,
        )
    said = await refused(adopt(database, one.image, "req-evidence"))
    assert "was called back for" in said
    assert other.image.job_id in said


async def test_adopt_refuses_impossible_ids_and_states(database: Database) -> None:
    one, fresh = (
        await sent(database),
        await accept(database, new_execution(await new_user(database))),
    )
    assert "never sent" in await refused(adopt(database, fresh.image, "req-x"))
    assert "no send 2" in await refused(adopt(database, one.image, "req-x", send=2))
    async with database.as_system() as conn:
        with pytest.raises(LookupError, match="no job job_none"):
            await adopt_by_hand(conn, JobId("job_none"), "req-x")
    for malformed in ("", " ", "a b", "../x", "req-1\n", "ü", "x" * 201):
        assert "cannot be a provider's job id" in await refused(
            adopt(database, one.image, malformed)
        )
    async with database.as_user(one.user_id) as conn:
        await mark_waiting(conn, one.image.job_id, 1)
        await mark_send_answered(conn, one.image.job_id, 1, "not_accepted")
    assert "certainly not accepted" in await refused(adopt(database, one.image, "req-x"))
    assert (await job_of(database, one.image)).state is JobState.WAITING


async def test_adopt_refuses_a_second_id(database: Database) -> None:
    one = await sent(database)
    await adopt(database, one.image, "req-one")
    assert "already has the provider id req-one" in await refused(
        adopt(database, one.image, "req-two")
    )


async def test_concurrent_adopt_and_lookup_agree_on_one_job(database: Database) -> None:
    for round_ in range(5):
        one = await sent(database)
        name = f"req-race-{round_}"

        async def find(one: Accepted = one, name: str = name) -> bool:
            async with database.as_user(one.user_id) as conn:
                found = await mark_submitted(conn, one.image.job_id, 1, handle(name))
                await mark_send_answered(conn, one.image.job_id, 1, "found", provider_job_id=name)
                return found

        adopted, found = await asyncio.gather(adopt(database, one.image, name), find())
        assert found
        assert adopted.outcome is (Adoption.SUBMITTED if adopted.changed else Adoption.ALREADY)
        assert (await job_of(database, one.image)).handle.provider_job_id == name


async def test_concurrent_adopts_of_one_id_have_one_owner(database: Database) -> None:
    for round_ in range(5):
        refs = [(await sent(database)).image for _ in range(2)]
        done = await asyncio.gather(
            *(adopt(database, ref, f"req-both-{round_}") for ref in refs), return_exceptions=True
        )
        owners = [ref for ref in refs if (await job_of(database, ref)).handle is not None]
        assert len(owners) == 1
        [said] = [one for one in done if isinstance(one, RefusedError)]
        assert owners[0].job_id in str(said)
