"""The database goes away around the COMMIT of an intent: nothing is sent, and nothing waits for a
look-up in vain.
"""

import dataclasses
from collections.abc import AsyncGenerator
from typing import Literal

import pytest

from activities.jobs import JobActivities
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitOutcome
from core.domain.states import JobState
from core.store.database import DATABASE_DOWN, Database
from tests.activities.bench import Bench
from tests.activities.cut import Cut, cutting
from tests.activities.test_find import make_send_older
from tests.support.servers import FreshDatabase


@pytest.fixture
async def cut(fresh_database: FreshDatabase) -> AsyncGenerator[Cut]:
    async with cutting(fresh_database.application_dsn) as made:
        yield made


@pytest.fixture
async def jobs(bench: Bench, cut: Cut) -> AsyncGenerator[JobActivities]:
    """The activities of a worker whose database is behind the proxy."""
    async with Database.open(cut.dsn, max_connections=3) as database:
        yield dataclasses.replace(bench.jobs, database=database)


async def sends(bench: Bench, ref: JobRef) -> list[tuple[int, str | None]]:
    async with bench.database.as_user(ref.user_id) as conn:
        rows = await conn.fetch(
            "SELECT number, outcome FROM sends WHERE job_id = $1 ORDER BY number", ref.job_id
        )
    return [(row["number"], row["outcome"]) for row in rows]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_intent_whose_commit_got_no_answer_is_taken_back_at_once(
    bench: Bench, jobs: JobActivities, cut: Cut, when: Literal["before", "after"]
) -> None:
    image = (await bench.accepted()).image
    cut.when = when
    assert (await bench.run(jobs.submit, image)).outcome is SubmitOutcome.NOT_SENT
    assert cut.fired == 1
    assert (await bench.job(image)).state is JobState.WAITING
    assert await sends(bench, image) == ([] if when == "before" else [(1, "not_accepted")])
    assert bench.bill() == []
    assert (await bench.run(jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert len(bench.bill()) == 1


async def test_intent_whose_commit_got_no_answer_is_looked_up_if_the_database_stays_away(
    bench: Bench, jobs: JobActivities, cut: Cut
) -> None:
    image = (await bench.accepted()).image
    cut.when, cut.stays_away = "after", True
    with pytest.raises(DATABASE_DOWN):
        await bench.run(jobs.submit, image)
    assert cut.fired == 1
    assert (await bench.job(image)).state is JobState.SUBMITTING
    assert bench.bill() == []
    await make_send_older(bench, image, 60)
    assert (await bench.run(bench.jobs.find, image)).outcome is FindOutcome.ABSENT
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert len(bench.bill()) == 1


async def test_answer_whose_commit_got_no_answer_is_written_once(
    bench: Bench, jobs: JobActivities, cut: Cut
) -> None:
    image = (await bench.accepted()).image
    cut.when, cut.having = "after", b"UPDATE sends"
    assert (await bench.run(jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert cut.fired == 1
    (line,) = bench.bill()
    job = await bench.job(image)
    assert job.handle is not None
    assert job.handle.provider_job_id == line["provider_job_id"]
    assert await sends(bench, image) == [(1, "accepted")]


async def test_settlement_whose_commit_got_no_answer_is_booked_once(
    bench: Bench, jobs: JobActivities, cut: Cut
) -> None:
    """Temporal repeats it: the second finds the job ended, and answers the same."""
    image = (await bench.accepted()).image
    await bench.run(jobs.submit, image)
    await bench.run(jobs.wait, image)
    cut.when, cut.having = "after", b"INSERT INTO ledger_entries"
    with pytest.raises(DATABASE_DOWN):
        await bench.run(jobs.settle, image)
    assert cut.fired == 1
    settled = await bench.run(jobs.settle, image)
    (line,) = bench.bill()
    assert (settled.state, settled.execution_spent_nano_usd) == (
        JobState.COMPLETED,
        line["billed_nano_usd"],
    )
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])
