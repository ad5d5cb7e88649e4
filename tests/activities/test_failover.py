"""A step continues at its next model only after its job certainly cost nothing, and pays once."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.domain.alternatives import Alternative, quote_with
from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId, ProviderJobId, following_job_id
from core.domain.messages.executions import FinishInput
from core.domain.messages.jobs import (
    FindOutcome,
    JobRef,
    JobReport,
    NextJob,
    ProviderHandle,
    SettleJobResult,
    SubmitOutcome,
)
from core.domain.money import NanoUsd
from core.domain.states import ExecutionStatus, JobState
from core.jobs.settlement import settle_job
from core.jobs.submission.submit_results import interpret, record_result
from core.platform.temporal.policies import CANCEL_GRACE
from core.providers.port import CreateAnswer, CreateOutcome
from core.store.accounts.users import UserLimits
from core.store.executions.executions import (
    NewExecution,
    claim_execution,
    get_progress,
    mark_cancel_requested,
)
from core.store.jobs.callbacks import (
    CallbackOutcome,
    NewCallback,
    record_callback,
)
from core.store.jobs.jobs import mark_reported
from core.store.jobs.orphans import record_orphan
from tests.activities.test_free_failures import INTERRUPTED, buy, check_books
from tests.activities.test_lookup import CANCELLED_BEFORE
from tests.support.activity_harness import FLUX, REPLICATE_FLUX, ActivityHarness, polling
from tests.support.rows import (
    IMAGE_PRICE,
    MEGAPIXEL,
    NO_LIMITS,
    PICTURE,
    VIDEO_PRICE,
    Accepted,
    accept,
    new_execution,
    new_user,
)

pytestmark = pytest.mark.guarantee("G1", "G3", "G4")

WORST = NanoUsd(9_000_000)
"""Of the alternative: more than of the first model, so it is held from the start."""
FAILED_FREE = JobReport(
    state=JobState.FAILED, failure=Failure.of(FailureCode.CONTENT_MODERATED), charged=False
)
FREE: dict[str, dict[str, Any]] = {
    "moderated": {},
    "fail_after": {"seconds": 0, "message": "CUDA out of memory"},
}


def with_alternative(new: NewExecution, **more: Any) -> NewExecution:
    """Return an order whose image may be made by fal if it costs nothing at Replicate."""
    fal = Alternative(provider="fal", model=FLUX, worst_nano_usd=WORST, price=MEGAPIXEL)
    other = replace(fal, **more)
    image, video = new.steps
    image = replace(image, alternatives=(other,), quote=quote_with(image.quote, (other,)))
    return replace(new, steps=(image, video))


async def ordered(
    harness: ActivityHarness, limits: UserLimits = NO_LIMITS, **more: Any
) -> Accepted:
    user_id = await new_user(harness.database, limits)
    new = new_execution(user_id, image_model=REPLICATE_FLUX, image_provider="replicate")
    return await accept(harness.database, with_alternative(new, **more))


def following(ref: JobRef) -> JobRef:
    return replace(ref, job_id=following_job_id(ref.job_id))


def at_fal(ref: JobRef) -> NextJob:
    return NextJob(job_id=following_job_id(ref.job_id), provider="fal", model=FLUX)


async def moderated(harness: ActivityHarness, one: Accepted) -> SettleJobResult:
    order = harness.sandbox.fault("moderated", provider="replicate")
    settled = await buy(harness, one.image)
    assert harness.sandbox.fired(order) == 1
    return settled


async def count_jobs(harness: ActivityHarness, one: Accepted) -> int:
    async with harness.database.as_system() as conn:
        return await conn.fetchval(
            "SELECT count(*) FROM jobs WHERE execution_id = $1 AND step_name = 'image'",
            one.execution_id,
        )


@pytest.mark.parametrize("fault", FREE)
async def test_job_that_failed_free_is_followed_by_the_next_model(
    harness: ActivityHarness, fault: str
) -> None:
    one = await ordered(harness)
    order = harness.sandbox.fault(fault, provider="replicate", params=FREE[fault])
    settled = await buy(harness, one.image)
    assert harness.sandbox.fired(order) == 1
    assert (settled.state, settled.resend) == (JobState.FAILED, 0)
    assert settled.next_job == at_fal(one.image)
    assert (await harness.run(harness.jobs.wait, one.image)).settled == settled  # a lost result
    assert await harness.charge(one.image) == ("settled", 0)
    assert await harness.charge(following(one.image)) == ("held", 0)
    second = await buy(harness, following(one.image))
    assert (second.state, second.next_job) == (JobState.COMPLETED, None)
    assert [line["billed_nano_usd"] > 0 for line in harness.bill()] == [False, True]
    assert await count_jobs(harness, one) == 2
    await check_books(harness)


async def test_next_model_comes_after_the_last_free_resend(harness: ActivityHarness) -> None:
    one = await ordered(harness)
    order = harness.sandbox.fault("fail_after", provider="replicate", times=-1, params=INTERRUPTED)
    settled = [await buy(harness, one.image) for _ in range(3)]
    assert [(each.resend, each.next_job is not None) for each in settled] == [
        (1, False),
        (2, False),
        (0, True),
    ]
    await buy(harness, following(one.image))
    assert harness.sandbox.fired(order) == 3
    assert [line["billed_nano_usd"] > 0 for line in harness.bill()] == [False] * 3 + [True]
    await check_books(harness)


@pytest.mark.parametrize("status", [422, 404, 401, 402])
async def test_refused_job_is_followed_by_the_next_model(
    harness: ActivityHarness, status: int
) -> None:
    one = await ordered(harness)
    order = harness.sandbox.fault("refuse", provider="replicate", params={"status": status})
    result = await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(order) == 1
    assert result.outcome is SubmitOutcome.ENDED
    assert result.settled is not None
    assert result.settled.next_job == at_fal(one.image)
    assert await harness.charge(one.image) == ("released", 0)
    again = await harness.run(harness.jobs.submit, one.image)  # a lost result
    assert again.outcome is SubmitOutcome.ENDED
    assert (await harness.run(harness.jobs.wait, one.image)).settled == result.settled
    assert (await buy(harness, following(one.image))).state is JobState.COMPLETED
    assert len(harness.bill()) == 1
    await check_books(harness)


async def test_open_breaker_is_followed_by_the_next_model(
    harness: ActivityHarness,
) -> None:
    first, second = await ordered(harness), await ordered(harness)
    harness.sandbox.fault("refuse", provider="replicate", params={"status": 401})
    await harness.run(harness.jobs.submit, first.image)
    result = await harness.run(harness.jobs.submit, second.image)
    assert result.settled is not None
    assert result.settled.next_job == at_fal(second.image)
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_NOT_ACCEPTING
    assert (await harness.job(second.image)).send_number == 0
    assert await harness.charge(second.image) == ("released", 0)
    assert (await buy(harness, following(second.image))).state is JobState.COMPLETED


async def test_rate_limited_job_waits_for_its_own_model(harness: ActivityHarness) -> None:
    one = await ordered(harness)
    order = harness.sandbox.fault("refuse_429", provider="replicate")
    result = await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(order) == 1
    assert (result.outcome, result.settled) == (SubmitOutcome.NOT_SENT, None)
    assert await count_jobs(harness, one) == 1


async def test_send_of_unknown_outcome_has_no_next_model(harness: ActivityHarness) -> None:
    """Neither while it is looked up nor after it was given up."""
    one = await ordered(harness)
    harness.sandbox.set(history_hidden=True)
    order = harness.sandbox.fault("drop_after_accept", provider="replicate")
    result = await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(order) == 1
    assert (result.outcome, result.settled) == (SubmitOutcome.UNKNOWN, None)
    await harness.as_owner(CANCELLED_BEFORE, one.execution_id, CANCEL_GRACE.total_seconds() + 1)
    assert (await harness.run(harness.jobs.find, one.image)).outcome is FindOutcome.GIVEN_UP
    await harness.as_owner(
        "UPDATE executions SET cancel_requested_at = NULL WHERE execution_id = $1",
        one.execution_id,
    )
    assert (await harness.run(harness.jobs.settle, one.image)).next_job is None
    assert await harness.charge(one.image) == ("held", 0)
    assert await count_jobs(harness, one) == 1


@pytest.mark.parametrize(
    ("fault", "params"),
    [
        ("empty_output", {}),  # of unknown cost
        ("fail_after", {"type": "internal_server_error", "billed": True}),
    ],
)
async def test_job_that_may_cost_something_has_no_next_model(
    harness: ActivityHarness, fault: str, params: dict[str, Any]
) -> None:
    user_id = await new_user(harness.database)
    new = with_alternative(new_execution(user_id), provider="replicate", model=REPLICATE_FLUX)
    one = await accept(harness.database, new)
    order = harness.sandbox.fault(fault, provider="fal", params=params)
    settled = await buy(harness, one.image)
    assert harness.sandbox.fired(order) == 1
    assert (settled.state, settled.next_job) == (JobState.FAILED, None)
    assert await count_jobs(harness, one) == 1
    await check_books(harness)


async def test_cancelled_execution_has_no_next_model(still: ActivityHarness) -> None:
    one = await ordered(still)
    still.sandbox.fault("moderated", provider="replicate")
    await still.run(still.jobs.submit, one.image)
    async with still.database.as_user(one.user_id) as conn:
        await mark_cancel_requested(conn, one.execution_id, "enough", generation=1)
    async with polling(still.poller):
        settled = (await still.run(still.jobs.wait, one.image)).settled
    assert settled is not None
    assert settled.next_job is None
    assert await count_jobs(still, one) == 1


async def test_cancel_after_a_failover_sends_nothing_and_releases_the_hold(
    harness: ActivityHarness,
) -> None:
    one = await ordered(harness)
    assert (await moderated(harness, one)).next_job is not None
    async with harness.database.as_user(one.user_id) as conn:
        await mark_cancel_requested(conn, one.execution_id, "enough", generation=1)
    second = following(one.image)
    assert (await harness.run(harness.jobs.submit, second)).outcome is SubmitOutcome.STOPPED
    order = FinishInput(execution=one.ref, status=ExecutionStatus.CANCELLED)
    await harness.run(harness.executions.finish, order)
    assert (await harness.job(second)).state is JobState.CANCELLED
    assert await harness.charge(second) == ("released", 0)
    assert len(harness.bill()) == 1
    await check_books(harness)


async def test_end_of_the_execution_leaves_no_next_model_open(still: ActivityHarness) -> None:
    """The end waits for a failover that is not committed, and ends its job."""
    one = await ordered(still)
    still.sandbox.fault("moderated", provider="replicate")
    await still.run(still.jobs.submit, one.image)
    finish = FinishInput(execution=one.ref, status=ExecutionStatus.FAILED)
    async with still.database.as_user(one.user_id) as conn:
        job = await mark_reported(conn, one.image.job_id, FAILED_FREE)
        assert job is not None
        settled = await settle_job(conn, still.providers, job, generation=1)
        ending = asyncio.create_task(still.run(still.executions.finish, finish))
        done, _ = await asyncio.wait({ending}, timeout=0.5)
        assert not done
    await ending
    assert settled.next_job is not None
    assert (await still.job(following(one.image))).state is JobState.CANCELLED
    assert await still.charge(following(one.image)) == ("released", 0)
    again = await still.run(still.jobs.settle, one.image)
    assert again.next_job == settled.next_job


async def test_job_of_an_ended_execution_has_no_next_model(still: ActivityHarness) -> None:
    one = await ordered(still)
    still.sandbox.fault("moderated", provider="replicate")
    await still.run(still.jobs.submit, one.image)
    finish = FinishInput(execution=one.ref, status=ExecutionStatus.FAILED)
    await still.run(still.executions.finish, finish)
    async with still.database.as_user(one.user_id) as conn:
        await mark_reported(conn, one.image.job_id, FAILED_FREE)
    settled = await still.run(still.jobs.settle, one.image)
    assert (settled.state, settled.next_job) == (JobState.FAILED, None)
    assert await still.charge(one.image) == ("settled", 0)
    assert await count_jobs(still, one) == 1


async def test_two_settlements_at_once_continue_once(still: ActivityHarness) -> None:
    one = await ordered(still)
    still.sandbox.fault("refuse", provider="replicate", params={"status": 422})
    await still.run(still.jobs.submit, one.image)
    results = await asyncio.gather(
        *(still.run(still.jobs.settle, one.image) for _ in range(4)),
        *(still.run(still.jobs.submit, following(one.image)) for _ in range(4)),
    )
    nexts = {each.next_job for each in results if isinstance(each, SettleJobResult)}
    assert nexts == {at_fal(one.image)}
    assert await count_jobs(still, one) == 2
    assert len(still.bill()) == 1


async def test_late_answer_is_an_orphan_at_the_first_price(
    harness: ActivityHarness,
) -> None:
    """The provider accepted a send that it had refused, and the callback arrives even later."""
    one = await ordered(harness)
    harness.sandbox.fault("refuse", provider="replicate", params={"status": 422})
    await harness.run(harness.jobs.submit, one.image)
    late = await harness.accepted()
    await harness.run(harness.jobs.submit, late.image)  # a real job, that belongs to no job here
    name = ProviderJobId(harness.bill()[0]["provider_job_id"])
    await harness.as_owner(
        "UPDATE jobs SET provider_job_id = 'other', next_look_at = NULL WHERE job_id = $1",
        late.image.job_id,
    )
    handle = ProviderHandle(provider="replicate", model=REPLICATE_FLUX, provider_job_id=name)
    answer = CreateAnswer(outcome=CreateOutcome.ACCEPTED, handle=handle, status_code=201)
    async with harness.database.as_user(one.user_id) as conn:
        recorded = await record_result(conn, one.image, 1, interpret(answer))
    assert (recorded.outcome, recorded.settled) == (SubmitOutcome.UNKNOWN, None)
    callback = NewCallback(
        provider="replicate",
        delivery_id="msg_late",
        job_id=one.image.job_id,
        send_number=1,
        provider_job_id=name,
    )
    async with harness.database.as_system() as conn:
        assert await record_callback(conn, callback) is CallbackOutcome.RECORDED
        (orphan,) = await conn.fetch(
            "SELECT j.provider, j.model, c.model AS priced, c.price ->> 'unit' AS unit FROM jobs AS j"
            " JOIN charges AS c USING (job_id) WHERE j.provider_job_id = $1 AND j.orphan",
            name,
        )
    assert dict(orphan) == {
        "provider": "replicate",
        "model": REPLICATE_FLUX,
        "priced": REPLICATE_FLUX,
        "unit": PICTURE.unit,
    }
    assert (await buy(harness, following(one.image))).state is JobState.COMPLETED


async def test_step_with_an_open_orphan_has_no_next_model(still: ActivityHarness) -> None:
    """An earlier send may have been bought after all: another purchase could be one too many."""
    one = await ordered(still)
    still.sandbox.fault("refuse_429", provider="replicate")
    assert (await still.run(still.jobs.submit, one.image)).outcome is SubmitOutcome.NOT_SENT
    handle = ProviderHandle(
        provider="replicate", model=REPLICATE_FLUX, provider_job_id=ProviderJobId("late")
    )
    await still.as_owner("DELETE FROM provider_states")
    still.sandbox.fault("refuse", provider="replicate", params={"status": 422})
    async with still.database.as_user(one.user_id) as conn:
        assert await record_orphan(conn, one.image.job_id, 1, handle) is not None
    result = await still.run(still.jobs.submit, one.image)
    assert (result.outcome, result.settled) == (SubmitOutcome.REFUSED, None)
    assert await count_jobs(still, one) == 2  # with the orphan


async def test_hold_covers_the_worst_model_and_needs_no_new_budget(
    harness: ActivityHarness,
) -> None:
    """The budget is exhausted by this order alone."""
    limit = UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(WORST + VIDEO_PRICE))
    one = await ordered(harness, limit)
    assert (await moderated(harness, one)).next_job is not None
    async with harness.database.as_user(one.user_id) as conn:
        held = await conn.fetchval(
            "SELECT held_nano_usd FROM budgets WHERE user_id = $1", one.user_id
        )
    assert held == WORST + VIDEO_PRICE
    await buy(harness, following(one.image))
    await check_books(harness)


async def test_hold_falls_to_the_worst_of_what_is_left(harness: ActivityHarness) -> None:
    one = await ordered(harness, worst_nano_usd=NanoUsd(1))
    await moderated(harness, one)
    async with harness.database.as_user(one.user_id) as conn:
        held = await conn.fetchval(
            "SELECT held_nano_usd FROM budgets WHERE user_id = $1", one.user_id
        )
    assert held == 1 + VIDEO_PRICE
    assert IMAGE_PRICE > 1
    assert (await buy(harness, following(one.image))).state is JobState.COMPLETED  # an overage
    await check_books(harness)


async def test_execution_without_time_for_the_next_model_fails(harness: ActivityHarness) -> None:
    one = await ordered(harness)
    await harness.as_owner(
        "UPDATE executions SET deadline_at = now() + $2 WHERE execution_id = $1",
        one.execution_id,
        timedelta(seconds=100),
    )
    assert (await moderated(harness, one)).next_job is None


async def test_progress_does_not_fall_at_a_failover(harness: ActivityHarness) -> None:
    one = await ordered(harness)
    harness.sandbox.fault("moderated", provider="replicate")
    await harness.run(harness.jobs.submit, one.image)
    await harness.as_owner(
        "UPDATE jobs SET submitted_at = submitted_at - interval '1 h' WHERE job_id = $1",
        one.image.job_id,
    )
    async with harness.database.as_user(one.user_id) as conn:
        before = await get_progress(conn, one.execution_id)
    assert (await harness.run(harness.jobs.wait, one.image)).settled is not None
    async with harness.database.as_user(one.user_id) as conn:
        assert await get_progress(conn, one.execution_id) >= before > 0


async def test_claim_returns_the_job_at_the_next_model(harness: ActivityHarness) -> None:
    """A run that is started again continues on the queue of that model's provider."""
    one = await ordered(harness)
    await moderated(harness, one)
    async with harness.database.as_user(one.user_id) as conn:
        claim = await claim_execution(conn, one.ref)
    jobs: dict[str, tuple[JobId, str, str]] = {
        job.step: (job.job_id, job.provider, job.model) for job in claim.jobs
    }
    second = at_fal(one.image)
    assert jobs == {
        "image": (second.job_id, "fal", FLUX),
        "video": (one.video.job_id, "", ""),
    }


async def test_next_model_gets_its_own_parameters(harness: ActivityHarness) -> None:
    one = await ordered(harness, values={"aspect_ratio": "1:1"}, without=("seed",))
    await moderated(harness, one)
    job = await harness.job(following(one.image))
    first = await harness.job(one.image)
    assert job.parameters.values == {**first.parameters.values, "aspect_ratio": "1:1"}
    assert job.alternatives == ()
