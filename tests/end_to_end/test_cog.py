"""Models of the operator's own on Cog's own server: a third-party server generates through us."""

import asyncio
import hashlib
import os
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.domain.money import nano_usd, usd_text
from tests.cog.server import CogServer
from tests.end_to_end.world import MODELS, World

SENDS = """
SELECT s.outcome, s.status_code FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id
WHERE j.execution_id = $1 AND j.provider = 'cog' AND NOT j.orphan ORDER BY s.sent_at
"""


async def order(world: World, model: str, prompt: str) -> str:
    """Order a video whose picture this model paints; the sandbox makes the film."""
    return await world.generate(
        prompt=prompt, imageModel=f"cog/{model}", videoModel=MODELS["fal"]["videoModel"]
    )


async def completed(world: World, execution_id: str) -> dict[str, Any]:
    seen = await world.ended(execution_id)
    assert seen["status"] == "completed", repr(seen)
    return seen


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - a fact of another process
            await asyncio.sleep(0.05)


def image_cost(seen: dict[str, Any]) -> str:
    """Return the cost of the picture, over all sends."""
    costs = [nano_usd(job["cost"]["settled"]) for job in seen["jobs"] if job["step"] == "image"]
    return usd_text(sum(costs))


async def test_own_model_paints_the_picture_of_a_video(world: World, cog_server: CogServer) -> None:
    execution_id = await order(world, "painter", "a green kite")
    seen = await completed(world, execution_id)
    assert cog_server.runs().count("a green kite") == 1
    assert image_cost(seen) == "0.002"
    async with httpx.AsyncClient(trust_env=False) as cdn:
        picture = await cdn.get(seen["result"]["imageUrl"])
    (image,) = [asset for asset in seen["result"]["assets"] if asset["kind"] == "image"]
    assert picture.content.startswith(b"\x89PNG")
    assert image["sha256"] == hashlib.sha256(picture.content).hexdigest()
    (row,) = await world.rows(
        "SELECT report -> 'outputs' -> 0 ->> 'url' AS url FROM jobs WHERE execution_id = $1 AND provider = 'cog'",
        execution_id,
    )
    assert row["url"] == "", "the stored file is still in the row"


async def test_own_model_that_fails_costs_nothing(world: World, cog_server: CogServer) -> None:
    execution_id = await order(world, "broken-painter", "a broken kite")
    seen = await world.until_final(execution_id)
    assert (seen["status"], seen["error"]["code"]) == ("failed", "provider_failed")
    assert "out of paint" in seen["error"]["message"]
    assert cog_server.runs().count("a broken kite") == 1
    assert image_cost(seen) == "0"


@pytest.mark.guarantee("G1", "G5")
async def test_killed_worker_loses_no_run_and_repeats_none(
    world: World, cog_server: CogServer
) -> None:
    """One run is under way and another is refused by the busy server when the worker is killed."""
    with cog_server.held():
        running = await order(world, "held-painter", "a patient kite")
        await world.until(running, job="image", state="submitted")
        waiting = await order(world, "held-painter", "a second kite")

        async def refused() -> bool:
            return any(row["status_code"] == 409 for row in await world.rows(SENDS, waiting))

        await world.until_true(refused, "the server was never busy")
        os.kill(world.stack.pid_of("Worker"), signal.SIGKILL)
    for execution_id in (running, waiting):
        assert float(image_cost(await completed(world, execution_id))) > 0
    runs = cog_server.runs()
    assert (runs.count("a patient kite"), runs.count("a second kite")) == (1, 1)
    assert len(await world.rows(SENDS, running)) == 1


@pytest.mark.guarantee("G2", "G5")
async def test_run_whose_callback_is_lost_is_made_again(
    world: World, cog_server: CogServer
) -> None:
    """The API refuses the callback of the first run, and Cog gives it up."""
    cog_server.kill()
    cog_server.start(token="another-token")
    execution_id = await order(world, "painter", "a lost kite")
    await until(lambda: "non-retryable status" in cog_server.log())
    cog_server.kill()
    cog_server.start()
    seen = await completed(world, execution_id)
    assert cog_server.runs().count("a lost kite") == 2
    assert image_cost(seen) == "0.002"
    assert len(await world.rows(SENDS, execution_id)) == 2
    await world.check_books()
