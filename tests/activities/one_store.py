"""A workflow of one activity, which a worker process runs: `store_assets`."""

from datetime import timedelta
from typing import Final

from temporalio import workflow

from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.jobs import JobRef
from core.platform.temporal.policies import ASSETS_QUEUE

HEARTBEAT: Final = timedelta(seconds=3)


@workflow.defn(name="one_store")
class OneStore:
    """Store the files of a job, and those of its `more_jobs`."""

    @workflow.run
    async def run(self, ref: JobRef) -> StoreAssetResult:
        return await workflow.execute_activity(
            "store_assets",
            ref,
            result_type=StoreAssetResult,
            task_queue=ASSETS_QUEUE,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=HEARTBEAT,
        )
