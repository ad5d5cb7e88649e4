"""The pay-once protocol on real parts. The judge of payment is the sandbox's own bill."""

import asyncio
import dataclasses
import time

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.jobs import JobActivities
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, FindOutcome, JobReport, SubmitOutcome
from core.domain.states import JobState
from core.providers.registry import Providers
from core.store.executions.executions import mark_cancel_requested
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.jobs.jobs import mark_reported
from core.store.jobs.submit_pauses import pause, provider_scope, resume
from tests.support.activity_harness import FLUX, REPLICATE_FLUX, ActivityHarness, provider_settings
from tests.support.rows import IMAGE_PRICE

pytestmark = pytest.mark.guarantee("G1", "G5")

WOKEN_SECONDS = 3.0
"""Alone it takes a tenth of a second, but the test machine is shared. The next look is in an
hour.
"""


async def test_job_is_sent_once_and_settled_at_real_cost(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    settled = await harness.run(harness.jobs.settle, image)
    assert (settled.state, settled.failure) == (JobState.COMPLETED, None)
    assert await harness.run(harness.jobs.settle, image) == settled
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.ENDED
    (line,) = harness.bill()
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])
    assert line["billed_nano_usd"] == IMAGE_PRICE


@pytest.mark.parametrize(
    "fault", ["drop_after_accept", "answer_502_after_accept", "malformed_json", "html_answer"]
)
async def test_job_with_a_lost_answer_is_found_not_resent(
    harness: ActivityHarness, fault: str
) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault(fault)
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert (await harness.run(harness.jobs.find, image)).outcome is FindOutcome.FOUND
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    await harness.run(harness.jobs.settle, image)
    assert harness.sandbox.fired(order) == 1
    (line,) = harness.bill()
    job = await harness.job(image)
    assert job.handle is not None
    assert line["provider_job_id"] == job.handle.provider_job_id
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])


@pytest.mark.parametrize(("model", "provider"), [(REPLICATE_FLUX, "replicate"), (FLUX, "fal")])
async def test_unaccepted_job_is_sent_again_past_the_horizon(
    harness: ActivityHarness, model: str, provider: str
) -> None:
    image = (await harness.accepted(image_model=model, image_provider=provider)).image
    order = harness.sandbox.fault("drop_before_accept")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert (await harness.run(harness.jobs.find, image)).outcome is FindOutcome.ABSENT
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert harness.sandbox.fired(order) == 1
    assert len(harness.bill()) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (422, FailureCode.PROVIDER_REJECTED_INPUT),
        (404, FailureCode.PROVIDER_MODEL_UNAVAILABLE),
    ],
)
async def test_job_that_is_refused_fails_and_gives_its_money_back(
    harness: ActivityHarness, status: int, code: FailureCode
) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("refuse", params={"status": status})
    result = await harness.run(harness.jobs.submit, image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is code
    assert harness.sandbox.fired(order) == 1
    assert (await harness.job(image)).state is JobState.FAILED
    assert await harness.charge(image) == ("released", 0)
    assert harness.bill() == []


async def test_job_that_is_throttled_waits_and_keeps_its_hold(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("refuse_429", params={"retry_after": "7"})
    result = await harness.run(harness.jobs.submit, image)
    assert (result.outcome, result.retry_after_seconds) == (SubmitOutcome.NOT_SENT, 7.0)
    assert harness.sandbox.fired(order) == 1
    assert await harness.charge(image) == ("held", 0)
    await harness.as_owner("UPDATE provider_states SET quiet_until = now()")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert len(harness.bill()) == 1


async def test_job_submitted_by_two_at_once_is_sent_once(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    harness.sandbox.set(submit_seconds=0.3)
    results = await asyncio.gather(*(harness.run(harness.jobs.submit, image) for _ in range(4)))
    assert len(harness.bill()) == 1
    assert SubmitOutcome.SUBMITTED in {result.outcome for result in results}
    assert (await harness.job(image)).state is JobState.SUBMITTED


async def test_cancelled_submit_still_records_its_answer(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    order = harness.sandbox.fault("answer_late", params={"seconds": 0.5})
    submitting = asyncio.create_task(harness.run(harness.jobs.submit, one.image))
    await asyncio.to_thread(harness.sandbox.wait_until, lambda: harness.sandbox.fired(order) == 1)
    submitting.cancel()  # as after a reset, a termination or a late heartbeat
    with pytest.raises(asyncio.CancelledError):
        await submitting
    job = await harness.job(one.image)
    assert job.state is JobState.SUBMITTED
    assert job.handle is not None
    assert job.handle.provider_job_id == harness.bill()[0]["provider_job_id"]


async def test_job_of_a_cancelled_execution_is_not_sent(harness: ActivityHarness) -> None:
    accepted = await harness.accepted()
    async with harness.database.as_user(accepted.user_id) as conn:
        assert await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
    assert (await harness.run(harness.jobs.submit, accepted.image)).outcome is SubmitOutcome.STOPPED
    assert harness.bill() == []


async def test_paused_job_is_sent_when_submits_resume(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    async with harness.database.as_system() as conn:
        assert await pause(conn, provider_scope("replicate"), "its bills are wrong today")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.NOT_SENT
    assert harness.bill() == []
    assert await harness.charge(image) == ("held", 0)
    async with harness.database.as_system() as conn:
        assert await resume(conn, provider_scope("replicate"))
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED


async def test_job_of_another_generation_is_not_sent(harness: ActivityHarness) -> None:
    image = dataclasses.replace((await harness.accepted()).image, generation=2)
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.STOPPED
    assert harness.bill() == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("refuse_429", FailureCode.PROVIDER_RATE_LIMITED),
        ("not reached", FailureCode.PROVIDER_UNAVAILABLE),
    ],
)
async def test_job_past_the_deadline_fails_with_its_last_refusal(
    harness: ActivityHarness, fault: str, code: FailureCode
) -> None:
    image = (await harness.accepted()).image
    if fault == "refuse_429":
        harness.sandbox.fault(fault)
        await harness.run(harness.jobs.submit, image)
    else:
        async with Providers.open(provider_settings("http://127.0.0.1:9")) as unreachable:
            away: JobActivities = dataclasses.replace(harness.jobs, providers=unreachable)
            assert (await harness.run(away.submit, image)).outcome is SubmitOutcome.NOT_SENT
    await harness.as_owner(
        "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", image.execution_id
    )
    result = await harness.run(harness.jobs.submit, image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is code
    assert harness.bill() == []
    assert await harness.charge(image) == ("released", 0)


async def test_job_whose_needed_step_has_no_output_is_not_sent(harness: ActivityHarness) -> None:
    video = (await harness.accepted()).video
    result = await harness.run(harness.jobs.submit, video)
    assert result.outcome is SubmitOutcome.REFUSED
    assert harness.bill() == []
    assert await harness.charge(video) == ("released", 0)


async def test_job_that_the_adapter_cannot_translate_fails_instead_of_looping(
    harness: ActivityHarness,
) -> None:
    accepted = await harness.accepted()
    await harness.as_owner(
        """UPDATE steps SET parameters = '{"prompt": "x", "aspect_ratio": "1:1000"}' WHERE execution_id = $1""",
        accepted.execution_id,
    )
    result = await harness.run(harness.jobs.submit, accepted.image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert await harness.charge(accepted.image) == ("released", 0)


async def test_unknown_job_past_the_deadline_keeps_its_hold(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    harness.sandbox.set(history_hidden=True)
    order = harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, image)
    await harness.as_owner(
        "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", image.execution_id
    )
    found = await harness.run(harness.jobs.find, image)
    assert harness.sandbox.fired(order) == 1
    assert found.outcome is FindOutcome.GIVEN_UP
    assert found.failure is not None
    assert found.failure.code is FailureCode.SUBMISSION_UNKNOWN
    assert await harness.charge(image) == ("held", 0)
    harness.sandbox.set(history_hidden=False)
    await harness.open_bills.settle()
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    await harness.open_bills.settle()
    assert await harness.charge(image) == ("settled", harness.bill()[0]["billed_nano_usd"])
    assert (await harness.job(image)).state is JobState.FAILED


async def test_job_waited_for_is_woken_by_its_callback(harness: ActivityHarness) -> None:
    """Long before the next look is due."""
    image = (await harness.accepted()).image
    harness.sandbox.set(image_seconds=1.0)
    await harness.run(harness.jobs.submit, image)
    await harness.as_owner(
        "UPDATE jobs SET next_look_at = now() + interval '1 h' WHERE job_id = $1", image.job_id
    )
    job = await harness.job(image)
    assert job.handle is not None
    waiting = asyncio.create_task(harness.run(harness.jobs.wait, image))
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    assert not waiting.done()
    called = time.monotonic()
    async with harness.database.as_system() as conn:
        new = NewCallback(
            provider="replicate",
            delivery_id="msg_1",
            job_id=image.job_id,
            send_number=1,
            provider_job_id=job.handle.provider_job_id,
        )
        assert await record_callback(conn, new) is CallbackOutcome.RECORDED
    assert (await waiting).state is JobState.COMPLETED
    assert time.monotonic() - called < WOKEN_SECONDS


async def test_job_of_unknown_fate_is_adopted_by_its_callback(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("drop_after_accept")
    harness.sandbox.set(history_hidden=True)
    await harness.run(harness.jobs.submit, image)
    finding = asyncio.create_task(harness.run(harness.jobs.find, image))
    async with harness.database.as_system() as conn:
        new = NewCallback(
            provider="replicate",
            delivery_id="msg_1",
            job_id=image.job_id,
            send_number=1,
            provider_job_id=ProviderJobId(harness.bill()[0]["provider_job_id"]),
        )
        assert await record_callback(conn, new) is CallbackOutcome.ADOPTED
    assert (await finding).outcome is FindOutcome.FOUND
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    assert harness.sandbox.fired(order) == 1
    assert len(harness.bill()) == 1


async def test_cancelled_job_is_charged_what_the_provider_billed(
    harness: ActivityHarness,
) -> None:
    accepted = await harness.accepted()
    image = accepted.image
    order = harness.sandbox.fault("stuck")
    await harness.run(harness.jobs.submit, image)
    waiting = asyncio.create_task(harness.run(harness.jobs.wait, image))
    async with harness.database.as_user(accepted.user_id) as conn:
        await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
    assert (await harness.run(harness.jobs.cancel, image)).outcome in (
        CancelOutcome.CANCELLED,
        CancelOutcome.REQUESTED,
    )
    assert (await waiting).state is JobState.CANCELLED
    settled = await harness.run(harness.jobs.settle, image)
    assert (settled.state, settled.failure) == (JobState.CANCELLED, None)  # an order, not a failure
    assert harness.sandbox.fired(order) == 1
    (line,) = harness.bill()
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])
    assert (await harness.run(harness.jobs.cancel, image)).outcome is CancelOutcome.NOTHING


@pytest.mark.parametrize(
    ("cancelled", "state"), [(True, JobState.CANCELLED), (False, JobState.FAILED)]
)
async def test_aborted_job_is_cancelled_if_the_user_cancelled(
    harness: ActivityHarness, cancelled: bool, state: JobState
) -> None:
    """A provider reports a job that was stopped in its queue as one that timed out."""
    accepted = await harness.accepted()
    image = accepted.image
    await harness.run(harness.jobs.submit, image)
    failure = Failure.of(FailureCode.PROVIDER_TIMED_OUT)
    aborted = JobReport(state=JobState.FAILED, failure=failure, charged=False)
    async with harness.database.as_user(accepted.user_id) as conn:
        if cancelled:
            await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
        await mark_reported(conn, image.job_id, aborted)
    settled = await harness.run(harness.jobs.settle, image)
    assert (settled.state, settled.failure) == (state, None if cancelled else failure)
    assert await harness.charge(image) == ("settled", 0)


async def test_job_is_cancelled_at_its_provider_once(harness: ActivityHarness) -> None:
    """A workflow that is reset, or a second order, asks no more; a try that got no answer is
    repeated.
    """
    image = (await harness.accepted()).image
    harness.sandbox.fault("stuck")
    await harness.run(harness.jobs.submit, image)
    lost = harness.sandbox.fault("error_5xx_before_accept", operation="cancel")
    with pytest.raises(ApplicationError):
        await harness.run(harness.jobs.cancel, image)
    assert harness.sandbox.fired(lost) == 1
    again = ActivityEnvironment()
    again.info = dataclasses.replace(again.info, attempt=2)
    assert (await again.run(harness.jobs.cancel, image)).outcome is not CancelOutcome.NOTHING
    await harness.run(harness.jobs.cancel, image)
    calls = harness.sandbox.client.get("/__control/calls").json()["calls"]
    assert [call["operation"] for call in calls].count("cancel") == 2
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.CANCELLED


async def test_job_with_an_unknown_status_is_still_running(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("unknown_status", times=1)
    await harness.run(harness.jobs.submit, image)
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    assert harness.sandbox.fired(order) == 1


async def test_job_past_its_deadline_is_waited_for_no_longer(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("stuck")
    await harness.run(harness.jobs.submit, image)
    await harness.as_owner("UPDATE jobs SET deadline_at = now() WHERE job_id = $1", image.job_id)
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.SUBMITTED
    settled = await harness.run(harness.jobs.settle, image)
    assert settled.failure is not None
    assert (settled.state, settled.failure.code) == (
        JobState.FAILED,
        FailureCode.PROVIDER_TIMED_OUT,
    )
    assert harness.sandbox.fired(order) == 1
    assert await harness.charge(image) == ("held", 0)


async def test_job_waited_for_is_handed_over_when_the_worker_stops(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    harness.sandbox.fault("stuck")
    await harness.run(harness.jobs.submit, image)
    environment = ActivityEnvironment()
    waiting = asyncio.create_task(environment.run(harness.jobs.wait, image))
    await asyncio.sleep(0.3)
    environment.worker_shutdown()
    with pytest.raises(ApplicationError) as raised:
        await asyncio.wait_for(waiting, 3)
    assert (raised.value.type, raised.value.non_retryable) == ("hand_over", False)


async def test_job_of_a_removed_provider_ends_at_its_deadline(
    harness: ActivityHarness,
) -> None:
    """Its key was removed from the settings: no job waits without limit."""
    image = (await harness.accepted()).image
    await harness.run(harness.jobs.submit, image)
    harness.poller.providers = type(harness.providers)([])
    await harness.as_owner(
        "UPDATE jobs SET deadline_at = now(), next_look_at = now() WHERE job_id = $1", image.job_id
    )
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.SUBMITTED
