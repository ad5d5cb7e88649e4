"""Waiting for a provider: reads that fail decide nothing, and few reads are made."""

import asyncio
import dataclasses

import pytest

from activities.jobs import JobActivities
from core.domain.states import JobState
from core.store.jobs.callbacks import notify_job
from tests.support.activity_harness import ActivityHarness

pytestmark = pytest.mark.guarantee("G7")


def status_calls(harness: ActivityHarness) -> int:
    calls = harness.sandbox.client.get("/__control/calls").json()["calls"]
    return [call["operation"] for call in calls].count("status")


@pytest.mark.guarantee("G5")
async def test_failed_reads_are_repeated_with_growing_pauses(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("error_5xx_before_accept", operation="status", times=2)
    await harness.run(harness.jobs.submit, image)
    began = asyncio.get_running_loop().time()
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    assert harness.sandbox.fired(order) == 2
    assert asyncio.get_running_loop().time() - began > 0.75 * (1.5 + 3)  # jittered pauses
    assert status_calls(harness) == 3


async def test_job_with_callbacks_is_first_read_after_its_usual_duration(
    harness: ActivityHarness,
) -> None:
    jobs: JobActivities = dataclasses.replace(
        harness.jobs, callback_urls={"replicate": "http://127.0.0.1:9/callbacks/replicate"}
    )
    image = (await harness.accepted()).image
    await harness.as_owner(
        "UPDATE steps SET usual_seconds = 1000 WHERE execution_id = $1", image.execution_id
    )
    await harness.run(jobs.submit, image)
    await harness.as_owner(
        "UPDATE jobs SET submitted_at = now() - interval '900 s' WHERE job_id = $1", image.job_id
    )
    waiting = asyncio.create_task(harness.run(jobs.wait, image))
    await asyncio.sleep(1.5)
    assert status_calls(harness) == 0
    async with harness.database.as_user(image.user_id) as conn:
        await notify_job(conn, image.job_id)
    assert (await waiting).state is JobState.COMPLETED
    assert status_calls(harness) == 1
