"""Files of two jobs in one call: each is stored once, and neither depends on the other."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from core.domain.failures import FailureCode
from core.domain.messages.jobs import JobRef
from core.platform.temporal.policies import ASSETS_QUEUE
from core.store.files.assets import list_execution_assets
from tests.activities.one_store import OneStore
from tests.support.activity_harness import REPLICATE_FLUX, ActivityHarness
from tests.support.rows import VIDEO_MODEL, Accepted
from tests.support.servers import FreshDatabase, S3Server, TemporalServer
from tests.support.worker_process import running_worker, worker_environment

pytestmark = pytest.mark.guarantee("G2")

MISSING = {"operation": "file", "params": {"status": 404}, "times": 2}
"""The stored URL, and then the URL that the provider returns for the job."""


async def bought(harness: ActivityHarness) -> tuple[Accepted, JobRef]:
    """Return an execution whose jobs are complete, and the order to store the files of both."""
    accepted = await harness.accepted()
    for ref in (accepted.image, accepted.video):
        await harness.run(harness.jobs.submit, ref)
        await harness.run(harness.jobs.wait, ref)
        await harness.run(harness.jobs.settle, ref)
    return accepted, replace(accepted.video, more_jobs=(accepted.image.job_id,))


async def stored_steps(harness: ActivityHarness, accepted: Accepted) -> list[str]:
    async with harness.database.as_user(accepted.image.user_id) as conn:
        return [item.step for item in await list_execution_assets(conn, accepted.execution_id)]


def transfers(harness: ActivityHarness, model: str) -> int:
    """Return how often a file of this model was requested."""
    calls: list[dict[str, Any]] = harness.sandbox.client.get("/__control/calls").json()["calls"]
    return len([call for call in calls if (call["operation"], call["model"]) == ("file", model)])


async def test_files_of_two_jobs_are_stored_once(harness: ActivityHarness) -> None:
    accepted, both = await bought(harness)
    for _ in range(2):
        result = await harness.run(harness.assets.store, both)
        assert (result.failure, result.more_jobs) == (None, both.more_jobs)
    assert await stored_steps(harness, accepted) == ["image", "video"]
    assert (transfers(harness, REPLICATE_FLUX), transfers(harness, VIDEO_MODEL)) == (1, 1)


async def test_missing_intermediate_file_delays_no_result(harness: ActivityHarness) -> None:
    accepted, both = await bought(harness)
    order = harness.sandbox.fault("refuse", model=REPLICATE_FLUX, **MISSING)
    result = await harness.run(harness.assets.store, both)
    assert harness.sandbox.fired(order) == 2
    assert (result.failure, result.more_jobs) == (None, ())
    assert result.asset_id is not None
    assert (await harness.run(harness.assets.store, accepted.image)).asset_id is not None
    assert await stored_steps(harness, accepted) == ["image", "video"]
    assert transfers(harness, VIDEO_MODEL) == 1


async def test_intermediate_file_that_is_lost_gets_no_other_try(harness: ActivityHarness) -> None:
    accepted, both = await bought(harness)
    order = harness.sandbox.fault("expired_file", model=REPLICATE_FLUX, params={"status": 410})
    result = await harness.run(harness.assets.store, both)
    assert harness.sandbox.fired(order) == 1
    assert (result.failure, result.more_jobs) == (None, both.more_jobs)
    assert await stored_steps(harness, accepted) == ["video"]


async def test_missing_result_repeats_no_transfer_of_the_other_file(
    harness: ActivityHarness,
) -> None:
    accepted, both = await bought(harness)
    order = harness.sandbox.fault("refuse", model=VIDEO_MODEL, **MISSING)
    with pytest.raises(ApplicationError):
        await harness.run(harness.assets.store, both)
    assert harness.sandbox.fired(order) == 2
    assert await stored_steps(harness, accepted) == ["image"]
    result = await harness.run(harness.assets.store, both)
    assert (result.failure, result.more_jobs) == (None, both.more_jobs)
    assert await stored_steps(harness, accepted) == ["image", "video"]
    assert transfers(harness, REPLICATE_FLUX) == 1


async def test_result_of_another_kind_fails_while_the_other_is_stored(
    harness: ActivityHarness,
) -> None:
    accepted, both = await bought(harness)
    order = harness.sandbox.fault(
        "wrong_bytes", model=VIDEO_MODEL, params={"form": "other_kind"}, times=-1
    )
    result = await harness.run(harness.assets.store, both)
    assert harness.sandbox.fired(order) >= 1
    assert result.failure is not None
    assert (result.failure.code, result.more_jobs) == (FailureCode.OUTPUT_INVALID, both.more_jobs)
    assert await stored_steps(harness, accepted) == ["image"]


@pytest.mark.usefixtures("no_restore_marker")
async def test_worker_killed_between_two_files_loses_and_repeats_none(
    harness: ActivityHarness,
    fresh_database: FreshDatabase,
    temporal_server: TemporalServer,
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    accepted, both = await bought(harness)
    slow = {"chunk_bytes": 16, "seconds_per_chunk": 0.5}
    order = harness.sandbox.fault("slow_file", model=VIDEO_MODEL, params=slow)
    client = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    environment = worker_environment(
        fresh_database,
        temporal_server,
        s3_server,
        ALLOWED_PRIVATE_HOSTS=harness.sandbox.url.split("/")[2],
    )
    async with Worker(
        client,
        task_queue="store-two-files",
        workflows=[OneStore],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        async with running_worker(environment, tmp_path / "worker.log") as worker:
            await worker.until(lambda: bool(worker.events("worker.started")))
            handle = await client.start_workflow(
                OneStore.run, both, id=both.job_id, task_queue="store-two-files"
            )
            await worker.until(lambda: bool(worker.events("asset.stored")))
            assert harness.sandbox.fired(order) == 1
            assert await stored_steps(harness, accepted) == ["image"]
            worker.process.kill()
            await worker.process.wait()
        async with (
            asyncio.timeout(30),
            Worker(client, task_queue=ASSETS_QUEUE, activities=[harness.assets.store]),
        ):
            result = await handle.result()
    assert (result.failure, result.more_jobs) == (None, both.more_jobs)
    assert await stored_steps(harness, accepted) == ["image", "video"]
    assert transfers(harness, REPLICATE_FLUX) == 1
    assert len(harness.bill()) == 2
