"""Database outages around the COMMIT of an intent: nothing is sent, and no look-up is needed."""

import dataclasses
from collections.abc import AsyncGenerator
from typing import Literal

import pytest

from activities.jobs import JobActivities
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitOutcome
from core.domain.states import JobState
from core.store.database import DATABASE_DOWN, Database
from tests.activities.test_lookup import make_send_older
from tests.support.activity_harness import ActivityHarness
from tests.support.commit_cutter import Cut, cutting
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G1", "G5")


@pytest.fixture
async def cut(fresh_database: FreshDatabase) -> AsyncGenerator[Cut]:
    async with cutting(fresh_database.application_dsn) as made:
        yield made


@pytest.fixture
async def jobs(harness: ActivityHarness, cut: Cut) -> AsyncGenerator[JobActivities]:
    """The activities of a worker whose database is behind the proxy."""
    async with Database.open(cut.dsn, max_connections=3) as database:
        yield dataclasses.replace(harness.jobs, database=database)


async def sends(harness: ActivityHarness, ref: JobRef) -> list[tuple[int, str | None]]:
    async with harness.database.as_user(ref.user_id) as conn:
        rows = await conn.fetch(
            "SELECT number, outcome FROM sends WHERE job_id = $1 ORDER BY number", ref.job_id
        )
    return [(row["number"], row["outcome"]) for row in rows]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_intent_with_unanswered_commit_is_taken_back(
    harness: ActivityHarness, jobs: JobActivities, cut: Cut, when: Literal["before", "after"]
) -> None:
    image = (await harness.accepted()).image
    cut.when = when
    assert (await harness.run(jobs.submit, image)).outcome is SubmitOutcome.NOT_SENT
    assert cut.fired == 1
    assert (await harness.job(image)).state is JobState.WAITING
    assert await sends(harness, image) == ([] if when == "before" else [(1, "not_accepted")])
    assert harness.bill() == []
    assert (await harness.run(jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert len(harness.bill()) == 1


async def test_intent_with_unanswered_commit_is_looked_up_after_an_outage(
    harness: ActivityHarness, jobs: JobActivities, cut: Cut
) -> None:
    image = (await harness.accepted()).image
    cut.when, cut.stays_away = "after", True
    with pytest.raises(DATABASE_DOWN):
        await harness.run(jobs.submit, image)
    assert cut.fired == 1
    assert (await harness.job(image)).state is JobState.SUBMITTING
    assert harness.bill() == []
    await make_send_older(harness, image, 60)
    assert (await harness.run(harness.jobs.find, image)).outcome is FindOutcome.ABSENT
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert len(harness.bill()) == 1


async def test_answer_whose_commit_got_no_answer_is_written_once(
    harness: ActivityHarness, jobs: JobActivities, cut: Cut
) -> None:
    image = (await harness.accepted()).image
    cut.when, cut.having = "after", b"UPDATE sends"
    assert (await harness.run(jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert cut.fired == 1
    (line,) = harness.bill()
    job = await harness.job(image)
    assert job.handle is not None
    assert job.handle.provider_job_id == line["provider_job_id"]
    assert await sends(harness, image) == [(1, "accepted")]


async def test_settlement_whose_commit_got_no_answer_is_booked_once(
    harness: ActivityHarness, jobs: JobActivities, cut: Cut
) -> None:
    """Temporal repeats it: the second finds the job ended, and answers the same."""
    image = (await harness.accepted()).image
    await harness.run(jobs.submit, image)
    await harness.run(jobs.wait, image)
    cut.when, cut.having = "after", b"INSERT INTO ledger_entries"
    with pytest.raises(DATABASE_DOWN):
        await harness.run(jobs.settle, image)
    assert cut.fired == 1
    settled = await harness.run(jobs.settle, image)
    (line,) = harness.bill()
    assert (settled.state, settled.execution_spent_nano_usd) == (
        JobState.COMPLETED,
        line["billed_nano_usd"],
    )
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])
