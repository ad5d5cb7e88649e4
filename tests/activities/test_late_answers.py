"""Late answers and workers of another version: nothing that was paid for is lost."""

import asyncio
import dataclasses

import pytest

import core.jobs.waiting.poller
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitOutcome
from core.domain.states import JobState
from core.jobs.submission.submit_results import interpret, record_result
from core.providers.port import CreateAnswer, CreateOutcome
from core.providers.registry import Providers
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from tests.support.activity_harness import ActivityHarness

pytestmark = pytest.mark.guarantee("G1", "G3")

GIVE_UP = """
UPDATE jobs SET state = 'failed', ended_at = now(), failure = '{"code": "submission_unknown", "message": "x"}'
WHERE job_id = $1
"""
END = "UPDATE executions SET status = 'failed', ended_at = now() WHERE execution_id = $1"


async def _given_up(harness: ActivityHarness, image: JobRef) -> None:
    await harness.as_owner(GIVE_UP, image.job_id)
    await harness.as_owner(END, image.execution_id)


async def _settled_to_the_bill(harness: ActivityHarness, image: JobRef) -> None:
    async with asyncio.timeout(10):
        while (await harness.charge(image))[0] == "held":
            await harness.open_bills.settle()
            await asyncio.sleep(0.2)
    (line,) = harness.bill()
    assert line["billed_nano_usd"] > 0
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])
    assert (await harness.job(image)).state is JobState.FAILED


async def test_late_answer_is_kept_for_the_bill(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("answer_late", params={"seconds": 1.0})
    submitting = asyncio.create_task(harness.run(harness.jobs.submit, image))
    await asyncio.sleep(0.5)
    await _given_up(harness, image)
    assert (await submitting).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    job = await harness.job(image)
    assert job.handle is not None
    await _settled_to_the_bill(harness, image)


async def test_late_callback_is_kept_for_the_bill(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    harness.sandbox.fault("drop_after_accept")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    await _given_up(harness, image)
    (line,) = harness.bill()
    callback = NewCallback(
        provider="replicate",
        delivery_id="d1",
        job_id=image.job_id,
        send_number=1,
        provider_job_id=ProviderJobId(line["provider_job_id"]),
    )
    async with harness.database.as_system() as conn:
        assert await record_callback(conn, callback) is CallbackOutcome.LATE
    await _settled_to_the_bill(harness, image)


async def test_refusal_of_what_has_called_back_ends_nothing(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, image)
    (line,) = harness.bill()
    callback = NewCallback(
        provider="replicate",
        delivery_id="d1",
        job_id=image.job_id,
        send_number=1,
        provider_job_id=ProviderJobId(line["provider_job_id"]),
    )
    async with harness.database.as_system() as conn:
        assert await record_callback(conn, callback) is CallbackOutcome.ADOPTED
    refused = CreateAnswer(
        outcome=CreateOutcome.NOT_ACCEPTED,
        failure=Failure.of(FailureCode.PROVIDER_REJECTED_INPUT),
        status_code=422,
    )
    async with harness.database.as_user(image.user_id) as conn:
        assert (
            await record_result(conn, image, 1, interpret(refused))
        ).outcome is SubmitOutcome.UNKNOWN
    assert (await harness.run(harness.jobs.find, image)).outcome is FindOutcome.FOUND


async def test_job_of_an_execution_past_its_deadline_is_not_bought(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    await harness.as_owner(
        "UPDATE executions SET deadline_at = now() - interval '1 s' WHERE execution_id = $1",
        image.execution_id,
    )
    result = await harness.run(harness.jobs.submit, image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is FailureCode.DEADLINE_EXCEEDED
    assert harness.bill() == []
    assert await harness.charge(image) == ("released", 0)


async def test_job_of_a_removed_model_is_refused(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    result = await harness.run(
        dataclasses.replace(harness.jobs, providers=Providers([])).submit, image
    )
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_MODEL_UNAVAILABLE
    assert await harness.charge(image) == ("released", 0)


def _no_model(*_arguments: object) -> None:
    """A worker without the model."""


async def test_unpriceable_job_is_settled_by_another_worker(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the poller nor the workflow's worker has the model's price."""
    monkeypatch.setattr(core.jobs.waiting.poller, "known_model", _no_model)
    image = (await harness.accepted()).image
    await harness.run(harness.jobs.submit, image)
    assert (await harness.run(harness.jobs.wait, image)).settled is None
    settled = await harness.run(
        dataclasses.replace(harness.jobs, providers=Providers([])).settle, image
    )
    assert settled.state is JobState.COMPLETED
    assert await harness.charge(image) == ("held", 0)
    await harness.open_bills.settle()
    (line,) = harness.bill()
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])


@pytest.mark.parametrize("first_was_accepted", [True, False])
async def test_twins_of_unknown_fate_do_not_take_each_others_job(
    harness: ActivityHarness, first_was_accepted: bool
) -> None:
    """The same prompt and seed twice on fal, whose list shows no more than that."""
    model = {"image_model": "fal-ai/flux/schnell", "image_provider": "fal"}
    one, other = (
        (await harness.accepted(**model, seed=7)).image,
        (await harness.accepted(**model, seed=7)).image,
    )
    harness.sandbox.fault("drop_after_accept" if first_was_accepted else "drop_before_accept")
    assert (await harness.run(harness.jobs.submit, one)).outcome is SubmitOutcome.UNKNOWN
    harness.sandbox.fault("drop_before_accept" if first_was_accepted else "drop_after_accept")
    assert (await harness.run(harness.jobs.submit, other)).outcome is SubmitOutcome.UNKNOWN
    (line,) = harness.bill()
    looking = asyncio.create_task(harness.run(harness.jobs.find, other))
    await asyncio.sleep(1.5)
    assert not looking.done(), "it took a job that may be its twin's"
    right, number = (one, "a") if first_was_accepted else (other, "b")
    callback = NewCallback(
        provider="fal",
        delivery_id=number,
        job_id=right.job_id,
        send_number=1,
        provider_job_id=ProviderJobId(line["provider_job_id"]),
    )
    async with harness.database.as_system() as conn:
        assert await record_callback(conn, callback) is CallbackOutcome.ADOPTED
    harness.wakeups.wake_all()
    expected = FindOutcome.ABSENT if first_was_accepted else FindOutcome.FOUND
    assert (await looking).outcome is expected
