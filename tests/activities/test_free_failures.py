"""A transient failure that cost nothing is sent again, a few times; no other failure is."""

from typing import Any

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import (
    CancelOutcome,
    JobRef,
    ProviderHandle,
    SettleJobResult,
    SubmitOutcome,
)
from core.domain.states import JobState
from core.jobs.submission.submit_results import SendResult, interpret, record_result
from core.providers.port import CreateAnswer, CreateOutcome
from core.store.executions.executions import get_progress, mark_cancel_requested
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.jobs.jobs import list_owned
from core.store.money.reports.ledger_check import list_findings
from core.store.money.reports.provider_bill import compare_bill
from tests.support.activity_harness import FLUX, REPLICATE_FLUX, ActivityHarness, polling

pytestmark = pytest.mark.guarantee("G1", "G3")

INTERRUPTED = {"seconds": 0, "message": "Prediction interrupted; please retry (code: PA)"}
PROVIDERS = pytest.mark.parametrize(
    ("provider", "model", "params"),
    [
        ("replicate", REPLICATE_FLUX, INTERRUPTED),
        ("fal", FLUX, {"seconds": 0, "type": "runner_disconnected", "status": 503}),
        ("fal", FLUX, {"seconds": 0, "type": "downstream_service_unavailable"}),
    ],
)


async def buy(harness: ActivityHarness, ref: JobRef) -> SettleJobResult:
    """Submit and wait, as the workflow does."""
    assert (await harness.run(harness.jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
    settled = (await harness.run(harness.jobs.wait, ref)).settled
    assert settled is not None
    return settled


async def check_books(harness: ActivityHarness) -> None:
    """Compare the ledger with itself and with the provider's bill."""
    billed = {
        (line["provider"], line["provider_job_id"]): line["billed_nano_usd"]
        for line in harness.bill()
    }
    async with harness.database.as_system() as conn:
        assert await list_findings(conn) == []
        compared = await compare_bill(conn, billed)
    assert (compared.findings, compared.open) == ([], [])
    assert compared.billed_nano_usd == compared.settled_nano_usd


@PROVIDERS
async def test_job_completes_with_its_third_send(
    harness: ActivityHarness, provider: str, model: str, params: dict[str, Any]
) -> None:
    image = (await harness.accepted(image_provider=provider, image_model=model)).image
    order = harness.sandbox.fault("fail_after", provider=provider, times=2, params=params)
    progress = [0]
    for failed in (1, 2):
        settled = await buy(harness, image)
        assert (settled.state, settled.resend) == (JobState.WAITING, failed)
        assert await harness.run(harness.jobs.settle, image) == settled  # a lost result
        assert await harness.charge(image) == ("held", 0)
        async with harness.database.as_user(image.user_id) as conn:
            progress.append(await get_progress(conn, image.execution_id))
    settled = await buy(harness, image)
    assert (settled.state, settled.resend) == (JobState.COMPLETED, 0)
    assert harness.sandbox.fired(order) == 2
    assert progress == sorted(progress)
    lines = harness.bill()
    assert [line["billed_nano_usd"] > 0 for line in lines] == [False, False, True]
    job = await harness.job(image)
    assert job.handle is not None
    assert (job.send_number, job.handle.provider_job_id) == (3, lines[2]["provider_job_id"])
    assert await harness.charge(image) == ("settled", lines[2]["billed_nano_usd"])
    async with harness.database.as_system() as conn:
        names = [line["provider_job_id"] for line in lines]
        assert await list_owned(conn, provider, names) == set(names)
    await check_books(harness)


@PROVIDERS
async def test_job_is_not_sent_a_fourth_time(
    harness: ActivityHarness, provider: str, model: str, params: dict[str, Any]
) -> None:
    image = (await harness.accepted(image_provider=provider, image_model=model)).image
    order = harness.sandbox.fault("fail_after", provider=provider, times=-1, params=params)
    assert [(await buy(harness, image)).resend for _ in range(3)] == [1, 2, 0]
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.ENDED
    job = await harness.job(image)
    assert job.state is JobState.FAILED
    assert job.failure is not None
    assert job.failure.code is FailureCode.PROVIDER_FAILED
    assert harness.sandbox.fired(order) == len(harness.bill()) == 3
    assert await harness.charge(image) == ("settled", 0)
    await check_books(harness)


@pytest.mark.parametrize(
    ("provider", "model", "fault", "params"),
    [
        # Billed.
        ("fal", FLUX, "fail_after", {"type": "internal_server_error", "billed": True}),
        # Of unknown cost.
        ("fal", FLUX, "empty_output", {}),
        ("replicate", REPLICATE_FLUX, "empty_output", {}),
        # Free, but not called transient.
        ("replicate", REPLICATE_FLUX, "fail_after", {"message": "CUDA out of memory"}),
        ("fal", FLUX, "fail_after", {"type": "face_detection_error", "status": 422}),
        ("replicate", REPLICATE_FLUX, "moderated", {}),
    ],
)
async def test_other_failure_is_not_sent_again(
    harness: ActivityHarness, provider: str, model: str, fault: str, params: dict[str, Any]
) -> None:
    image = (await harness.accepted(image_provider=provider, image_model=model)).image
    order = harness.sandbox.fault(fault, provider=provider, params=params)
    settled = await buy(harness, image)
    assert (settled.state, settled.resend) == (JobState.FAILED, 0)
    assert harness.sandbox.fired(order) == len(harness.bill()) == 1
    billed = harness.bill()[0]["billed_nano_usd"]
    assert (billed > 0) is (fault == "empty_output" or bool(params.get("billed")))
    await check_books(harness)


async def failed_free(harness: ActivityHarness) -> tuple[JobRef, ProviderJobId]:
    """Return a job whose first send failed at no cost, and that send's id."""
    image = (await harness.accepted()).image
    harness.sandbox.fault("fail_after", provider="replicate", params=INTERRUPTED)
    assert (await buy(harness, image)).resend == 1
    return image, ProviderJobId(harness.bill()[0]["provider_job_id"])


@pytest.mark.parametrize("sent_again", [False, True])
async def test_late_callback_of_the_failed_send_changes_nothing(
    harness: ActivityHarness, sent_again: bool
) -> None:
    image, failed_id = await failed_free(harness)
    if sent_again:
        await harness.run(harness.jobs.submit, image)
    before = await harness.job(image)
    async with harness.database.as_system() as conn:
        new = NewCallback(
            provider="replicate",
            delivery_id="msg_late",
            job_id=image.job_id,
            send_number=1,
            provider_job_id=failed_id,
        )
        assert await record_callback(conn, new) is CallbackOutcome.RECORDED
    after = await harness.job(image)
    assert (after.state, after.handle) == (before.state, before.handle)


async def test_late_answer_of_the_failed_send_is_not_adopted(harness: ActivityHarness) -> None:
    image, failed_id = await failed_free(harness)
    handle = ProviderHandle(
        provider="replicate", model=REPLICATE_FLUX, provider_job_id=failed_id, urls={}
    )
    result: SendResult = interpret(
        CreateAnswer(outcome=CreateOutcome.ACCEPTED, handle=handle, status_code=201)
    )
    async with harness.database.as_user(image.user_id) as conn:
        recorded = await record_result(conn, image, 1, result)
    assert recorded.outcome is SubmitOutcome.UNKNOWN
    job = await harness.job(image)
    assert (job.state, job.handle) == (JobState.WAITING, None)


async def test_lost_answer_after_a_free_failure_is_looked_up(harness: ActivityHarness) -> None:
    image, failed_id = await failed_free(harness)
    order = harness.sandbox.fault("drop_after_accept", provider="replicate")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    found = await harness.run(harness.jobs.find, image)
    assert harness.sandbox.fired(order) == 1
    assert found.provider_job_id == harness.bill()[1]["provider_job_id"] != failed_id
    await harness.run(harness.jobs.wait, image)
    assert (await harness.run(harness.jobs.settle, image)).state is JobState.COMPLETED
    await check_books(harness)


async def test_settle_of_a_reset_workflow_leaves_the_next_send_running(
    harness: ActivityHarness,
) -> None:
    image, _ = await failed_free(harness)
    harness.sandbox.fault("stuck", provider="replicate")
    await harness.run(harness.jobs.submit, image)
    assert (await harness.run(harness.jobs.settle, image)).resend == 1
    assert (await harness.job(image)).state is JobState.SUBMITTED


async def test_cancelled_job_is_not_sent_again(still: ActivityHarness) -> None:
    accepted = await still.accepted()
    image = accepted.image
    order = still.sandbox.fault("fail_after", provider="replicate", params=INTERRUPTED)
    await still.run(still.jobs.submit, image)
    async with still.database.as_user(accepted.user_id) as conn:
        await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
    async with polling(still.poller):
        settled = (await still.run(still.jobs.wait, image)).settled
    assert still.sandbox.fired(order) == 1
    assert settled is not None
    assert (settled.state, settled.resend) == (JobState.FAILED, 0)


async def test_cancel_between_two_sends_ends_the_job(harness: ActivityHarness) -> None:
    image, _ = await failed_free(harness)
    async with harness.database.as_user(image.user_id) as conn:
        await mark_cancel_requested(conn, image.execution_id, "enough", generation=1)
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.STOPPED
    assert (await harness.run(harness.jobs.cancel, image)).outcome is CancelOutcome.NOTHING
    assert len(harness.bill()) == 1


async def test_job_without_time_for_another_send_fails(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("fail_after", provider="replicate", params=INTERRUPTED)
    await harness.as_owner(
        "UPDATE jobs SET deadline_at = now() + interval '10 s' WHERE job_id = $1", image.job_id
    )
    settled = await buy(harness, image)
    assert harness.sandbox.fired(order) == 1
    assert (settled.state, settled.resend) == (JobState.FAILED, 0)


async def test_all_sends_of_a_job_share_its_deadline(harness: ActivityHarness) -> None:
    image, _ = await failed_free(harness)
    deadline = (await harness.job(image)).deadline_at
    assert deadline is not None
    await harness.run(harness.jobs.submit, image)
    assert (await harness.job(image)).deadline_at == deadline
