"""Executions that stop at five points, and what lets them continue."""

import asyncio
from dataclasses import dataclass

from temporalio.client import Client

from tests.end_to_end.world import MODELS, World
from tests.support.receiver import Receiver
from tests.support.rollout import retry_at_once
from tests.upgrade.releases import Releases

EACH = 4
"""Executions at each of five points."""
PAUSED = ("cli", "submits", "pause", "--reason", "upgrade")
RESUMED = ("cli", "submits", "resume")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Twenty executions in flight. undelivered: those whose receiver refuses their webhooks."""

    ids: list[str]
    undelivered: list[str]


async def stop_at_five_points(
    world: World, releases: Releases, release: str, dead: Receiver
) -> Stopped:
    """Order executions that stop before and after a send, waiting, storing and delivering."""
    undelivered = [await world.generate(webhook=dead.url) for _ in range(EACH)]

    async def attempted_twice() -> bool:  # the second attempt is of the delivery's own workflow
        heads = [received.headers["webhook-id"] for received in dead.received]
        return sum(heads.count(head) >= 2 for head in set(heads)) == EACH

    await world.until_true(attempted_twice, "webhooks were not attempted twice", seconds=120)
    unread = {"provider": "replicate", "model": MODELS["replicate"]["imageModel"]}
    await world.fault("callback_lost", **unread, times=-1)
    down = await world.fault("down", **unread, operation="status")
    waiting = [await world.generate(**MODELS["replicate"]) for _ in range(EACH)]
    for execution_id in waiting:
        await world.until(execution_id, job="image", state="submitted", seconds=60)
    await world.until_fired(down, times=EACH, seconds=60)
    image = {"provider": "fal", "model": MODELS["fal"]["imageModel"], "times": EACH}
    held = await world.fault("hold", **image, operation="file", params={"stage": "before_read"})
    storing = [await world.generate(**MODELS["fal"]) for _ in range(EACH)]
    await world.until_fired(held, times=EACH, seconds=60)
    held = await world.fault("hold", **image, params={"stage": "after_accept"})
    submitting = [await world.generate(**MODELS["fal"]) for _ in range(EACH)]
    await world.until_fired(held, times=EACH, seconds=60)
    await asyncio.to_thread(releases.run, release, *PAUSED)
    unsent = [await world.generate() for _ in range(EACH)]
    for execution_id in unsent:
        await world.until(execution_id, job="image", state="waiting")
    ids = [*undelivered, *waiting, *storing, *submitting, *unsent]
    return Stopped(ids=ids, undelivered=undelivered)


async def continue_all(world: World, releases: Releases, release: str) -> None:
    """End the faults and the pause."""
    await asyncio.to_thread(releases.run, release, *RESUMED)
    await world.release_held("fal")
    for fault in (await world.control.get("/faults")).json()["faults"]:
        await world.control.delete(f"/faults/{fault['id']}")


async def deliver_now(client: Client, dead: Receiver) -> None:
    """Make the next attempt of each refused delivery at once."""
    for event_id in {received.headers["webhook-id"] for received in dead.received}:
        await retry_at_once(client, f"deliver/{event_id}/1")
