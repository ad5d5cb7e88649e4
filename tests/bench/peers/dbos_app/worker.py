"""Make videos as DBOS workflows, one step for each call; runs in the environment of DBOS.

A worker that starts again with the same application version continues its workflows after the last
step that ended.
"""
# pyright: basic, reportMissingImports=false

import asyncio
import os
import sys
from typing import Any

import httpx
from dbos import DBOS

HTTP = httpx.AsyncClient(trust_env=False, timeout=30)
ATTEMPTS = {"retries_allowed": True, "max_attempts": 3}


@DBOS.step(**ATTEMPTS)
async def submit(request: dict[str, Any]) -> str:
    answer = await HTTP.post(request["url"], headers=request["headers"], json=request["body"])
    accepted = answer.raise_for_status().json()
    return accepted.get("response_url") or accepted["urls"]["get"]


@DBOS.step(**ATTEMPTS)
async def poll(url: str, headers: dict[str, str], seconds: float) -> str:
    while True:
        response = await HTTP.get(url, headers=headers)
        answer = response.json()
        if "images" in answer:
            return answer["images"][0]["url"]
        if answer.get("status") == "succeeded":
            output = answer["output"]
            return output if isinstance(output, str) else output[0]
        if response.status_code >= 500 or answer.get("status") == "failed":
            raise RuntimeError(f"no result from {url}")
        await asyncio.sleep(seconds)


@DBOS.step(**ATTEMPTS)
async def store(url: str, target: str) -> None:
    content = (await HTTP.get(url)).raise_for_status().content
    (await HTTP.put(target, content=content)).raise_for_status()


@DBOS.step(**ATTEMPTS)
async def deliver(webhook: str, execution_id: str) -> None:
    body = {"status": "completed", "executionId": execution_id}
    (await HTTP.post(webhook, json=body)).raise_for_status()


@DBOS.workflow(name="video")
async def video(order: dict[str, Any]) -> None:
    image_job = await submit(order["image"])
    image_url = await poll(image_job, order["image"]["headers"], order["pollSeconds"])
    body = {"input": order["video"]["body"]["input"] | {"image": image_url}}
    video_job = await submit(order["video"] | {"body": body})
    video_url = await poll(video_job, order["video"]["headers"], order["pollSeconds"])
    await store(image_url, order["imageTarget"])
    await store(video_url, order["videoTarget"])
    await deliver(order["webhook"], order["id"])


if __name__ == "__main__":
    DBOS(
        config={
            "name": "takeone-bench",
            "system_database_url": os.environ["DBOS_DATABASE_URL"],
            "application_version": "1",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    DBOS.register_queue(
        "videos",
        worker_concurrency=int(os.environ["CONCURRENCY"]),
        polling_interval_sec=float(os.environ["QUEUE_POLL_SECONDS"]),
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    asyncio.run(asyncio.Event().wait())
