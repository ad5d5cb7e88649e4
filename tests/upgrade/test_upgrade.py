"""A release alongside the one before it: forward and back with executions in flight."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client

from tests.end_to_end.world import MODELS, World
from tests.support.receiver import Receiver, reply
from tests.support.rollout import Deployment
from tests.support.stack_ports import receiver_port
from tests.upgrade.points import Stopped, continue_all, deliver_now, stop_at_five_points
from tests.upgrade.releases import (
    NEW,
    OLD,
    PREVIOUS_RELEASE,
    Releases,
    previous_release,
    two_releases,
)

pytestmark = [pytest.mark.long, pytest.mark.guarantee("G1", "G2", "G3", "G5")]

NEW_ORDERS = 20
BENIGN = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
"""An event that arrived while a task was being completed: the task is repeated."""


@dataclass(slots=True)
class Traffic:
    """What a customer sends all the time. wrong: every response that a customer would report."""

    ordered: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])

    @classmethod
    @asynccontextmanager
    async def flowing(cls, world: World) -> AsyncGenerator["Traffic"]:
        traffic = cls()
        tasks = [
            asyncio.create_task(traffic._read(world)),
            asyncio.create_task(traffic._order(world)),
        ]
        try:
            yield traffic
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, world: World) -> None:
        while True:
            try:
                answer = await world.api.get("/api/executions?limit=1")
                self._note(answer, 200)
            except httpx.TransportError as error:
                self.wrong.append(repr(error))
            await asyncio.sleep(0.1)

    async def _order(self, world: World) -> None:
        while True:
            try:
                # Models of another provider than those of the faults with a number of times.
                self.ordered.append(await world.generate(**MODELS["replicate"]))
            except (httpx.TransportError, AssertionError) as error:
                self.wrong.append(repr(error))
            await asyncio.sleep(3)

    def _note(self, answer: httpx.Response, expected: int) -> None:
        if answer.status_code != expected:
            self.wrong.append(f"{answer.status_code} {answer.text[:300]}")


async def until_not_needed(client: Client, build_id: str) -> None:
    """Wait until no running execution is pinned to a version, with the query of the docs."""
    query = f"TemporalWorkerDeploymentVersion='takeone:{build_id}' AND ExecutionStatus='Running'"
    async with asyncio.timeout(120):
        while (await client.count_workflows(query)).count:  # noqa: ASYNC110 - Temporal sets no event
            await asyncio.sleep(0.5)


async def failed_tasks(client: Client, ids: list[str]) -> list[str]:
    """Return the workflow tasks that failed in any history, with their cause."""
    failed: list[str] = []
    for workflow_id in ids:
        async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                attributes = event.workflow_task_failed_event_attributes
                if attributes.cause != BENIGN:
                    failed.append(f"{workflow_id}: {attributes.failure.message}")
    return failed


async def check_all(world: World, client: Client, ids: list[str], stopped: Stopped) -> None:
    """Check that everything ended, was paid for once and was delivered."""
    for execution_id in ids:
        assert (await world.ended(execution_id, seconds=180))["status"] == "completed"
        await world.check_money(execution_id)
        if execution_id not in stopped.undelivered:
            await world.webhook(execution_id, seconds=60)
    assert await failed_tasks(client, ids) == []


async def forward(releases: Releases, deployment: Deployment, *, versioned: bool) -> None:
    await asyncio.to_thread(releases.run, NEW, "core.store.migrate")
    await releases.start_api(NEW)
    await releases.stop("API", OLD)
    await releases.start_worker(NEW, build_id=NEW if versioned else None)
    if versioned:
        await deployment.make_current(NEW)
    await releases.stop("Worker", OLD)


async def back(releases: Releases, deployment: Deployment, *, versioned: bool) -> None:
    """Return to the old release on the migrated database; a versioned worker stays for now."""
    await releases.start_api(OLD)
    await releases.stop("API", NEW)
    await releases.start_worker(OLD)
    if versioned:
        await deployment.make_current(None)
    else:
        await releases.stop("Worker", NEW)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("versioned", [True, False])
async def test_upgrade_and_its_undoing_lose_and_repeat_nothing(
    versioned: bool, tmp_path: Path
) -> None:
    previous = previous_release(tmp_path / "previous")
    if previous is None:
        pytest.skip(f"the repository has no commit {PREVIOUS_RELEASE}: no previous release to run")
    async with two_releases(previous) as (releases, world):
        client = await world.temporal()
        deployment = Deployment(
            client=client, address=releases.stack.environment["TEMPORAL_ADDRESS"]
        )
        async with Traffic.flowing(world) as traffic:
            for move, begins, ends in ((forward, OLD, NEW), (back, NEW, OLD)):
                async with Receiver.open(
                    reply(503), port=receiver_port(world.stack.config)
                ) as dead:
                    stopped = await stop_at_five_points(world, releases, begins, dead)
                    accepted = len(traffic.ordered)
                    await move(releases, deployment, versioned=versioned)
                    assert len(traffic.ordered) > accepted, "no order was accepted meanwhile"
                    await continue_all(world, releases, ends)
                    later = [await world.generate() for _ in range(NEW_ORDERS)]
                    dead.answers = [reply(200)]
                    await deliver_now(client, dead)
                    await check_all(world, client, [*stopped.ids, *later], stopped)
                    await delivered(world, stopped)
        if versioned:
            await until_not_needed(client, NEW)
            await releases.stop("Worker", NEW)
        assert traffic.wrong == []
        await check_all(world, client, traffic.ordered, stopped)
        await world.check_bought(dict.fromkeys(world.ids, 2))


async def delivered(world: World, stopped: Stopped) -> None:
    """Wait until the webhooks that were refused at first are delivered."""

    async def all_delivered() -> bool:
        states = await world.rows(
            "SELECT state FROM webhooks WHERE execution_id = ANY ($1)", stopped.undelivered
        )
        return {row["state"] for row in states} == {"delivered"}

    await world.until_true(all_delivered, "webhooks stay undelivered", seconds=60)
