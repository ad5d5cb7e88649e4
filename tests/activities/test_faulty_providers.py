"""Providers that do not keep to their own words: a job is paid as billed, ends once, and is never
bought again.
"""

import time

import pytest

from core.domain.failures import FailureCode
from core.domain.messages.jobs import SubmitOutcome
from core.domain.states import JobState
from tests.maintenance.test_open_bills import provider_ended, settled, terminated
from tests.support.activity_harness import FLUX, REPLICATE_FLUX, ActivityHarness

pytestmark = pytest.mark.guarantee("G3")

BOTH = pytest.mark.parametrize(
    ("model", "provider"), [(REPLICATE_FLUX, "replicate"), (FLUX, "fal")]
)


@BOTH
@pytest.mark.parametrize("after", ["running", "ended"])
async def test_status_that_goes_backwards_is_waited_out(
    harness: ActivityHarness, model: str, provider: str, after: str
) -> None:
    image = (await harness.accepted(image_model=model, image_provider=provider)).image
    order = harness.sandbox.fault(
        "status_backwards", params={"after": "ended"} if after == "ended" else {}
    )
    if after == "running":
        harness.sandbox.set(image_seconds=2.5)
    await harness.run(harness.jobs.submit, image)
    if after == "ended":
        # Another client has read the end before, so our first read is the second.
        await provider_ended(harness)
        await read_once(harness, provider)
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    assert harness.sandbox.fired(order) == 1
    assert (await harness.run(harness.jobs.settle, image)).state is JobState.COMPLETED
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    (line,) = harness.bill()
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])


async def read_once(harness: ActivityHarness, provider: str) -> None:
    job_id = harness.bill()[0]["provider_job_id"]
    if provider == "replicate":
        assert harness.sandbox.prediction(job_id)["status"] == "succeeded"
    else:
        answer = harness.sandbox.fal_get(f"/fal/queue/fal-ai/flux/requests/{job_id}/status")
        assert answer.json()["status"] == "COMPLETED"


@BOTH
async def test_success_without_an_output_fails_and_is_paid_as_billed(
    harness: ActivityHarness, model: str, provider: str
) -> None:
    image = (await harness.accepted(image_model=model, image_provider=provider)).image
    order = harness.sandbox.fault("empty_output")
    await harness.run(harness.jobs.submit, image)
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.FAILED
    result = await harness.run(harness.jobs.settle, image)
    assert harness.sandbox.fired(order) == 1
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_EMPTY_OUTPUT
    (line,) = harness.bill()
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.ENDED


async def test_success_without_an_id_is_looked_up(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("no_id")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    await harness.run(harness.jobs.find, image)
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    assert harness.sandbox.fired(order) == 1
    assert len(harness.bill()) == 1


@BOTH
async def test_job_denied_by_its_provider_keeps_its_bill_open(
    harness: ActivityHarness, model: str, provider: str
) -> None:
    """A 404 is no proof that nothing was bought: only the deadline ends it, and it is settled when
    it shows again.
    """
    one = await harness.accepted(image_model=model, image_provider=provider)
    image = one.image
    harness.sandbox.set(image_seconds=0.2)
    await harness.run(harness.jobs.submit, image)
    order = harness.sandbox.fault("refuse", operation="status", params={"status": 404}, times=-1)
    await harness.as_owner(
        "UPDATE jobs SET deadline_at = now() + interval '2 s', submitted_at = now() - interval '1 h' WHERE job_id = $1",
        image.job_id,
    )
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.SUBMITTED
    assert harness.sandbox.fired(order) >= 1
    result = await harness.run(harness.jobs.settle, image)
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_TIMED_OUT
    await terminated(harness, one)
    await harness.open_bills.settle()
    assert await harness.charge(image) == ("held", 0)
    harness.sandbox.client.delete("/__control/faults")
    (line,) = harness.bill()
    assert await settled(harness, image) == ("settled", line["billed_nano_usd"])


@pytest.mark.parametrize("factor", ["0", "0.5", "1.3", "10"])
async def test_bill_that_is_not_the_estimate_is_settled_as_reported(
    harness: ActivityHarness, factor: str
) -> None:
    image = (await harness.accepted(image_model=FLUX, image_provider="fal")).image
    order = harness.sandbox.fault("bill_factor", params={"factor": factor})
    await harness.run(harness.jobs.submit, image)
    await harness.run(harness.jobs.wait, image)
    await harness.run(harness.jobs.settle, image)
    assert harness.sandbox.fired(order) == 1
    (line,) = harness.bill()
    assert line["billed_nano_usd"] == int(line["price_nano_usd"] * float(factor))
    assert await harness.charge(image) == ("settled", line["billed_nano_usd"])


async def test_poll_comes_no_sooner_than_the_provider_asks(harness: ActivityHarness) -> None:
    image = (await harness.accepted(image_model=FLUX, image_provider="fal")).image
    await harness.run(harness.jobs.submit, image)
    order = harness.sandbox.fault("refuse_429", operation="status", params={"retry_after": "4"})
    began = time.monotonic()
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    assert harness.sandbox.fired(order) == 1
    assert time.monotonic() - began >= 4
