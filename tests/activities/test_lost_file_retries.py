"""A worker is killed while it fetches a missing file again; Temporal gives the file to another."""

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from core.domain.failures import FailureCode
from core.domain.messages.assets import StoreAssetResult
from core.domain.states import JobState
from core.platform.temporal.policies import ASSETS_QUEUE
from tests.activities.one_store import HEARTBEAT, OneStore
from tests.api.ended import NOT_STORED, Left, leave
from tests.support.activity_harness import ActivityHarness
from tests.support.receiver import Receiver, hang, reply
from tests.support.servers import FreshDatabase, S3Server, TemporalServer
from tests.support.worker_process import running_worker, worker_environment

pytestmark = pytest.mark.guarantee("G5")


async def until_heartbeat(handle: WorkflowHandle[OneStore, StoreAssetResult], tries: int) -> None:
    """Wait until the server has a heartbeat of this try."""
    async with asyncio.timeout(30):
        while True:
            pending = (await handle.describe()).raw_description.pending_activities
            if (
                pending
                and pending[0].attempt == tries
                and pending[0].last_heartbeat_time.ToDatetime()
                > pending[0].last_started_time.ToDatetime()
            ):
                return
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("no_restore_marker")
async def test_file_retry_continues_its_clock_after_a_killed_worker(
    harness: ActivityHarness,
    fresh_database: FreshDatabase,
    temporal_server: TemporalServer,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third try fails after the limit: without the first try's time, more would follow."""
    one = await harness.accepted()
    client = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    async with (
        Receiver.open(reply(404), hang, reply(404)) as files,
        Worker(
            client,
            task_queue="store-a-file",
            workflows=[OneStore],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        missing = Left(
            state=JobState.COMPLETED,
            report=JobState.COMPLETED,
            cost=NOT_STORED.cost,
            url=files.url,
        )
        await leave(harness.database, one, image=missing, video=missing)
        environment = worker_environment(
            fresh_database,
            temporal_server,
            s3_server,
            ALLOWED_PRIVATE_HOSTS=files.url.split("/")[2],
        )
        async with running_worker(environment, tmp_path / "worker.log") as worker:
            await worker.until(lambda: bool(worker.events("worker.started")))
            handle = await client.start_workflow(
                OneStore.run, one.image, id=one.image.job_id, task_queue="store-a-file"
            )
            await worker.until(lambda: len(files.received) == 2)
            await until_heartbeat(handle, 2)
            worker.process.kill()
            await worker.process.wait()
        monkeypatch.setattr("activities.assets.UNUSABLE_FILE_RETRIED", HEARTBEAT)
        async with (
            asyncio.timeout(30),
            Worker(client, task_queue=ASSETS_QUEUE, activities=[harness.assets.store]),
        ):
            result = await handle.result()
    assert result.failure is not None
    assert result.failure.code is FailureCode.OUTPUT_EXPIRED
    assert len(files.received) == 3
