"""A submit waits for the end of a job whose model is quick, and for nothing else."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from temporalio.testing import ActivityEnvironment

import core.jobs.submission.brief_waits
from activities.jobs import JobActivities
from core.domain.messages.jobs import JobReport, SubmitJobResult, SubmitOutcome
from core.domain.states import JobState
from core.jobs.submission.brief_waits import BriefWaits
from core.jobs.waiting.wakeups import Wakeups
from core.platform.temporal import policies
from core.store.executions.executions import mark_cancel_requested
from core.store.jobs.callbacks import notify_job, notify_open_jobs
from core.store.jobs.jobs import mark_reported
from core.store.providers.user_keys import put_key
from tests.support.activity_harness import Accepted, ActivityHarness, polling
from tests.support.rows import SEALER

pytestmark = pytest.mark.guarantee("G1", "G5", "G7")


def _long(_usual_seconds: float, _other: object) -> float:
    return 120.0


@pytest.fixture(autouse=True)
def waits_outlast_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that ends has been ended: by itself it would exceed the time limit of `run`."""
    monkeypatch.setattr(core.jobs.submission.brief_waits, "BRIEF_WAIT_SECONDS", 120.0)
    monkeypatch.setattr(core.jobs.submission.brief_waits, "first_look_seconds", _long)


def briefly(harness: ActivityHarness, limit: int = 1) -> JobActivities:
    waits = BriefWaits(
        database=harness.database,
        providers=harness.providers,
        wakeups=harness.wakeups,
        limit=limit,
    )
    return replace(harness.jobs, brief_waits=waits)


async def until_submitted(harness: ActivityHarness, accepted: Accepted) -> None:
    async with asyncio.timeout(15):
        while (await harness.job(accepted.image)).state is not JobState.SUBMITTED:  # noqa: ASYNC110 - a row
            await asyncio.sleep(0.02)


@asynccontextmanager
async def submitting(
    harness: ActivityHarness, environment: ActivityEnvironment | None = None
) -> AsyncGenerator[tuple[Accepted, "asyncio.Task[SubmitJobResult]"]]:
    """Submit a job that does not end by itself, and yield once it is submitted."""
    accepted = await harness.accepted()
    order = harness.sandbox.fault("stuck", provider="replicate")
    jobs, ref = briefly(harness), accepted.image
    environment = environment or ActivityEnvironment()
    task = asyncio.create_task(harness.run(jobs.submit, ref, seconds=60, environment=environment))
    await until_submitted(harness, accepted)
    assert not task.done()
    yield accepted, task
    assert harness.sandbox.fired(order) == 1


@pytest.mark.parametrize("own_poller", [True, False])
async def test_submit_returns_the_settlement(still: ActivityHarness, *, own_poller: bool) -> None:
    """The poller of this process hands it over; that of another one notifies."""
    image = (await still.accepted()).image
    if not own_poller:
        still.poller.wakeups = Wakeups()
    async with polling(still.poller):
        result = await still.run(briefly(still).submit, image)
    assert result.outcome is SubmitOutcome.SUBMITTED
    assert result.settled is not None
    assert result.settled == await still.run(still.jobs.settle, image)
    assert await still.charge(image) == ("settled", result.settled.cost_nano_usd)
    assert len(still.bill()) == 1


async def test_time_of_the_wait_is_bounded(
    still: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.jobs.submission.brief_waits, "BRIEF_WAIT_SECONDS", 0.5)
    still.sandbox.fault("stuck", provider="replicate")
    result = await still.run(briefly(still).submit, (await still.accepted()).image)
    assert (result.outcome, result.settled) == (SubmitOutcome.SUBMITTED, None)
    assert result.provider_job_id is not None


def _stop(environment: ActivityEnvironment) -> None:
    environment.worker_shutdown()


def _cancel(environment: ActivityEnvironment) -> None:
    environment.cancel()


@pytest.mark.parametrize("end", [_stop, _cancel])
async def test_stop_and_cancel_of_the_activity_end_the_wait(
    still: ActivityHarness, end: Callable[[ActivityEnvironment], None]
) -> None:
    environment = ActivityEnvironment()
    async with submitting(still, environment) as (_, task):
        end(environment)
        result = await task
    assert (result.outcome, result.settled) == (SubmitOutcome.SUBMITTED, None)


async def test_cancel_of_the_execution_ends_the_wait(still: ActivityHarness) -> None:
    async with submitting(still) as (accepted, task):
        async with still.database.as_user(accepted.user_id) as conn:
            await notify_job(conn, accepted.image.job_id)  # a callback is no end
        await asyncio.sleep(0.2)
        assert not task.done()
        async with still.database.as_user(accepted.user_id) as conn:
            await mark_cancel_requested(conn, accepted.execution_id, "enough", generation=1)
            await notify_open_jobs(conn, accepted.execution_id)
        result = await task
    assert (result.outcome, result.settled) == (SubmitOutcome.SUBMITTED, None)


async def test_waits_leave_slots_for_other_submits(still: ActivityHarness) -> None:
    jobs = briefly(still, limit=0)
    still.sandbox.fault("stuck", provider="replicate")
    result = await still.run(jobs.submit, (await still.accepted()).image)
    assert (result.outcome, result.settled) == (SubmitOutcome.SUBMITTED, None)


async def test_waits_with_own_keys_leave_the_service_key_its_waits(
    still: ActivityHarness,
) -> None:
    """Each kind of key has a task queue with slots of its own."""
    jobs, environment = briefly(still), ActivityEnvironment()
    own_queue = policies.submit_queue("replicate", own_key=True)
    environment.info = replace(environment.info, task_queue=own_queue)
    one = await still.accepted()
    async with still.database.as_user(one.user_id) as conn:
        await put_key(conn, SEALER, one.user_id, "replicate", "r8_own-0123456789#alice")
    order = still.sandbox.fault("stuck", provider="replicate", times=1)
    task = asyncio.create_task(
        still.run(jobs.submit, one.image, seconds=60, environment=environment)
    )
    await until_submitted(still, one)
    async with polling(still.poller):
        result = await still.run(jobs.submit, (await still.accepted()).image)
    assert result.settled is not None
    assert not task.done()
    environment.worker_shutdown()
    assert (await task).settled is None
    assert still.sandbox.fired(order) == 1


async def test_slow_model_is_not_waited_for(
    still: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.jobs.submission.brief_waits, "BRIEF_USUAL_SECONDS", 1.0)
    still.sandbox.fault("stuck", provider="replicate")
    result = await still.run(briefly(still).submit, (await still.accepted()).image)
    assert (result.outcome, result.settled) == (SubmitOutcome.SUBMITTED, None)


async def test_job_with_its_report_alone_ends_the_wait(still: ActivityHarness) -> None:
    """The workflow then waits and settles it."""
    async with submitting(still) as (accepted, task):
        async with still.database.as_user(accepted.user_id) as conn:
            await mark_reported(conn, accepted.image.job_id, JobReport(state=JobState.COMPLETED))
        still.wakeups.wake_all()
        assert (await task).settled is None


async def test_lost_submit_is_found_in_its_row(still: ActivityHarness) -> None:
    """Its worker dies while it waits: the look-up reads the row and asks no provider."""
    async with submitting(still) as (accepted, task):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = await still.run(still.jobs.find, accepted.image)
    assert (found.outcome.value, found.send_number) == ("found", 1)
    assert len(still.bill()) == 1
