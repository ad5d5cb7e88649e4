"""The baseline's provider calls in plain httpx, without the retries of the official clients."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError

IMAGE_MODEL = "fal-ai/flux/schnell"
IMAGE_APP = "fal-ai/flux"
VIDEO_MODEL = "bytedance/seedance-1-pro"
POLL_SECONDS = 0.5
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order.

    token: identifies the order in the bill; the prompt begins with it. call_limit_seconds: 0 uses
    the workflow's limit.
    """

    execution_id: str
    token: str
    prompt: str
    webhook: str
    call_limit_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    fal_queue_url: str
    fal_key: str = field(repr=False)
    replicate_url: str
    replicate_token: str = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        return cls(
            fal_queue_url=environment["FAL_QUEUE_URL"],
            fal_key=environment["FAL_KEY"],
            replicate_url=environment["REPLICATE_BASE_URL"],
            replicate_token=environment["REPLICATE_API_TOKEN"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activities:
    http: httpx.AsyncClient
    addresses: Addresses

    @activity.defn(name="baseline_make_image")
    async def make_image(self, order: Order) -> str:
        """Submit and wait in one activity, like the vendor's `subscribe`."""
        headers = {"authorization": f"Key {self.addresses.fal_key}"}
        accepted = await self._json(
            "POST",
            f"{self.addresses.fal_queue_url}/{IMAGE_MODEL}",
            headers,
            {"prompt": order.prompt, "image_size": {"width": 1280, "height": 720}, "num_images": 1},
        )
        # The addresses in the response are not used: they bypass the proxy in front of the
        # provider.
        request = f"{self.addresses.fal_queue_url}/{IMAGE_APP}/requests/{accepted['request_id']}"
        while (await self._json("GET", f"{request}/status", headers))["status"] != "COMPLETED":  # noqa: ASYNC110 - polls
            await asyncio.sleep(POLL_SECONDS)
        url: str = (await self._json("GET", request, headers))["images"][0]["url"]
        return url

    @activity.defn(name="baseline_submit_video")
    async def submit_video(self, order: Order, image_url: str) -> str:
        inputs = {"prompt": order.prompt, "duration": 2, "resolution": "480p", "image": image_url}
        accepted = await self._json(
            "POST",
            f"{self.addresses.replicate_url}/v1/models/{VIDEO_MODEL}/predictions",
            {"authorization": f"Bearer {self.addresses.replicate_token}"},
            {"input": inputs},
        )
        video_id: str = accepted["id"]
        return video_id

    @activity.defn(name="baseline_poll_video")
    async def poll_video(self, video_id: str) -> str:
        headers = {"authorization": f"Bearer {self.addresses.replicate_token}"}
        while True:
            prediction = await self._json(
                "GET", f"{self.addresses.replicate_url}/v1/predictions/{video_id}", headers
            )
            if prediction["status"] == "succeeded":
                url: str = prediction["output"]
                return url
            if prediction["status"] in ("failed", "canceled", "aborted"):
                raise ApplicationError(f"the video has {prediction['status']}", non_retryable=True)
            activity.heartbeat()
            await asyncio.sleep(POLL_SECONDS)

    @activity.defn(name="baseline_send_webhook")
    async def send_webhook(self, order: Order, video_url: str) -> None:
        body = {"executionId": order.execution_id, "status": "completed", "videoUrl": video_url}
        headers = {"webhook-id": f"evt-{order.execution_id}"}
        (await self.http.post(order.webhook, json=body, headers=headers)).raise_for_status()

    async def _json(
        self, method: str, url: str, headers: dict[str, str], body: Any = None
    ) -> dict[str, Any]:
        answer = await self.http.request(method, url, headers=headers, json=body)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found
