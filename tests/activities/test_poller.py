"""The poller: a wait is completed once its end is stored, whatever fails in between."""

import asyncio
import dataclasses
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from temporalio.activity import _CompleteAsyncError as CompleteAsyncError  # pyright: ignore[reportPrivateUsage]
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

import core.jobs.waiting.poll_schedule
import core.jobs.waiting.poller
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import (
    JobRef,
    JobReport,
    ProviderHandle,
    SubmitOutcome,
)
from core.domain.states import JobState
from core.jobs.waiting.poller import JobPoller
from core.platform.temporal.policies import wait_activity_id
from core.providers.port import Provider
from core.providers.registry import Providers
from core.store.executions.executions import mark_cancel_requested
from core.store.jobs.callbacks import notify_job
from core.store.jobs.jobs import mark_cancel_sent
from tests.support.activity_harness import REPLICATE_FLUX, ActivityHarness, polling

pytestmark = pytest.mark.guarantee("G5", "G7")


class HeldStatus:
    """A provider whose status reads wait for an event, after they have the answer."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.read = asyncio.Event()
        self.resumed = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def status(self, handle: ProviderHandle) -> JobReport:
        report = await self._provider.status(handle)
        self.read.set()
        await self.resumed.wait()
        return report


async def submitted(harness: ActivityHarness) -> JobRef:
    """Return a job that its provider has completed."""
    image = (await harness.accepted()).image
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    return image


async def until_waits(harness: ActivityHarness, number: int) -> None:
    async with asyncio.timeout(15):
        while len(harness.temporal.waits) < number:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)


def waiting(ref: JobRef) -> ActivityEnvironment:
    """Return the environment of a wait that the current workflow has scheduled."""
    environment = ActivityEnvironment()
    activity_id = wait_activity_id(ref.job_id, 1)
    environment.info = dataclasses.replace(environment.info, activity_id=activity_id)
    return environment


async def test_wait_occupies_no_slot_and_is_completed_by_id(harness: ActivityHarness) -> None:
    image = await submitted(harness)
    await until_waits(harness, 1)
    assert harness.temporal.waits == [(wait_activity_id(image.job_id, 1), "completed")]
    result = await harness.run(harness.jobs.wait, image, environment=waiting(image))
    assert result.state is JobState.COMPLETED
    assert result.settled is not None
    assert result.settled == await harness.run(harness.jobs.settle, image)
    assert await harness.charge(image) == ("settled", result.settled.cost_nano_usd)


async def test_wait_of_a_running_job_ends_its_attempt(still: ActivityHarness) -> None:
    image = await submitted(still)
    with pytest.raises(CompleteAsyncError):
        await still.run(still.jobs.wait, image, environment=waiting(image))


async def test_end_is_read_by_a_wait_that_was_not_pending(harness: ActivityHarness) -> None:
    """A callback overtakes the answer: Temporal has no such activity yet."""

    async def not_pending(_activity_id: str) -> None:
        raise RPCError("not found", RPCStatusCode.NOT_FOUND, b"")

    harness.temporal.on_complete = not_pending
    image = await submitted(harness)
    async with asyncio.timeout(10):
        while (await harness.job(image)).report is None:  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.05)
    result = await harness.run(harness.jobs.wait, image, environment=waiting(image))
    assert result.state is JobState.COMPLETED


async def until_no_look(harness: ActivityHarness, ref: JobRef) -> None:
    async with asyncio.timeout(15):
        while (await harness.job(ref)).next_look_at is not None:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.05)


class CountedReads(HeldStatus):
    """A provider that counts status reads."""

    reads = 0

    async def status(self, handle: ProviderHandle) -> JobReport:
        self.reads += 1
        return await self._provider.status(handle)


@pytest.fixture
def counted(still: ActivityHarness, monkeypatch: pytest.MonkeyPatch) -> CountedReads:
    monkeypatch.setattr(core.jobs.waiting.poller, "COMPLETED_AGAIN_SECONDS", 0.3)
    provider = CountedReads(still.providers.provider("replicate"))
    still.poller.providers = Providers([cast("Provider", provider)])
    return provider


async def test_unreachable_temporal_gets_the_completion_later(
    still: ActivityHarness, counted: CountedReads
) -> None:
    tries: list[str] = []

    async def fail_twice(activity_id: str) -> None:
        tries.append(activity_id)
        if len(tries) <= 2:
            raise RPCError("Temporal is down", RPCStatusCode.UNAVAILABLE, b"")

    still.temporal.on_complete = fail_twice
    image = await submitted(still)
    async with polling(still.poller):
        await until_waits(still, 1)
        await until_no_look(still, image)
    assert (len(tries), counted.reads) == (3, 1)
    assert still.temporal.waits == [(wait_activity_id(image.job_id, 1), "completed")]


@pytest.mark.parametrize("free_failure", [False, True])
async def test_completion_of_a_killed_poller_is_repeated(
    still: ActivityHarness, counted: CountedReads, *, free_failure: bool
) -> None:
    """It committed the report and the settlement, and nothing else."""
    completing, first = asyncio.Event(), True

    async def hang(_activity_id: str) -> None:
        nonlocal first
        if first:
            first = False
            completing.set()
            await asyncio.Event().wait()

    still.temporal.on_complete = hang
    if free_failure:
        params = {"seconds": 0, "message": "Prediction interrupted; please retry (code: PA)"}
        still.sandbox.fault("fail_after", provider="replicate", params=params)
    image = await submitted(still)
    before = cost_metric()
    async with polling(still.poller):
        async with asyncio.timeout(15):
            await completing.wait()
        for look in tuple(still.poller._looks):  # pyright: ignore[reportPrivateUsage]
            look.cancel()  # all that a kill leaves of it is the row
        await until_waits(still, 1)
        await until_no_look(still, image)
    expected = "failed" if free_failure else "completed"
    assert still.temporal.waits == [(wait_activity_id(image.job_id, 1), expected)]
    assert counted.reads == 1
    (settled,) = still.temporal.settled
    assert settled is not None
    assert (settled.state, settled.resend) == (
        (JobState.WAITING, 1) if free_failure else (JobState.COMPLETED, 0)
    )
    assert settled == await still.run(still.jobs.settle, image)
    assert cost_metric() - before == settled.cost_nano_usd
    assert await still.charge(image) == (
        "held" if free_failure else "settled",
        settled.cost_nano_usd,
    )


def cost_metric() -> float:
    labels = {"provider": "replicate", "model": REPLICATE_FLUX}
    return REGISTRY.get_sample_value("takeone_cost_nano_usd_total", labels) or 0.0


def not_pending(harness: ActivityHarness, times: int) -> list[str]:
    """Let Temporal deny this many times that the activity is pending. Return what was denied."""
    denied: list[str] = []

    async def deny(activity_id: str) -> None:
        if len(denied) < times:
            denied.append(activity_id)
            raise RPCError("not found", RPCStatusCode.NOT_FOUND, b"")

    harness.temporal.on_complete = deny
    return denied


async def test_wait_that_begins_later_reads_the_settlement(
    still: ActivityHarness, counted: CountedReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback overtook the answer, and Temporal had no such activity yet."""
    monkeypatch.setattr(core.jobs.waiting.poll_schedule, "NOT_WAITING_SECONDS", 0.05)
    denied = not_pending(still, 100)
    image = await submitted(still)
    async with polling(still.poller):
        await until_no_look(still, image)
    assert len(denied) == 2 + core.jobs.waiting.poller.NOT_WAITING_LOOKS
    assert counted.reads == 1
    result = await still.run(still.jobs.wait, image, environment=waiting(image))
    assert result.settled is not None
    assert result.settled.cost_nano_usd > 0
    assert result.settled == await still.run(still.jobs.settle, image)


async def test_wait_that_begins_later_and_is_lost_is_completed(
    still: ActivityHarness, counted: CountedReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its only try ends with its worker; without a completion it would last until its time-out."""
    monkeypatch.setattr(core.jobs.waiting.poll_schedule, "NOT_WAITING_SECONDS", 0.05)
    denied = not_pending(still, 3)
    image = await submitted(still)
    async with polling(still.poller):
        await until_waits(still, 1)
        await until_no_look(still, image)
    assert len(denied) == 3
    assert counted.reads == 1


async def test_report_is_kept_when_the_settlement_fails(
    still: ActivityHarness, counted: CountedReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workflow then settles the job, and the provider is not read again."""

    async def broken(*_arguments: object, **_options: object) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(core.jobs.waiting.poller, "settle_job", broken)
    image = await submitted(still)
    async with polling(still.poller):
        await until_waits(still, 1)
    job = await still.job(image)
    assert (job.state, still.temporal.settled[0]) == (JobState.SUBMITTED, None)
    assert (job.report is not None, counted.reads) == (True, 1)
    settled = await still.run(still.jobs.settle, image)
    assert (settled.state, await still.charge(image)) == (
        JobState.COMPLETED,
        ("settled", settled.cost_nano_usd),
    )


async def test_job_of_a_queued_run_is_settled_by_that_run(
    still: ActivityHarness, counted: CountedReads
) -> None:
    """Whether a free failure is sent again depends on the run that waits for the job."""
    image = await submitted(still)
    await still.as_owner("UPDATE executions SET status = 'queued', generation = 2")
    async with polling(still.poller):
        await until_waits(still, 1)
    assert ((await still.job(image)).state, counted.reads) == (JobState.SUBMITTED, 1)


async def test_process_stopped_longer_than_its_lease_changes_nothing(
    still: ActivityHarness,
) -> None:
    """It has read the end of a send that another process has reported and replaced meanwhile."""
    held = HeldStatus(still.providers.provider("replicate"))
    stopped = JobPoller(
        client=still.temporal.client(),
        database=still.database,
        providers=Providers([cast("Provider", held)]),
        keys=still.poller.keys,
        wakeups=still.wakeups,
        reads_per_minute=still.poller.reads_per_minute,
    )
    image = await submitted(still)
    await still.as_owner("UPDATE jobs SET next_look_at = now()")
    async with polling(stopped):
        async with asyncio.timeout(10):
            await held.read.wait()
        await still.as_owner("UPDATE jobs SET next_look_at = now()")  # the lease expires
        async with polling(still.poller):
            await until_waits(still, 1)
        await still.as_owner(
            "UPDATE jobs SET report = NULL, send_number = 2, provider_job_id = 'second',"
            " next_look_at = now() + interval '1 h' WHERE job_id = $1",
            image.job_id,
        )
        completions = len(still.temporal.waits)
        held.resumed.set()
        await asyncio.sleep(0.5)
    job = await still.job(image)
    assert (job.report, len(still.temporal.waits)) == (None, completions)
    assert job.next_look_at is not None
    assert (job.next_look_at - job.now).total_seconds() > 3000


async def test_stopping_poller_returns_its_jobs(
    still: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.jobs.waiting.poller, "STOP_SECONDS", 0.1)
    held = HeldStatus(still.providers.provider("replicate"))
    still.poller.providers = Providers([cast("Provider", held)])
    image = await submitted(still)
    await still.as_owner("UPDATE jobs SET next_look_at = now()")
    async with polling(still.poller):
        async with asyncio.timeout(10):
            await held.read.wait()
    job = await still.job(image)
    assert job.next_look_at is not None
    assert job.next_look_at <= job.now


async def test_both_waits_of_a_cancelled_job_are_completed(harness: ActivityHarness) -> None:
    """The job ended after its deadline: the workflow's second wait has its own id."""

    async def first_is_done(activity_id: str) -> None:
        if not activity_id.endswith("after-cancel"):
            raise RPCError("completed before", RPCStatusCode.NOT_FOUND, b"")

    harness.temporal.on_complete = first_is_done
    accepted = await harness.accepted()
    order = harness.sandbox.fault("stuck")
    await harness.run(harness.jobs.submit, accepted.image)
    async with harness.database.as_user(accepted.user_id) as conn:
        await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
    await harness.run(harness.jobs.cancel, accepted.image)
    await until_waits(harness, 1)
    assert harness.sandbox.fired(order) == 1
    second = wait_activity_id(accepted.image.job_id, 1, after_cancel=True)
    assert harness.temporal.waits[0] == (second, "cancelled")


@pytest.mark.parametrize("has_ended", [True, False])
async def test_wait_after_a_cancel_that_was_not_sent_is_completed(
    still: ActivityHarness, *, has_ended: bool
) -> None:
    """No slot was free for the cancel, so the row does not show it; the deadline has passed."""

    async def first_is_done(activity_id: str) -> None:
        if not activity_id.endswith("after-cancel"):
            raise RPCError("completed before", RPCStatusCode.NOT_FOUND, b"")

    still.temporal.on_complete = first_is_done
    if not has_ended:
        still.sandbox.fault("stuck")
    image = (await still.accepted()).image
    await still.run(still.jobs.submit, image)
    if has_ended:
        await asyncio.to_thread(
            still.sandbox.wait_until, lambda: still.bill()[0]["state"] != "open"
        )
    await still.as_owner(
        "UPDATE jobs SET deadline_at = now() - interval '1 s', next_look_at = now() WHERE job_id = $1",
        image.job_id,
    )
    async with polling(still.poller):
        await until_waits(still, 1)
    second = wait_activity_id(image.job_id, 1, after_cancel=True)
    assert still.temporal.waits[0] == (second, "completed" if has_ended else "submitted")


async def test_late_look_leaves_the_wait_after_a_cancel_alone(
    still: ActivityHarness,
) -> None:
    """The cancel was sent while the job was read: its grace period has begun."""
    order = still.sandbox.fault("stuck")
    held = HeldStatus(still.providers.provider("replicate"))
    still.poller.providers = Providers([cast("Provider", held)])
    image = (await still.accepted()).image
    await still.run(still.jobs.submit, image)
    await still.as_owner(
        "UPDATE jobs SET deadline_at = now() - interval '1 s', next_look_at = now() WHERE job_id = $1",
        image.job_id,
    )
    async with polling(still.poller):
        async with asyncio.timeout(10):
            await held.read.wait()
        async with still.database.as_user(image.user_id) as conn:
            await mark_cancel_sent(conn, image.job_id)
        (look,) = still.poller._looks  # pyright: ignore[reportPrivateUsage]
        held.resumed.set()
        async with asyncio.timeout(10):
            await look
    assert still.temporal.waits == []
    assert still.sandbox.fired(order) == 1


async def test_job_of_an_ended_execution_is_not_read(
    still: ActivityHarness,
) -> None:
    image = await submitted(still)
    await still.as_owner("UPDATE executions SET status = 'failed', ended_at = now()")
    await still.as_owner("UPDATE jobs SET next_look_at = now()")
    async with polling(still.poller), asyncio.timeout(10):
        while (await still.job(image)).next_look_at is not None:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.05)
    assert still.temporal.waits == []


async def test_crash_of_one_look_ends_no_other(harness: ActivityHarness) -> None:
    class Broken(HeldStatus):
        async def status(self, handle: ProviderHandle) -> JobReport:
            if handle.provider_job_id == broken:
                raise LookupError("a defect")
            return await self._provider.status(handle)

    harness.sandbox.set(image_seconds=0.5)
    broken = ProviderJobId("")
    provider = Broken(harness.providers.provider("replicate"))
    harness.poller.providers = Providers([cast("Provider", provider)])
    first, second = (await harness.accepted()).image, (await harness.accepted()).image
    await harness.run(harness.jobs.submit, first)
    handle = (await harness.job(first)).handle
    assert handle is not None
    broken = handle.provider_job_id
    await harness.run(harness.jobs.submit, second)
    await until_waits(harness, 1)
    assert harness.temporal.waits[0][0] == wait_activity_id(second.job_id, 1)
    broken = ProviderJobId("")
    async with harness.database.as_user(first.user_id) as conn:
        await notify_job(conn, first.job_id)
    async with asyncio.timeout(15):
        while (await harness.job(first)).report is None:  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.05)
