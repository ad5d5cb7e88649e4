"""The pay-once protocol on real parts. The judge of payment is the sandbox's own bill."""

import asyncio
import dataclasses
import time

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.jobs import JobActivities
from core.domain.failures import FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, FindOutcome, SubmitOutcome
from core.domain.states import JobState
from core.providers.registry import Providers
from core.store.executions.executions import mark_cancel_requested
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.jobs.submit_pauses import pause, provider_scope, resume
from tests.activities.bench import FLUX, REPLICATE_FLUX, Bench, provider_settings
from tests.support.rows import IMAGE_PRICE

WOKEN_SECONDS = 3.0
"""Alone it takes a tenth of a second; the machine of the tests is shared. The next poll is seven
away.
"""


async def test_job_is_sent_once_waited_for_and_settled_at_its_real_cost(bench: Bench) -> None:
    image = (await bench.accepted()).image
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    settled = await bench.run(bench.jobs.settle, image)
    assert (settled.state, settled.failure) == (JobState.COMPLETED, None)
    assert await bench.run(bench.jobs.settle, image) == settled
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.ENDED
    (line,) = bench.bill()
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])
    assert line["billed_nano_usd"] == IMAGE_PRICE


@pytest.mark.parametrize(
    "fault", ["drop_after_accept", "answer_502_after_accept", "malformed_json", "html_answer"]
)
async def test_job_whose_answer_was_lost_is_found_and_not_sent_again(
    bench: Bench, fault: str
) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault(fault)
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert (await bench.run(bench.jobs.find, image)).outcome is FindOutcome.FOUND
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    await bench.run(bench.jobs.settle, image)
    assert bench.sandbox.fired(order) == 1
    (line,) = bench.bill()
    job = await bench.job(image)
    assert job.handle is not None
    assert line["provider_job_id"] == job.handle.provider_job_id
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])


@pytest.mark.parametrize(("model", "provider"), [(REPLICATE_FLUX, "replicate"), (FLUX, "fal")])
async def test_job_that_was_never_accepted_is_sent_again_past_the_horizon(
    bench: Bench, model: str, provider: str
) -> None:
    image = (await bench.accepted(image_model=model, image_provider=provider)).image
    order = bench.sandbox.fault("drop_before_accept")
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert (await bench.run(bench.jobs.find, image)).outcome is FindOutcome.ABSENT
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert bench.sandbox.fired(order) == 1
    assert len(bench.bill()) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (422, FailureCode.PROVIDER_REJECTED_INPUT),
        (404, FailureCode.PROVIDER_MODEL_UNAVAILABLE),
    ],
)
async def test_job_that_is_refused_fails_and_gives_its_money_back(
    bench: Bench, status: int, code: FailureCode
) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault("refuse", params={"status": status})
    result = await bench.run(bench.jobs.submit, image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is code
    assert bench.sandbox.fired(order) == 1
    assert (await bench.job(image)).state is JobState.FAILED
    assert await bench.charge(image) == ("released", 0)
    assert bench.bill() == []


async def test_job_that_is_throttled_waits_and_keeps_its_hold(bench: Bench) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault("refuse_429", params={"retry_after": "7"})
    result = await bench.run(bench.jobs.submit, image)
    assert (result.outcome, result.retry_after_seconds) == (SubmitOutcome.NOT_SENT, 7.0)
    assert bench.sandbox.fired(order) == 1
    assert await bench.charge(image) == ("held", 0)
    await bench.as_owner("UPDATE provider_states SET quiet_until = now()")
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert len(bench.bill()) == 1


async def test_job_submitted_by_two_at_once_is_sent_once(bench: Bench) -> None:
    image = (await bench.accepted()).image
    bench.sandbox.set(submit_seconds=0.3)
    results = await asyncio.gather(*(bench.run(bench.jobs.submit, image) for _ in range(4)))
    assert len(bench.bill()) == 1
    assert SubmitOutcome.SUBMITTED in {result.outcome for result in results}
    assert (await bench.job(image)).state is JobState.SUBMITTED


async def test_job_whose_submit_is_cancelled_while_it_is_out_keeps_its_answer(bench: Bench) -> None:
    one = await bench.accepted()
    order = bench.sandbox.fault("answer_late", params={"seconds": 0.5})
    submitting = asyncio.create_task(bench.run(bench.jobs.submit, one.image))
    await asyncio.to_thread(bench.sandbox.wait_until, lambda: bench.sandbox.fired(order) == 1)
    submitting.cancel()  # what a reset, a termination or a late beat makes of it
    with pytest.raises(asyncio.CancelledError):
        await submitting
    job = await bench.job(one.image)
    assert job.state is JobState.SUBMITTED
    assert job.handle is not None
    assert job.handle.provider_job_id == bench.bill()[0]["provider_job_id"]


async def test_job_of_a_cancelled_execution_is_not_sent(bench: Bench) -> None:
    accepted = await bench.accepted()
    async with bench.database.as_user(accepted.user_id) as conn:
        assert await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
    assert (await bench.run(bench.jobs.submit, accepted.image)).outcome is SubmitOutcome.STOPPED
    assert bench.bill() == []


async def test_job_whose_submits_are_paused_waits_and_is_sent_when_they_go_on(bench: Bench) -> None:
    image = (await bench.accepted()).image
    async with bench.database.as_system() as conn:
        assert await pause(conn, provider_scope("replicate"), "its bills are wrong today")
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.NOT_SENT
    assert bench.bill() == []
    assert await bench.charge(image) == ("held", 0)
    async with bench.database.as_system() as conn:
        assert await resume(conn, provider_scope("replicate"))
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED


async def test_job_of_another_generation_is_not_sent(bench: Bench) -> None:
    image = dataclasses.replace((await bench.accepted()).image, generation=2)
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.STOPPED
    assert bench.bill() == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("refuse_429", FailureCode.PROVIDER_RATE_LIMITED),
        ("not reached", FailureCode.PROVIDER_UNAVAILABLE),
    ],
)
async def test_job_refused_until_the_executions_deadline_fails_of_its_last_refusal(
    bench: Bench, fault: str, code: FailureCode
) -> None:
    image = (await bench.accepted()).image
    if fault == "refuse_429":
        bench.sandbox.fault(fault)
        await bench.run(bench.jobs.submit, image)
    else:
        async with Providers.open(provider_settings("http://127.0.0.1:9")) as unreachable:
            away: JobActivities = dataclasses.replace(bench.jobs, providers=unreachable)
            assert (await bench.run(away.submit, image)).outcome is SubmitOutcome.NOT_SENT
    await bench.as_owner(
        "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", image.execution_id
    )
    result = await bench.run(bench.jobs.submit, image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is code
    assert bench.bill() == []
    assert await bench.charge(image) == ("released", 0)


async def test_job_whose_needed_step_has_no_output_is_not_sent(bench: Bench) -> None:
    video = (await bench.accepted()).video
    result = await bench.run(bench.jobs.submit, video)
    assert result.outcome is SubmitOutcome.REFUSED
    assert bench.bill() == []
    assert await bench.charge(video) == ("released", 0)


async def test_job_that_the_adapter_cannot_translate_fails_instead_of_looping(bench: Bench) -> None:
    accepted = await bench.accepted()
    await bench.as_owner(
        """UPDATE steps SET parameters = '{"prompt": "x", "aspect_ratio": "1:1000"}' WHERE execution_id = $1""",
        accepted.execution_id,
    )
    result = await bench.run(bench.jobs.submit, accepted.image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert await bench.charge(accepted.image) == ("released", 0)


async def test_job_of_unknown_fate_is_given_up_at_the_executions_deadline_and_keeps_its_hold(
    bench: Bench,
) -> None:
    image = (await bench.accepted()).image
    bench.sandbox.set(history_hidden=True)
    order = bench.sandbox.fault("drop_after_accept")
    await bench.run(bench.jobs.submit, image)
    await bench.as_owner(
        "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", image.execution_id
    )
    found = await bench.run(bench.jobs.find, image)
    assert bench.sandbox.fired(order) == 1
    assert found.outcome is FindOutcome.GIVEN_UP
    assert found.failure is not None
    assert found.failure.code is FailureCode.SUBMISSION_UNKNOWN
    assert await bench.charge(image) == ("held", 0)
    bench.sandbox.set(history_hidden=False)
    await bench.late_bills.settle()
    await asyncio.to_thread(bench.sandbox.wait_until, lambda: bench.bill()[0]["state"] != "open")
    await bench.late_bills.settle()
    assert await bench.charge(image) == ("settled", bench.bill()[0]["billed_nano_usd"])
    assert (await bench.job(image)).state is JobState.FAILED


async def test_job_waited_for_is_woken_by_its_callback(bench: Bench) -> None:
    """Long before the poll that is due in ten seconds."""
    image = (await bench.accepted()).image
    bench.sandbox.set(image_seconds=1.0)
    await bench.run(bench.jobs.submit, image)
    await bench.as_owner(
        "UPDATE steps SET usual_seconds = 1000 WHERE execution_id = $1", image.execution_id
    )
    await bench.as_owner(
        "UPDATE jobs SET submitted_at = now() - interval '100 s' WHERE job_id = $1", image.job_id
    )
    job = await bench.job(image)
    assert job.handle is not None
    waiting = asyncio.create_task(bench.run(bench.jobs.wait, image))
    await asyncio.to_thread(bench.sandbox.wait_until, lambda: bench.bill()[0]["state"] != "open")
    assert not waiting.done()
    called = time.monotonic()
    async with bench.database.as_system() as conn:
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


async def test_job_of_unknown_fate_is_adopted_by_its_callback(bench: Bench) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault("drop_after_accept")
    bench.sandbox.set(history_hidden=True)
    await bench.run(bench.jobs.submit, image)
    finding = asyncio.create_task(bench.run(bench.jobs.find, image))
    async with bench.database.as_system() as conn:
        new = NewCallback(
            provider="replicate",
            delivery_id="msg_1",
            job_id=image.job_id,
            send_number=1,
            provider_job_id=ProviderJobId(bench.bill()[0]["provider_job_id"]),
        )
        assert await record_callback(conn, new) is CallbackOutcome.ADOPTED
    assert (await finding).outcome is FindOutcome.FOUND
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    assert bench.sandbox.fired(order) == 1
    assert len(bench.bill()) == 1


async def test_job_cancelled_while_it_runs_is_charged_what_the_provider_charges(
    bench: Bench,
) -> None:
    accepted = await bench.accepted()
    image = accepted.image
    order = bench.sandbox.fault("stuck")
    await bench.run(bench.jobs.submit, image)
    waiting = asyncio.create_task(bench.run(bench.jobs.wait, image))
    async with bench.database.as_user(accepted.user_id) as conn:
        await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
    assert (await bench.run(bench.jobs.cancel, image)).outcome in (
        CancelOutcome.CANCELLED,
        CancelOutcome.REQUESTED,
    )
    assert (await waiting).state is JobState.CANCELLED
    settled = await bench.run(bench.jobs.settle, image)
    assert (settled.state, settled.failure) == (JobState.CANCELLED, None)  # an order, not a failure
    assert bench.sandbox.fired(order) == 1
    (line,) = bench.bill()
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])
    assert (await bench.run(bench.jobs.cancel, image)).outcome is CancelOutcome.NOTHING


async def test_job_is_cancelled_at_its_provider_once(bench: Bench) -> None:
    """A workflow that is reset, or a second order, asks no more; a try that got no answer is
    repeated.
    """
    image = (await bench.accepted()).image
    bench.sandbox.fault("stuck")
    await bench.run(bench.jobs.submit, image)
    lost = bench.sandbox.fault("error_5xx_before_accept", operation="cancel")
    with pytest.raises(ApplicationError):
        await bench.run(bench.jobs.cancel, image)
    assert bench.sandbox.fired(lost) == 1
    again = ActivityEnvironment()
    again.info = dataclasses.replace(again.info, attempt=2)
    assert (await again.run(bench.jobs.cancel, image)).outcome is not CancelOutcome.NOTHING
    await bench.run(bench.jobs.cancel, image)
    calls = bench.sandbox.client.get("/__control/calls").json()["calls"]
    assert [call["operation"] for call in calls].count("cancel") == 2
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.CANCELLED


async def test_job_with_an_unknown_status_is_still_running(bench: Bench) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault("unknown_status", times=1)
    await bench.run(bench.jobs.submit, image)
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    assert bench.sandbox.fired(order) == 1


async def test_job_past_its_deadline_is_waited_for_no_longer(bench: Bench) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault("stuck")
    await bench.run(bench.jobs.submit, image)
    await bench.as_owner("UPDATE jobs SET deadline_at = now() WHERE job_id = $1", image.job_id)
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.SUBMITTED
    settled = await bench.run(bench.jobs.settle, image)
    assert settled.failure is not None
    assert (settled.state, settled.failure.code) == (
        JobState.FAILED,
        FailureCode.PROVIDER_TIMED_OUT,
    )
    assert bench.sandbox.fired(order) == 1
    assert await bench.charge(image) == ("held", 0)


async def test_job_waited_for_is_handed_over_when_the_worker_stops(bench: Bench) -> None:
    image = (await bench.accepted()).image
    bench.sandbox.fault("stuck")
    await bench.run(bench.jobs.submit, image)
    environment = ActivityEnvironment()
    waiting = asyncio.create_task(environment.run(bench.jobs.wait, image))
    await asyncio.sleep(0.3)
    environment.worker_shutdown()
    with pytest.raises(ApplicationError) as raised:
        await asyncio.wait_for(waiting, 3)
    assert (raised.value.type, raised.value.non_retryable) == ("hand_over", False)


async def test_job_whose_provider_is_not_on_offer_any_more_ends_at_its_deadline(
    bench: Bench,
) -> None:
    """Its key was taken out of the settings: nothing waits for ever."""
    image = (await bench.accepted()).image
    await bench.run(bench.jobs.submit, image)
    without: JobActivities = dataclasses.replace(bench.jobs, providers=type(bench.providers)([]))
    await bench.as_owner(
        "UPDATE jobs SET deadline_at = now(), submitted_at = now() - interval '1 h' WHERE job_id = $1",
        image.job_id,
    )
    assert (await bench.run(without.wait, image)).state is JobState.SUBMITTED
