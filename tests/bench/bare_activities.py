"""The side effects of the bare workflow: the minimum of HTTP calls."""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from temporalio import activity
from temporalio.client import Client

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

PROMPT = "a paper boat on a rainy street"
HEARTBEAT_SECONDS = 1.5
NOT_READY_PAUSE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class BareOrder:
    """An order of a video. key: a prefix for ids.

    The waits are the provider's, which a real client could not obtain.
    """

    key: str
    webhook: str
    image_seconds: float
    video_seconds: float

    def image(self) -> "Sent":
        return Sent(
            key=f"{self.key}.jpg", provider="fal", seconds=self.image_seconds, body=image_body()
        )

    def video(self, image_url: str) -> "Sent":
        return Sent(
            key=f"{self.key}.mp4",
            provider="replicate",
            seconds=self.video_seconds,
            body=video_body(image_url),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    key: str
    provider: str
    seconds: float
    body: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """A sent job. result_url: returns the result from ready_at (Unix seconds) on."""

    key: str
    provider: str
    result_url: str
    ready_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    key: str
    url: str


def image_body() -> dict[str, Any]:
    return {
        "prompt": PROMPT,
        "image_size": {"width": 1280, "height": 720},
        "num_images": 1,
        "seed": 1,
    }


def video_body(image_url: str) -> dict[str, Any]:
    return {
        "input": {
            "prompt": PROMPT,
            "duration": 5,
            "resolution": "720p",
            "image": image_url,
            "seed": 1,
        }
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BareActivities:
    """http: one pooled client for everything. The addresses are the sandbox's; the keys its own."""

    http: httpx.AsyncClient
    objects: "S3Client"
    bucket: str
    client: Client
    start_url: dict[str, str]
    authorization: dict[str, str]
    delivery_queue: str

    @activity.defn(name="bare_note")
    async def note(self, order: BareOrder) -> None:
        """Do nothing: a checkpoint in place of a transaction of the product."""

    @activity.defn(name="bare_submit")
    async def submit(self, asked: Sent) -> Waited:
        headers = {"authorization": self.authorization[asked.provider]}
        answer = await self.http.post(
            self.start_url[asked.provider], json=asked.body, headers=headers
        )
        accepted = answer.raise_for_status().json()
        url = accepted["response_url"] if asked.provider == "fal" else accepted["urls"]["get"]
        return Waited(
            key=asked.key,
            provider=asked.provider,
            result_url=url,
            ready_at=time.time() + asked.seconds,
        )

    @activity.defn(name="bare_wait")
    async def wait(self, waited: Waited) -> Made:
        """Sleep with heartbeats until the result is due, then request it without earlier polls."""
        headers = {"authorization": self.authorization[waited.provider]}
        while (rest := waited.ready_at - time.time()) > 0:
            activity.heartbeat()
            await asyncio.sleep(min(rest, HEARTBEAT_SECONDS))
        while True:
            answer = await self.http.get(waited.result_url, headers=headers)
            url = _result(waited.provider, answer)
            if url is not None:
                return Made(key=waited.key, url=url)
            activity.heartbeat()
            await asyncio.sleep(NOT_READY_PAUSE_SECONDS)

    @activity.defn(name="bare_store")
    async def store(self, made: Made) -> None:
        content = (await self.http.get(made.url)).raise_for_status().content
        await self.objects.put_object(Bucket=self.bucket, Key=made.key, Body=content)

    @activity.defn(name="bare_start_delivery")
    async def start_delivery(self, order: BareOrder) -> None:
        await self.client.start_workflow(
            "bare_delivery", order, id=f"bare-deliver/{order.key}", task_queue=self.delivery_queue
        )

    @activity.defn(name="bare_deliver")
    async def deliver(self, order: BareOrder) -> None:
        body = {"status": "completed", "executionId": order.key}
        (await self.http.post(order.webhook, json=body)).raise_for_status()


def _result(provider: str, answer: httpx.Response) -> str | None:
    """Return the file's URL, None if it is not ready. Raises for any other response."""
    if provider == "fal":
        if answer.status_code == 400:  # requested too early
            return None
        return answer.raise_for_status().json()["images"][0]["url"]
    prediction = answer.raise_for_status().json()
    if prediction["status"] in ("starting", "processing"):
        return None
    output = prediction["output"]
    return output if isinstance(output, str) else output[0]
