"""Recovery of a step that continued at another model after the backup."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import following_job_id
from core.domain.messages.jobs import FindOutcome
from core.domain.states import JobState
from core.maintenance.restores.histories import JobFate, RecordedJob
from tests.activities.test_failover import ordered
from tests.maintenance.test_recovery import FakeHistories, document, forget, recorded, recover, sent
from tests.support.activity_harness import ActivityHarness

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G1")]


@pytest.mark.parametrize("first", ["refused", "failed free", "failed free, provider down"])
async def test_recover_restores_the_job_at_the_next_model(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Its send, whose answer was lost, is found and never made again."""
    one = await ordered(harness)
    second = replace(one.image, job_id=following_job_id(one.image.job_id))
    accepted = await document(harness, one)
    if first == "refused":
        harness.sandbox.fault("refuse", provider="replicate", params={"status": 422})
        await harness.run(harness.jobs.submit, one.image)
        before = RecordedJob(
            fate=JobFate.FAILED,
            send_number=1,
            at=datetime.now(UTC),
            failure=Failure.of(FailureCode.PROVIDER_REJECTED_INPUT),
        )
    else:
        harness.sandbox.fault("moderated", provider="replicate")
        await harness.run(harness.jobs.submit, one.image)
        before = await sent(harness, one.image)
        await harness.run(harness.jobs.wait, one.image)
    lost = harness.sandbox.fault("drop_after_accept", provider="fal")
    await harness.run(harness.jobs.submit, second)
    assert harness.sandbox.fired(lost) == 1
    sends = [line["provider_job_id"] for line in harness.bill()]
    await forget(harness)
    if first == "failed free, provider down":
        harness.sandbox.fault("down", provider="replicate", operation="status", times=-1)
    unknown = RecordedJob(fate=JobFate.UNKNOWN, send_number=1, at=datetime.now(UTC))
    jobs = {one.image.job_id: before, second.job_id: unknown}
    await recover(harness, monkeypatch, FakeHistories(recorded(accepted, jobs)))
    assert (await harness.job(one.image)).state is JobState.FAILED
    job = await harness.job(second)
    assert (job.state, job.send_number, job.provider) == (JobState.UNKNOWN, 1, "fal")
    assert await harness.charge(second) == ("held", 0)
    held = first == "failed free, provider down"
    assert (await harness.charge(one.image))[0] == (
        "held" if held else "released" if first == "refused" else "settled"
    )
    assert (await harness.run(harness.jobs.find, second)).outcome is FindOutcome.FOUND
    found = await harness.job(second)
    assert found.handle is not None
    assert found.handle.provider_job_id == sends[-1]
    assert [line["provider_job_id"] for line in harness.bill()] == sends
