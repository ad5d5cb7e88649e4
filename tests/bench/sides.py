"""The two sides: one execution of each, from its order to the arrival of its webhook."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from typing import Protocol

import httpx
from temporalio.client import Client

from deploy.local.demo.client import User
from tests.bench.bare import QUEUE, BareVideoWorkflow
from tests.bench.bare_activities import PROMPT, BareOrder
from tests.bench.inbox import Arrival, Inbox

EXECUTION_TIMEOUT_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One execution. delivery_id: the workflow of its delivery, if it has one of its own."""

    began_monotonic: float
    ended_monotonic: float
    workflow_id: str
    delivery_id: str | None = None

    @property
    def seconds(self) -> float:
        return self.ended_monotonic - self.began_monotonic


class NotCompletedError(Exception):
    """An execution ended otherwise than completed: its time would mean nothing."""


class Side(Protocol):
    name: str

    async def run_one(self) -> Finished: ...


@dataclass(slots=True, kw_only=True)
class ProductSide:
    """As a customer does it: one POST, then the webhook."""

    http: httpx.AsyncClient
    user: User
    inbox: Inbox
    name: str = "product"

    async def run_one(self) -> Finished:
        key = secrets.token_hex(8)
        with self.inbox.expecting(key) as expected:
            began = time.monotonic()
            answer = await self.http.post(
                "/api/generate-video",
                json={"prompt": PROMPT, "webhook": self.inbox.address(key)},
                headers={"authorization": f"Bearer {self.user.api_key}"},
            )
            execution_id: str = answer.raise_for_status().json()["executionId"]
            arrival = await _completed(expected)
        return Finished(
            began_monotonic=began,
            ended_monotonic=arrival.at_monotonic,
            workflow_id=execution_id,
        )


@dataclass(slots=True, kw_only=True)
class BareSide:
    """As short as it gets: the workflow is started directly."""

    client: Client
    inbox: Inbox
    image_seconds: float
    video_seconds: float
    name: str = "bare"

    async def run_one(self) -> Finished:
        key = secrets.token_hex(8)
        order = BareOrder(
            key=key,
            webhook=self.inbox.address(key),
            image_seconds=self.image_seconds,
            video_seconds=self.video_seconds,
        )
        with self.inbox.expecting(key) as expected:
            began = time.monotonic()
            await self.client.start_workflow(
                BareVideoWorkflow.run, order, id=f"bare-{key}", task_queue=QUEUE
            )
            arrival = await _completed(expected)
        return Finished(
            began_monotonic=began,
            ended_monotonic=arrival.at_monotonic,
            workflow_id=f"bare-{key}",
            delivery_id=f"bare-deliver/{key}",
        )


async def _completed(expected: "asyncio.Future[Arrival]") -> Arrival:
    arrival = await asyncio.wait_for(expected, EXECUTION_TIMEOUT_SECONDS)
    if arrival.event.get("status") != "completed":
        raise NotCompletedError(
            f"an execution ended {arrival.event.get('status')}: {arrival.event.get('error')}"
        )
    return arrival
