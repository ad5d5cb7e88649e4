"""Recovery of a job that was sent again after a failure that cost nothing."""

from datetime import UTC, datetime

import pytest

from core.domain.messages.jobs import FindOutcome
from core.domain.states import JobState
from core.maintenance.restores.histories import JobFate, RecordedJob
from tests.maintenance.test_recovery import (
    FakeHistories,
    document,
    forget,
    recorded,
    recover,
    row,
    sent,
)
from tests.support.activity_harness import ActivityHarness

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G1")]


@pytest.mark.parametrize("forgotten", ["everything", "the second send"])
async def test_recover_keeps_the_id_of_a_free_failure(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    """The failed send is never taken for the later one, which may still run."""
    one = await harness.accepted()
    accepted = await document(harness, one)
    params = {"seconds": 0, "message": "Prediction interrupted; please retry (code: PA)"}
    failed = harness.sandbox.fault("fail_after", provider="replicate", params=params)
    await harness.run(harness.jobs.submit, one.image)
    first = await sent(harness, one.image)
    await harness.run(harness.jobs.wait, one.image)
    if forgotten == "everything":
        assert (await harness.run(harness.jobs.settle, one.image)).resend == 1
        lost = harness.sandbox.fault("drop_after_accept")
        await harness.run(harness.jobs.submit, one.image)
        assert harness.sandbox.fired(lost) == 1
        await forget(harness)
    assert harness.sandbox.fired(failed) == 1
    unknown = RecordedJob(
        fate=JobFate.UNKNOWN, send_number=2, at=datetime.now(UTC), retired=(first,)
    )
    await recover(
        harness, monkeypatch, FakeHistories(recorded(accepted, {one.image.job_id: unknown}))
    )
    image = await harness.job(one.image)
    assert (image.state, image.send_number, image.handle) == (JobState.UNKNOWN, 2, None)
    owner = await row(
        harness,
        "SELECT supersedes, orphan FROM jobs WHERE provider_job_id = $1",
        first.provider_job_id,
    )
    assert owner == (one.image.job_id, True)
    await harness.open_bills.settle()
    found = await harness.run(harness.jobs.find, one.image)
    if forgotten == "everything":
        assert found.provider_job_id == harness.bill()[1]["provider_job_id"]
    else:
        assert found.outcome is FindOutcome.ABSENT
