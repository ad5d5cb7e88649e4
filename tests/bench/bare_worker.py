"""`python -m tests.bench.bare_worker`: run the bare workflow's worker until SIGTERM."""

import asyncio
import signal
from typing import Any

import aioboto3
import httpx
from aiobotocore.config import AioConfig
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import Worker

from core.platform.settings.load import load
from core.platform.settings.processes import WorkerProcess
from core.platform.temporal import policies
from core.platform.temporal.client import connect
from tests.bench.bare import PREFIX, QUEUE, BareDeliveryWorkflow, BareVideoWorkflow
from tests.bench.bare_activities import BareActivities

WAIT_SLOTS = 2000


async def serve(settings: WorkerProcess) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    secret = settings.aws_secret_access_key
    assert secret is not None  # the local stack signs with keys
    client = await connect(settings, payloads=DataConverter.default)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
        aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            aws_access_key_id=settings.aws_access_key_id,
            aws_secret_access_key=secret.get_secret_value(),
            region_name=settings.aws_region,
            config=AioConfig(
                request_checksum_calculation="when_required", s3={"addressing_style": "path"}
            ),
        ) as objects,
    ):
        fal_key, token = settings.fal_key, settings.replicate_api_token
        assert fal_key is not None
        assert token is not None
        activities = BareActivities(
            http=http,
            objects=objects,
            bucket=settings.s3_bucket,
            client=client,
            start_url={
                "fal": f"{settings.fal_queue_url}/fal-ai/flux/schnell",
                "replicate": f"{settings.replicate_base_url}/v1/models/bytedance/seedance-1-pro/predictions",
            },
            authorization={
                "fal": f"Key {fal_key.get_secret_value()}",
                "replicate": f"Bearer {token.get_secret_value()}",
            },
            delivery_queue=QUEUE,
        )
        async with asyncio.TaskGroup() as group:
            workers = make_workers(client, activities, settings)
            running = [group.create_task(worker.run()) for worker in workers]
            await stopping.wait()
            await asyncio.gather(*(worker.shutdown() for worker in workers))
            await asyncio.gather(*running)


def make_workers(
    client: Client, activities: BareActivities, settings: WorkerProcess
) -> list[Worker]:
    """Return workers with the product's slots and options on separate queues."""

    def worker(queue: str, slots: int, *served: Any, **more: Any) -> Worker:
        return Worker(
            client,
            task_queue=PREFIX + queue,
            activities=served,
            max_concurrent_activities=slots,
            **more,
        )

    return [
        worker(
            policies.EXECUTIONS_QUEUE,
            settings.execution_slots,
            activities.note,
            activities.start_delivery,
            workflows=[BareVideoWorkflow, BareDeliveryWorkflow],
            max_concurrent_workflow_tasks=settings.execution_slots,
            max_concurrent_local_activities=settings.execution_slots,
            sticky_queue_schedule_to_start_timeout=policies.STICKY_SCHEDULE_TO_START,
        ),
        *(
            worker(policies.submit_queue(name), settings.submit_slots, activities.submit)
            for name in ("fal", "replicate")
        ),
        worker(policies.WAIT_QUEUE, WAIT_SLOTS, activities.wait),
        worker(policies.ASSETS_QUEUE, settings.asset_slots, activities.store),
        worker(policies.WEBHOOKS_QUEUE, settings.webhook_slots, activities.deliver),
    ]


if __name__ == "__main__":
    asyncio.run(serve(load(WorkerProcess)))
