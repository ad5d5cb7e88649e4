"""The API as an imported application, whose process a platform freezes, copies and kills."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx

from deploy.local.ports import free_ports
from tests.end_to_end.world import MODELS, World

FREEZE_SECONDS = 8.0
"""Longer than a call to Temporal may take; platforms freeze for minutes."""


@dataclass(frozen=True, slots=True)
class Copy:
    process: asyncio.subprocess.Process
    client: httpx.AsyncClient

    async def order(self, key: str) -> str:
        answer = await self.client.post(
            "/api/generate-video",
            json={"prompt": "a red kite", "duration": 2, "resolution": "480p", **MODELS["fal"]},
            headers={"Idempotency-Key": key},
        )
        assert answer.status_code == 202, answer.text
        execution_id: str = answer.json()["executionId"]
        return execution_id


@asynccontextmanager
async def running_copy(world: World) -> AsyncGenerator[Copy]:
    """Run the application as a platform does: without a start, and without an end."""
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "api.serverless:app"),
        *("--port", str(port), "--lifespan", "off", "--log-level", "warning"),
        env={**world.stack.environment, "DATABASE_POOL_SIZE": "2", "METRICS_PORT": "0"},
    )
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {world.user.api_key}"},
            timeout=60,
            trust_env=False,
        ) as client:

            async def alive() -> bool:
                try:
                    return (await client.get("/healthz")).is_success
                except httpx.TransportError:
                    return False

            await world.until_true(alive, "the copy answers", seconds=60)
            yield Copy(process, client)
    finally:
        with suppress(ProcessLookupError):  # the test has killed it
            process.kill()
        await process.wait()


async def test_frozen_and_killed_copies_lose_no_order(world: World) -> None:
    async with running_copy(world) as copy:
        first = await copy.order("first")
        os.kill(copy.process.pid, signal.SIGSTOP)
        await asyncio.sleep(FREEZE_SECONDS)
        os.kill(copy.process.pid, signal.SIGCONT)
        assert await copy.order("first") == first
        assert (await copy.client.get(f"/api/executions/{first}")).is_success
        second = await copy.order("second")
        os.kill(copy.process.pid, signal.SIGKILL)
    async with running_copy(world) as copy:
        assert await copy.order("second") == second
    world.ids += [first, second]
    for execution_id in (first, second):
        seen = await world.until_final(execution_id)
        assert seen["status"] == "completed", seen
    await world.check_bought({first: 2, second: 2})
    await world.check_budget()
