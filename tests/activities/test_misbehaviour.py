"""Providers that do not keep to their own words: a job is paid as billed, ends once, and is never
bought again.
"""

import time

import pytest

from core.domain.failures import FailureCode
from core.domain.messages.jobs import SubmitOutcome
from core.domain.states import JobState
from tests.activities.bench import FLUX, REPLICATE_FLUX, Bench
from tests.activities.test_late_bills import provider_ended, settled, terminated

BOTH = pytest.mark.parametrize(
    ("model", "provider"), [(REPLICATE_FLUX, "replicate"), (FLUX, "fal")]
)


@BOTH
@pytest.mark.parametrize("after", ["running", "ended"])
async def test_status_that_goes_backwards_is_waited_out(
    bench: Bench, model: str, provider: str, after: str
) -> None:
    image = (await bench.accepted(image_model=model, image_provider=provider)).image
    order = bench.sandbox.fault(
        "status_backwards", params={"after": "ended"} if after == "ended" else {}
    )
    if after == "running":
        bench.sandbox.set(image_seconds=2.5)
    await bench.run(bench.jobs.submit, image)
    if after == "ended":
        # Somebody has read its end before: the first read of ours is the second.
        await provider_ended(bench)
        await read_once(bench, provider)
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    assert bench.sandbox.fired(order) == 1
    assert (await bench.run(bench.jobs.settle, image)).state is JobState.COMPLETED
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    (line,) = bench.bill()
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])


async def read_once(bench: Bench, provider: str) -> None:
    job_id = bench.bill()[0]["provider_job_id"]
    if provider == "replicate":
        assert bench.sandbox.prediction(job_id)["status"] == "succeeded"
    else:
        answer = bench.sandbox.fal_get(f"/fal/queue/fal-ai/flux/requests/{job_id}/status")
        assert answer.json()["status"] == "COMPLETED"


@BOTH
async def test_success_without_an_output_fails_and_is_paid_as_billed(
    bench: Bench, model: str, provider: str
) -> None:
    image = (await bench.accepted(image_model=model, image_provider=provider)).image
    order = bench.sandbox.fault("empty_output")
    await bench.run(bench.jobs.submit, image)
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.FAILED
    result = await bench.run(bench.jobs.settle, image)
    assert bench.sandbox.fired(order) == 1
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_EMPTY_OUTPUT
    (line,) = bench.bill()
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.ENDED


async def test_success_without_an_id_is_looked_up(bench: Bench) -> None:
    image = (await bench.accepted()).image
    order = bench.sandbox.fault("no_id")
    assert (await bench.run(bench.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    await bench.run(bench.jobs.find, image)
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    assert bench.sandbox.fired(order) == 1
    assert len(bench.bill()) == 1


@BOTH
async def test_job_that_its_provider_denies_is_waited_for_and_its_bill_stays_open(
    bench: Bench, model: str, provider: str
) -> None:
    """A 404 is no proof that nothing was bought: only the deadline ends it, and it is settled when
    it shows again.
    """
    one = await bench.accepted(image_model=model, image_provider=provider)
    image = one.image
    bench.sandbox.set(image_seconds=0.2)
    await bench.run(bench.jobs.submit, image)
    order = bench.sandbox.fault("refuse", operation="status", params={"status": 404}, times=-1)
    await bench.as_owner(
        "UPDATE jobs SET deadline_at = now() + interval '2 s', submitted_at = now() - interval '1 h' WHERE job_id = $1",
        image.job_id,
    )
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.SUBMITTED
    assert bench.sandbox.fired(order) >= 1
    result = await bench.run(bench.jobs.settle, image)
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_TIMED_OUT
    await terminated(bench, one)
    await bench.late_bills.settle()
    assert await bench.charge(image) == ("held", 0)
    bench.sandbox.client.delete("/__control/faults")
    (line,) = bench.bill()
    assert await settled(bench, image) == ("settled", line["billed_nano_usd"])


@pytest.mark.parametrize("factor", ["0", "0.5", "1.3", "10"])
async def test_bill_that_is_not_the_estimate_is_settled_as_reported(
    bench: Bench, factor: str
) -> None:
    image = (await bench.accepted(image_model=FLUX, image_provider="fal")).image
    order = bench.sandbox.fault("bill_factor", params={"factor": factor})
    await bench.run(bench.jobs.submit, image)
    await bench.run(bench.jobs.wait, image)
    await bench.run(bench.jobs.settle, image)
    assert bench.sandbox.fired(order) == 1
    (line,) = bench.bill()
    assert line["billed_nano_usd"] == int(line["price_nano_usd"] * float(factor))
    assert await bench.charge(image) == ("settled", line["billed_nano_usd"])


async def test_poll_comes_no_sooner_than_the_provider_asks(bench: Bench) -> None:
    image = (await bench.accepted(image_model=FLUX, image_provider="fal")).image
    await bench.run(bench.jobs.submit, image)
    order = bench.sandbox.fault("refuse_429", operation="status", params={"retry_after": "4"})
    began = time.monotonic()
    assert (await bench.run(bench.jobs.wait, image)).state is JobState.COMPLETED
    assert bench.sandbox.fired(order) == 1
    assert time.monotonic() - began >= 4
