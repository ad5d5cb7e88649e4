"""A rollout of versioned workers with executions in flight: forward, back, and without versions."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import pytest
from temporalio import workflow

from core.domain.messages.executions import ExecutionOrder
from core.maintenance.replay import replay_stored
from deploy.local.config import ROOT
from tests.end_to_end.world import MODELS, World
from tests.support.receiver import Receiver, reply
from tests.support.rollout import Rollout, retry_at_once
from tests.support.stack_ports import receiver_port

pytestmark = pytest.mark.guarantee("G1", "G2")


async def begin_everywhere(world: World) -> list[str]:
    """Order executions that stop before the answer of a create call, while waiting, and storing."""
    image = {"provider": "fal", "model": MODELS["fal"]["imageModel"]}
    late = {"params": {"stage": "after_accept"}, "body": MODELS["fal"]}
    submitting = await world.caught("hold", **image, **late)
    unread = {"provider": "replicate", "model": MODELS["replicate"]["imageModel"]}
    await world.fault("callback_lost", **unread, times=-1)
    down = {"operation": "status", "times": -1, "body": MODELS["replicate"]}
    waiting = await world.caught("down", **unread, **down)
    unsent = {"operation": "file", "params": {"stage": "before_read"}, "body": MODELS["fal"]}
    storing = await world.caught("hold", **image, **unsent)
    return [submitting, waiting, storing]


async def continue_everywhere(world: World) -> None:
    await world.release_held("fal")
    for fault in (await world.control.get("/faults")).json()["faults"]:
        await world.control.delete(f"/faults/{fault['id']}")


async def ends_on(world: World, rollout: Rollout, execution_id: str, build_id: str) -> None:
    """Check that an execution ends, is paid for once, and ran on one version."""
    assert (await world.ended(execution_id, seconds=90))["status"] == "completed"
    await world.check_money(execution_id)
    assert await rollout.builds_of(execution_id) == [build_id]


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_executions_end_on_the_version_that_began_them(world: World) -> None:
    async with (
        Receiver.open(reply(503), reply(503), reply(200), port=receiver_port(world.stack.config)) as dead,
        Rollout.open(world.stack, await world.temporal()) as rollout,
    ):  # fmt: skip
        await rollout.start("1.0")
        await rollout.make_current("1.0")
        undelivered = await world.generate(webhook=dead.url)

        async def attempted() -> bool:
            return len(dead.received) == 2  # the second one is of the delivery's own workflow

        await world.until_true(attempted, "no second attempt", seconds=60)
        old = [undelivered, *await begin_everywhere(world)]

        await rollout.start("2.0")
        await rollout.make_current("2.0")
        new = await world.generate()
        await ends_on(world, rollout, new, "2.0")
        await continue_everywhere(world)
        for execution_id in old:
            await ends_on(world, rollout, execution_id, "1.0")

        delivery = f"deliver/{dead.received[0].headers['webhook-id']}/1"
        await retry_at_once(rollout.deployment.client, delivery)
        await rollout.deployment.client.get_workflow_handle(delivery).result()
        assert len(dead.received) == 3
        assert await rollout.builds_of(delivery) == ["1.0", "2.0"]

        await rollout.make_current("1.0")
        back = await world.generate()
        await ends_on(world, rollout, back, "1.0")
        await rollout.make_current(None)
        unversioned = await world.generate()
        await ends_on(world, rollout, unversioned, "")
        await world.check_bought(dict.fromkeys([*old, new, back, unversioned], 2))


@workflow.defn(name="execution")
class Changed:
    """The workflow with other commands."""

    @workflow.run
    async def run(self, order: ExecutionOrder) -> None:
        await workflow.sleep(order.generation)


async def run_replay(world: World, **changes: str) -> tuple[int, list[str]]:
    """Run `python worker.py replay` on the stack and return its exit code and lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "worker.py"), "replay", "--limit", "20",
        env={"PATH": os.environ["PATH"], **world.stack.environment, **changes},
        cwd=world.stack.config.folder, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert errors == b""
    return process.returncode or 0, output.decode().splitlines()


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_replay_lists_histories_that_code_cannot_continue(world: World) -> None:
    await world.settings(video_seconds=8.0)
    execution_id = await world.generate()
    await world.until(execution_id, job="video", state="submitted")
    client = await world.temporal()

    async def listed() -> bool:
        found = client.list_workflows(f"WorkflowId = '{execution_id}'")
        return [each.id async for each in found] == [execution_id]

    await world.until_true(listed, "Temporal does not list the execution", seconds=30)
    code, lines = await run_replay(world)
    assert (code, lines[-1].endswith(" histories replayed, 0 failed"), len(lines)) == (0, True, 1)

    results = {each.workflow_id: each async for each in replay_stored(client, [Changed], limit=1)}
    assert "Nondeterminism" in (results[execution_id].reason or "")
    assert results[execution_id].running

    code, lines = await run_replay(world, ENCRYPTION_KEYS="A" * 43 + "=")
    assert code == 1
    assert execution_id in lines[0]
    await world.ended(execution_id)
