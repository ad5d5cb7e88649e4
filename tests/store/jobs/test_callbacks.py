"""Callbacks: early, repeated, of an earlier send, and for unknown jobs."""

from collections.abc import AsyncGenerator

import pytest

from core.domain.ids import JobId, ProviderJobId, new_job_id
from core.domain.messages.jobs import JobRef, JobReport, ProviderHandle
from core.domain.states import JobState
from core.store.database import Database
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.jobs.jobs import get_job
from core.store.jobs.reports import report_from_json
from core.store.jobs.sends import begin_send, mark_submitted, mark_unknown, mark_waiting
from tests.support.rows import IMAGE_MODEL, accept, new_execution, new_user
from tests.support.servers import PostgresServer, new_database


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """Share one database among the tests of this module; each test creates its own users."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=4) as opened,
    ):
        yield opened


async def sent(database: Database) -> JobRef:
    """Return a job whose first send has no answer yet."""
    image = (await accept(database, new_execution(await new_user(database)))).image
    async with database.as_user(image.user_id) as conn:
        assert await begin_send(conn, image, 1, {}, {})
    return image


async def call(
    database: Database,
    job_id: JobId,
    *,
    send: int = 1,
    name: str = "",
    delivery: str = "",
    provider: str = "fal",
    report: JobReport | None = None,
) -> CallbackOutcome:
    """Record a callback. name: the provider's id of the job."""
    new = NewCallback(
        provider=provider,
        delivery_id=delivery or f"delivery-{job_id}-{send}-{name}",
        job_id=job_id,
        send_number=send,
        provider_job_id=ProviderJobId(name or f"theirs-{job_id}"),
        report=report,
    )
    async with database.as_system() as conn:
        return await record_callback(conn, new)


async def state(database: Database, ref: JobRef) -> JobState:
    async with database.as_user(ref.user_id) as conn:
        return (await get_job(conn, ref.job_id)).state


def handle(job_id: JobId) -> ProviderHandle:
    urls = {"status_url": "http://fal.test/status"}
    name = ProviderJobId(f"theirs-{job_id}")
    return ProviderHandle(provider="fal", model=IMAGE_MODEL, provider_job_id=name, urls=urls)


async def test_callback_before_the_answer_is_adopted(
    database: Database,
) -> None:
    job = await sent(database)
    assert await call(database, job.job_id) is CallbackOutcome.ADOPTED
    async with database.as_user(job.user_id) as conn:
        assert await mark_submitted(conn, job.job_id, 1, handle(job.job_id))
        record = await get_job(conn, job.job_id)
    assert record.state is JobState.SUBMITTED
    assert record.handle == handle(job.job_id)


async def test_callback_for_an_unknown_send_is_adopted(database: Database) -> None:
    job = await sent(database)
    async with database.as_user(job.user_id) as conn:
        assert await mark_unknown(conn, job.job_id, 1)
    assert await call(database, job.job_id) is CallbackOutcome.ADOPTED
    assert await state(database, job) is JobState.SUBMITTED


async def test_repeated_callback_is_stored_once(database: Database) -> None:
    job = await sent(database)
    outcomes = [await call(database, job.job_id, delivery=f"same-{job.job_id}") for _ in range(3)]
    assert outcomes == [CallbackOutcome.ADOPTED, CallbackOutcome.RECORDED, CallbackOutcome.RECORDED]
    async with database.as_system() as conn:
        assert (
            await conn.fetchval("SELECT count(*) FROM callbacks WHERE job_id = $1", job.job_id) == 1
        )


async def test_callback_of_a_superseded_send_changes_no_state(
    database: Database,
) -> None:
    job = await sent(database)
    async with database.as_user(job.user_id) as conn:
        assert await mark_waiting(conn, job.job_id, 1)
        assert await begin_send(conn, job, 2, {}, {})
    assert (
        await call(database, job.job_id, send=1, name=f"late-{job.job_id}")
        is CallbackOutcome.ORPHAN
    )
    assert await state(database, job) is JobState.SUBMITTING
    async with database.as_system() as conn:
        (row,) = await conn.fetch(
            "SELECT provider_job_id, adopted FROM callbacks WHERE job_id = $1", job.job_id
        )
    assert tuple(row) == (f"late-{job.job_id}", False)


async def test_callback_with_the_id_of_another_job_is_refused(database: Database) -> None:
    """The callback URL does not match the body."""
    first, second = await sent(database), await sent(database)
    assert await call(database, first.job_id, name="owned") is CallbackOutcome.ADOPTED
    assert (
        await call(database, second.job_id, name="owned", delivery="other")
        is CallbackOutcome.REFUSED
    )
    assert await state(database, second) is JobState.SUBMITTING


async def test_callback_for_an_unknown_job_is_not_stored(database: Database) -> None:
    job = await sent(database)
    assert await call(database, new_job_id()) is CallbackOutcome.UNKNOWN_JOB
    assert await call(database, job.job_id, provider="replicate") is CallbackOutcome.UNKNOWN_JOB
    async with database.as_system() as conn:
        assert (
            await conn.fetchval("SELECT count(*) FROM callbacks WHERE job_id = $1", job.job_id) == 0
        )


COMPLETED = JobReport(state=JobState.COMPLETED, run_seconds=1.5, charged=True)
FAILED = JobReport(state=JobState.FAILED, charged=False)


async def report_of(database: Database, name: str) -> JobReport | None:
    """Return the report of the job with this id at its provider, an orphan or not."""
    async with database.as_system() as conn:
        plain = await conn.fetchval("SELECT report FROM jobs WHERE provider_job_id = $1", name)
    return report_from_json(plain)


async def test_report_of_a_callback_is_kept_with_its_job(
    database: Database,
) -> None:
    ref = await sent(database)
    name = f"own-{ref.job_id}"
    outcome = await call(database, ref.job_id, name=name, report=COMPLETED)
    repeated = await call(database, ref.job_id, name=name, delivery="again", report=FAILED)
    assert (outcome, repeated) == (CallbackOutcome.ADOPTED, CallbackOutcome.RECORDED)
    assert await report_of(database, name) == COMPLETED


async def test_report_of_an_earlier_send_is_kept_with_its_orphan(database: Database) -> None:
    ref = await sent(database)
    async with database.as_user(ref.user_id) as conn:
        assert await mark_waiting(conn, ref.job_id, 1)
        assert await begin_send(conn, ref, 2, {}, {})
    current = f"second-{ref.job_id}"
    await call(database, ref.job_id, send=2, name=current)
    early = f"first-{ref.job_id}"
    assert await call(database, ref.job_id, name=early, report=COMPLETED) is CallbackOutcome.ORPHAN
    assert (await report_of(database, early), await report_of(database, current)) == (
        COMPLETED,
        None,
    )


async def test_report_of_a_foreign_job_is_not_kept(database: Database) -> None:
    other, ref = await sent(database), await sent(database)
    name = f"other-{other.job_id}"
    await call(database, other.job_id, name=name)
    refused = await call(database, ref.job_id, name=name, delivery="foreign", report=COMPLETED)
    assert refused is CallbackOutcome.REFUSED
    assert await report_of(database, name) is None
