"""`python -m tests.bench.peers.temporal_worker`: make videos as Temporal's tutorials show it.

One queue, one activity for each call, and the default retry policy: an activity whose worker was
lost is started again after its time-out.
"""

import asyncio
import os
import signal
from datetime import timedelta
from typing import Any

import httpx
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE = "peer-videos"
LIMIT = timedelta(seconds=30)
HEARTBEAT = timedelta(seconds=6)
Order = dict[str, Any]


class Calls:
    """One pooled HTTP client for all activities."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @activity.defn(name="peer_submit")
    async def submit(self, request: Order) -> str:
        answer = await self._http.post(
            request["url"], headers=request["headers"], json=request["body"]
        )
        accepted = answer.raise_for_status().json()
        return accepted.get("response_url") or accepted["urls"]["get"]

    @activity.defn(name="peer_poll")
    async def poll(self, url: str, headers: dict[str, str], seconds: float) -> str:
        while True:
            activity.heartbeat()
            response = await self._http.get(url, headers=headers)
            answer = response.json()
            if "images" in answer:
                return answer["images"][0]["url"]
            if answer.get("status") == "succeeded":
                output: str | list[str] = answer["output"]
                return output if isinstance(output, str) else output[0]
            if response.status_code >= 500 or answer.get("status") == "failed":
                raise RuntimeError(f"no result from {url}")
            await asyncio.sleep(seconds)

    @activity.defn(name="peer_store")
    async def store(self, url: str, target: str) -> None:
        content = (await self._http.get(url)).raise_for_status().content
        (await self._http.put(target, content=content)).raise_for_status()

    @activity.defn(name="peer_deliver")
    async def deliver(self, webhook: str, execution_id: str) -> None:
        body = {"status": "completed", "executionId": execution_id}
        (await self._http.post(webhook, json=body)).raise_for_status()


@workflow.defn(name="peer_video")
class PeerVideoWorkflow:
    @workflow.run
    async def run(self, order: Order) -> None:
        image_job = await _call("peer_submit", order["image"])
        image_url = await _poll(order, order["image"], image_job)
        body = {"input": order["video"]["body"]["input"] | {"image": image_url}}
        video_job = await _call("peer_submit", order["video"] | {"body": body})
        video_url = await _poll(order, order["video"], video_job)
        await asyncio.gather(
            _call("peer_store", image_url, order["imageTarget"]),
            _call("peer_store", video_url, order["videoTarget"]),
        )
        await _call("peer_deliver", order["webhook"], order["id"])


async def _call(name: str, *arguments: Any) -> Any:
    return await workflow.execute_activity(
        name, args=arguments, start_to_close_timeout=LIMIT, result_type=None
    )


async def _poll(order: Order, request: Order, url: str) -> str:
    result: str = await workflow.execute_activity(
        "peer_poll",
        args=[url, request["headers"], order["pollSeconds"]],
        start_to_close_timeout=timedelta(hours=1),
        heartbeat_timeout=HEARTBEAT,
    )
    return result


async def serve() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        calls = Calls(http)
        async with Worker(
            client,
            task_queue=QUEUE,
            workflows=[PeerVideoWorkflow],
            activities=[calls.submit, calls.poll, calls.store, calls.deliver],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            await stopping.wait()


if __name__ == "__main__":
    asyncio.run(serve())
