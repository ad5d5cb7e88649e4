"""A restore from an older backup under load: it is detected, sends stop, and recovery completes.

Nothing is bought again.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from core.platform.settings.stores import StorageSettings
from core.store.files.object_storage import ObjectStore
from core.store.recovery.restore_marker import read_marker
from tests.end_to_end.restoring import back_up, restore
from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G1")

KEY = "the same request"
STORAGE = (
    "s3_bucket",
    "s3_endpoint_url",
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_region",
    "cdn_base_url",
)


@pytest.fixture
async def lifted(world: World) -> AsyncGenerator[None]:
    """Remove pauses after a failure, so that other tests can continue."""
    yield
    await world.rows("DELETE FROM submit_pauses RETURNING scope")


async def _until(holds: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - other processes, no event
            await asyncio.sleep(0.1)


async def _bill(world: World) -> list[dict[str, Any]]:
    return (await world.control.get("/bill")).json()["lines"]


async def _paused(world: World) -> bool:
    rows = await world.rows("SELECT reason FROM submit_pauses WHERE scope = 'database'")
    return [row["reason"] for row in rows] == ["database_behind"]


async def _order(world: World) -> httpx.Response:
    body = {"prompt": "once", "duration": 2, "resolution": "480p", "webhook": world.receiver.url}
    return await world.api.post("/api/generate-video", json=body, headers={"Idempotency-Key": KEY})


async def _until_marked(world: World) -> None:
    """Wait until the restore marker has the latest send; it is written every second."""
    (sent,) = await world.rows("SELECT max(serial) AS serial FROM sends")
    settings = StorageSettings.model_validate(
        {name: world.stack.environment.get(name.upper()) for name in STORAGE}
    )
    async with ObjectStore.of(settings) as objects:

        async def is_marked() -> bool:
            marker = await read_marker(objects)
            return marker is not None and marker.serial >= sent["serial"]

        await _until(is_marked, seconds=60)


def _recover(world: World, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli", "recover", *options],
        env=world.stack.environment,
        cwd=world.stack.config.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("lifted")
async def test_restored_database_is_detected_and_recovered_without_new_purchases(
    world: World,
) -> None:
    stack = world.stack
    done = await world.generate()
    await world.ended(done)
    await world.webhook(done)
    await world.settings(video_seconds=3.0)
    at_video = await world.generate()
    await world.until(at_video, job="video", state="submitted")
    await world.settings(image_seconds=2.0)
    at_image = await world.generate()
    await world.until(at_image, job="image", state="submitted")
    os.kill(stack.pid_of("Worker"), signal.SIGSTOP)
    queued = await world.generate()
    await back_up(stack)
    os.kill(stack.pid_of("Worker"), signal.SIGCONT)

    await world.settings(image_seconds=0.3, video_seconds=1.0)
    later = (await _order(world)).json()["executionId"]
    ended = (at_video, at_image, queued, later)
    for execution_id in ended:
        assert (await world.ended(execution_id))["status"] == "completed"
        await world.webhook(execution_id)
    before = {execution_id: await world.get(execution_id) for execution_id in ended}
    await world.settings(video_seconds=6.0)
    running = await world.generate()
    await world.until(running, job="video", state="submitted")
    await _until_marked(world)
    bought = len(await _bill(world))
    everything = (done, at_video, at_image, queued, later, running)
    assert bought == 2 * len(everything)

    await restore(stack)
    await _until(lambda: _paused(world), seconds=60)
    await _check_new_work_is_refused(world)
    assert await _statuses(world, everything) == {
        done: "completed",
        at_video: "running",
        at_image: "running",
        queued: "queued",
    }

    await _check_recovery_needs_confirmation(world)
    await _recover_everything(world)
    for execution_id in everything:
        seen = await world.ended(execution_id)
        assert seen["status"] == "completed", seen
        await world.check_money(execution_id)
        await world.webhook(execution_id)
        if (was := before.get(execution_id)) is not None:
            assert (seen["result"], seen["cost"]) == (was["result"], was["cost"])
    assert len(await _bill(world)) == bought, "something was bought again"
    again = await _order(world)
    assert (again.status_code, again.json()["executionId"]) == (202, later)
    await _check_webhooks(world, everything)
    assert len(await world.rows("SELECT 1 FROM audit_log WHERE action = 'recover'")) == 1


async def _statuses(world: World, execution_ids: tuple[str, ...]) -> dict[str, str]:
    rows = await world.rows(
        "SELECT execution_id, status FROM executions WHERE execution_id = ANY($1)", [*execution_ids]
    )
    return {row["execution_id"]: row["status"] for row in rows}


async def _check_new_work_is_refused(world: World) -> None:
    refused = await _order(world)
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    assert int(refused.headers["retry-after"]) > 0


async def _check_recovery_needs_confirmation(world: World) -> None:
    unconfirmed = await asyncio.to_thread(_recover, world)
    assert unconfirmed.returncode == 2
    assert "confirm with --yes" in unconfirmed.stderr
    assert "Traceback" not in unconfirmed.stderr
    assert await _paused(world)


async def _recover_everything(world: World) -> None:
    recovered = await asyncio.to_thread(_recover, world, "--yes")
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    assert "FOR AN OPERATOR" not in recovered.stdout, recovered.stdout
    assert not await _paused(world)


async def _check_webhooks(world: World, everything: tuple[str, ...]) -> None:
    """What was delivered before is not delivered again."""

    async def all_delivered() -> bool:
        rows = await world.rows(
            "SELECT state FROM webhooks WHERE execution_id = ANY($1::text[])", list(everything)
        )
        return [row["state"] for row in rows] == ["delivered"] * len(everything)

    await _until(all_delivered, seconds=60)
    received = Counter(one.headers["webhook-id"] for one in world.receiver.received)
    assert len(received) == len(everything)
    assert set(received.values()) == {1}
