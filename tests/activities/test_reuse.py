"""Equal purchases of a user are bought once; later ones get copies of the files."""

from collections.abc import Sequence

import pytest

from core.domain.ids import UserId, new_execution_id
from core.domain.messages.jobs import JobRef, PurchaseClaim, ReuseOrder
from core.domain.plans import Parameters, PlanType, StepKind
from core.domain.states import JobState
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import OutputRequest, plan_steps
from core.store.executions.deletion import erase_execution
from core.store.executions.executions import NewExecution
from core.store.executions.views.status import JobStatus, find_execution
from core.store.files.assets import Asset, list_job_assets
from core.store.jobs.jobs import cancel_waiting_jobs, get_job
from tests.support.activity_harness import ActivityHarness
from tests.support.rows import IMAGE, VIDEO, accept, new_user

pytestmark = pytest.mark.guarantee("G2", "G3", "G6")

SPEECH = "fal-ai/kokoro/american-english"
BUY = PurchaseClaim()
BUSY = PurchaseClaim(is_busy=True)
END = "UPDATE executions SET status = 'completed', ended_at = now() WHERE execution_id = $1"


async def speech(harness: ActivityHarness, user_id: UserId, text: str = "A paper boat.") -> JobRef:
    """Accept an execution, and return the job of one of its two speech steps."""
    steps = [
        StepRequest(
            name=name,
            kind=StepKind.AUDIO,
            model=SPEECH,
            reuse=name == IMAGE,
            parameters=Parameters(values={"text": text}),
        )
        for name in (IMAGE, VIDEO)
    ]
    priced = plan_steps(
        harness.providers,
        steps,
        plan_type=PlanType.PLAN,
        result_step=IMAGE,
        outputs=[OutputRequest(name="other", step=VIDEO, field="other")],
    )
    one = await accept(
        harness.database,
        NewExecution(
            execution_id=new_execution_id(),
            user_id=user_id,
            plan=priced.plan,
            steps=priced.steps,
            request={},
            metadata={},
            webhook_url=None,
            webhook_secret=None,
            deadline_seconds=priced.deadline_seconds,
        ),
    )
    return one.image


async def claim(harness: ActivityHarness, ref: JobRef) -> PurchaseClaim:
    return await harness.run(harness.jobs.claim_purchase, ref)


async def buy(harness: ActivityHarness, ref: JobRef) -> None:
    for activity in (harness.jobs.submit, harness.jobs.wait, harness.jobs.settle):
        await harness.run(activity, ref)


async def bought(harness: ActivityHarness, user_id: UserId) -> JobRef:
    """Return a job that was bought and whose files are stored."""
    ref = await speech(harness, user_id)
    assert await claim(harness, ref) == BUY
    await buy(harness, ref)
    assert (await harness.run(harness.assets.store, ref)).failure is None
    return ref


async def reuse(harness: ActivityHarness, ref: JobRef, source: JobRef) -> JobState:
    order = ReuseOrder(job=ref, source=source.job_id)
    return (await harness.run(harness.assets.reuse, order)).state


async def files(harness: ActivityHarness, ref: JobRef) -> Sequence[Asset]:
    async with harness.database.as_user(ref.user_id) as conn:
        return await list_job_assets(conn, ref.job_id)


async def shown(harness: ActivityHarness, ref: JobRef) -> JobStatus:
    async with harness.database.as_user(ref.user_id) as conn:
        record = await find_execution(conn, ref.user_id, ref.execution_id)
    assert record is not None
    assert record.saved_nano_usd == sum(job.saved_nano_usd for job in record.jobs)
    return next(job for job in record.jobs if job.job_id == ref.job_id)


async def test_equal_purchases_of_a_user_are_bought_once(harness: ActivityHarness) -> None:
    user_id = await new_user(harness.database)
    one, other, third = [await speech(harness, user_id) for _ in range(3)]
    assert [await claim(harness, ref) for ref in (one, other, one)] == [BUY, BUSY, BUY]
    await buy(harness, one)
    assert await claim(harness, other) == BUSY, "its file is not stored yet"
    assert (await harness.run(harness.assets.store, one)).failure is None
    (line,) = harness.bill()

    found = await claim(harness, other)
    assert found == PurchaseClaim(source=one.job_id)
    for _ in range(2):
        assert await reuse(harness, other, one) is JobState.COMPLETED
    assert await harness.charge(other) == ("released", 0)
    status = await shown(harness, other)
    assert (status.reused_from, status.send_number) == (one.job_id, 0)
    assert status.saved_nano_usd == line["billed_nano_usd"] > 0
    (of_one,), (of_other,) = await files(harness, one), await files(harness, other)
    assert of_one.sha256 == of_other.sha256
    assert of_one.object_key != of_other.object_key

    # The copy outlives the execution that bought the file, and is reused in turn.
    await harness.as_owner(END, one.execution_id)
    async with harness.database.as_user(user_id) as conn:
        await erase_execution(conn, user_id, one.execution_id)
    assert await claim(harness, third) == PurchaseClaim(source=other.job_id)
    assert await reuse(harness, third, other) is JobState.COMPLETED
    assert (await shown(harness, third)).saved_nano_usd == line["billed_nano_usd"]
    assert len(harness.bill()) == 1


async def test_purchases_of_another_user_or_text_are_not_reused(harness: ActivityHarness) -> None:
    user_id = await new_user(harness.database)
    one = await bought(harness, user_id)
    assert await claim(harness, await speech(harness, user_id, "Another text.")) == BUY
    foreign = await speech(harness, await new_user(harness.database))
    assert await claim(harness, foreign) == BUY
    assert await reuse(harness, foreign, one) is JobState.WAITING
    assert await files(harness, foreign) == []


async def test_second_purchase_is_made_after_the_first_fails(harness: ActivityHarness) -> None:
    user_id = await new_user(harness.database)
    one, other = [await speech(harness, user_id) for _ in range(2)]
    assert [await claim(harness, ref) for ref in (one, other)] == [BUY, BUSY]
    async with harness.database.as_user(user_id) as conn:
        waits = await conn.fetchval(
            "SELECT waiting_since IS NOT NULL FROM executions WHERE execution_id = $1",
            other.execution_id,
        )
        await cancel_waiting_jobs(conn, one.execution_id)
    assert waits, "its deadline stands still"
    assert await claim(harness, other) == BUY
    await buy(harness, other)
    assert (await harness.job(other)).state is JobState.COMPLETED


@pytest.mark.parametrize("lost", ["row", "object"])
async def test_purchase_is_made_again_after_its_file_is_lost(
    harness: ActivityHarness, lost: str
) -> None:
    user_id = await new_user(harness.database)
    one = await bought(harness, user_id)
    await harness.as_owner(END, one.execution_id)
    other = await speech(harness, user_id)
    assert await claim(harness, other) == PurchaseClaim(source=one.job_id)
    (asset,) = await files(harness, one)
    if lost == "object":
        await harness.objects.delete(asset.object_key)
    else:
        await harness.as_owner("DELETE FROM assets WHERE job_id = $1", one.job_id)

    assert await reuse(harness, other, one) is JobState.WAITING
    assert await claim(harness, other) == BUY
    await buy(harness, other)
    assert (await harness.run(harness.assets.store, other)).failure is None
    assert len(harness.bill()) == 2
    third = await speech(harness, user_id)
    assert await claim(harness, third) == PurchaseClaim(source=other.job_id)


async def test_copies_of_a_cancelled_execution_are_deleted(harness: ActivityHarness) -> None:
    user_id = await new_user(harness.database)
    one, other = await bought(harness, user_id), await speech(harness, user_id)
    await harness.as_owner(
        "UPDATE executions SET cancel_requested_at = now() WHERE execution_id = $1",
        other.execution_id,
    )
    assert await reuse(harness, other, one) is JobState.WAITING
    async with harness.database.as_user(user_id) as conn:
        assert (await get_job(conn, other.job_id)).report is None
        queued = await conn.fetchval("SELECT array_agg(object_key) FROM file_deletions")
    (key,) = queued
    # A purchase of the same job has another key, which is not queued for deletion.
    assert key.partition(".")[0].endswith("-copy")
