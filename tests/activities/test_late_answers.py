"""What is learned too late, or by a worker that knows too little: nothing paid is forgotten,
nothing bought in vain.
"""

import asyncio
import dataclasses

import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitOutcome
from core.domain.states import JobState
from core.jobs.submit_results import record_answer
from core.providers.port import CreateAnswer, CreateOutcome
from core.providers.registry import Providers
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from tests.activities.bench import Bench

GIVE_UP = """
UPDATE jobs SET state = 'failed', ended_at = now(), failure = '{"code": "submission_unknown", "message": "x"}'
WHERE job_id = $1
"""
END = "UPDATE executions SET status = 'failed', ended_at = now() WHERE execution_id = $1"


async def _given_up(bench: Bench, image: JobRef) -> None:
    await bench.as_owner(GIVE_UP, image.job_id)
    await bench.as_owner(END, image.execution_id)


async def _settled_to_the_bill(bench: Bench, image: JobRef) -> None:
    async with asyncio.timeout(10):
        while (await bench.charge(image))[0] == "held":
            await bench.late_bills.settle()
            await asyncio.sleep(0.2)
    (line,) = bench.bill()
    assert line["billed_nano_usd"] > 0
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])
    assert (await bench.job(image)).state is JobState.FAILED


async def test_answer_to_a_job_given_up_meanwhile_is_kept_for_its_bill(bench: Bench) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault("answer_late", params={"seconds": 1.0})
    submitting = asyncio.create_task(bench.run(bench.jobs.submit, image))
    await asyncio.sleep(0.5)
    await _given_up(bench, image)
    assert (await submitting).outcome is SubmitOutcome.UNKNOWN
    assert bench.sandbox.fired(order) == 1
    job = await bench.job(image)
    assert job.handle is not None
    await _settled_to_the_bill(bench, image)


async def test_callback_for_a_job_given_up_is_kept_for_its_bill(bench: Bench) -> None:
    image = (await bench.accepted()).image
    bench.sandbox.fault("drop_after_accept")
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    await _given_up(bench, image)
    (line,) = bench.bill()
    callback = NewCallback(
        provider="replicate",
        delivery_id="d1",
        job_id=image.job_id,
        send_number=1,
        provider_job_id=ProviderJobId(line["provider_job_id"]),
    )
    async with bench.database.as_system() as conn:
        assert await record_callback(conn, callback) is CallbackOutcome.LATE
    await _settled_to_the_bill(bench, image)


async def test_refusal_of_what_has_called_back_ends_nothing(bench: Bench) -> None:
    image = (await bench.accepted()).image
    bench.sandbox.fault("drop_after_accept")
    await bench.run(bench.jobs.submit, image)
    (line,) = bench.bill()
    callback = NewCallback(
        provider="replicate",
        delivery_id="d1",
        job_id=image.job_id,
        send_number=1,
        provider_job_id=ProviderJobId(line["provider_job_id"]),
    )
    async with bench.database.as_system() as conn:
        assert await record_callback(conn, callback) is CallbackOutcome.ADOPTED
    refused = CreateAnswer(
        outcome=CreateOutcome.NOT_ACCEPTED,
        failure=Failure.of(FailureCode.PROVIDER_REJECTED_INPUT),
        status_code=422,
    )
    async with bench.database.as_user(image.user_id) as conn:
        assert (await record_answer(conn, image, 1, refused)).outcome is SubmitOutcome.UNKNOWN
    assert (await bench.run(bench.jobs.find, image)).outcome is FindOutcome.FOUND


async def test_job_of_an_execution_past_its_deadline_is_not_bought(bench: Bench) -> None:
    image = (await bench.accepted()).image
    await bench.as_owner(
        "UPDATE executions SET deadline_at = now() - interval '1 s' WHERE execution_id = $1",
        image.execution_id,
    )
    result = await bench.run(bench.jobs.submit, image)
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is FailureCode.DEADLINE_EXCEEDED
    assert bench.bill() == []
    assert await bench.charge(image) == ("released", 0)


async def test_job_of_a_model_not_on_offer_is_refused_and_never_loops(bench: Bench) -> None:
    image = (await bench.accepted()).image
    result = await bench.run(dataclasses.replace(bench.jobs, providers=Providers([])).submit, image)
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_MODEL_UNAVAILABLE
    assert await bench.charge(image) == ("released", 0)


async def test_job_that_this_worker_cannot_price_ends_and_is_settled_by_one_that_can(
    bench: Bench,
) -> None:
    image = (await bench.accepted()).image
    await bench.run(bench.jobs.submit, image)
    await bench.run(bench.jobs.wait, image)
    settled = await bench.run(
        dataclasses.replace(bench.jobs, providers=Providers([])).settle, image
    )
    assert settled.state is JobState.COMPLETED
    assert await bench.charge(image) == ("held", 0)
    await bench.late_bills.settle()
    (line,) = bench.bill()
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])


@pytest.mark.parametrize("first_was_accepted", [True, False])
async def test_twins_of_unknown_fate_do_not_take_each_others_job(
    bench: Bench, first_was_accepted: bool
) -> None:
    """The same prompt and seed twice on fal, whose list shows no more than that."""
    model = {"image_model": "fal-ai/flux/schnell", "image_provider": "fal"}
    one, other = (
        (await bench.accepted(**model, seed=7)).image,
        (await bench.accepted(**model, seed=7)).image,
    )
    bench.sandbox.fault("drop_after_accept" if first_was_accepted else "drop_before_accept")
    assert (await bench.run(bench.jobs.submit, one)).outcome is SubmitOutcome.UNKNOWN
    bench.sandbox.fault("drop_before_accept" if first_was_accepted else "drop_after_accept")
    assert (await bench.run(bench.jobs.submit, other)).outcome is SubmitOutcome.UNKNOWN
    (line,) = bench.bill()
    looking = asyncio.create_task(bench.run(bench.jobs.find, other))
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
    async with bench.database.as_system() as conn:
        assert await record_callback(conn, callback) is CallbackOutcome.ADOPTED
    bench.wakeups.wake_all()
    expected = FindOutcome.ABSENT if first_was_accepted else FindOutcome.FOUND
    assert (await looking).outcome is expected
