"""The Python client on the whole stack: refusals, lost answers, cut streams, and a killed API.

Nothing is bought twice, and no event is lost. Each test shows that its faults happened.
"""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from takeone import AsyncExecution, AsyncTakeone
from takeone.errors import CallError
from tests.end_to_end.faulty_proxy import Fault, FaultyProxy, refusal
from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G1", "G2")

SMALL: dict[str, Any] = {"prompt": "a kite", "duration": 2, "resolution": "480p"}
STREAM = r"GET \S+/events$"


@asynccontextmanager
async def client_of(world: World, *faults: Fault, retries: int = 2) -> AsyncGenerator[AsyncTakeone]:
    """Yield a client whose requests pass a proxy with these faults."""
    async with (
        FaultyProxy(*faults).serving() as proxy,
        httpx.AsyncClient(proxy=proxy) as http,
        AsyncTakeone(
            world.user.api_key, world.stack.config.api_url, http_client=http, retries=retries
        ) as client,
    ):
        yield client


async def timeline(world: World, execution_id: str) -> list[tuple[int, str]]:
    """Return the events of an execution from the database, without the client."""
    answer = await world.api.get(f"/api/executions/{execution_id}/timeline")
    assert answer.status_code == 200, answer.text
    return [(entry["sequence"], entry["type"]) for entry in answer.json()["data"]]


@pytest.mark.timeout(120)
async def test_order_waits_for_the_time_of_refusals(world: World) -> None:
    limited = Fault(
        r"POST \S+/api/generate-image$", "refuse", answer=refusal(429, "retry-after: 1")
    )
    busy = Fault(r"POST \S+/api/generate-image$", "refuse", answer=refusal(503))
    async with client_of(world, limited, busy) as client:
        began = asyncio.get_running_loop().time()
        order = await client.executions.generate_image(prompt="a kite")
        assert asyncio.get_running_loop().time() - began > 1
        await order.wait()
    assert (limited.fired, busy.fired) == (1, 1)
    assert len(await world.bill()) == 1


@pytest.mark.timeout(120)
async def test_lost_answers_of_orders_and_retries_buy_once(world: World) -> None:
    """The failed job and the job of the retry are billed, and no other job is."""
    faults = [Fault(rf"POST \S+/{path}$", "lose") for path in ("api/generate-video", "retry")]
    failing = await world.fault("fail_after", provider="replicate", params={"seconds": 0.2})
    async with client_of(world, *faults) as client:
        order = await client.executions.generate_video(**SMALL)
        assert order.replayed
        failed = await order.wait(raise_on_failure=False)
        assert (failed.status, await world.fired(failing)) == ("failed", 1)
        retried = await failed.retry()
        assert retried.replayed
        done = await retried.wait()
    assert [fault.fired for fault in faults] == [1, 1]
    assert [job.state for job in done.jobs] == ["completed", "failed", "completed"]
    assert len(await world.bill()) == 3
    await world.check_money(order.id)


@pytest.mark.timeout(120)
async def test_cut_streams_lose_no_event(world: World) -> None:
    cuts = Fault(STREAM, "cut", times=4, after=900)
    async with client_of(world, cuts) as client:
        order = await client.executions.generate_video(**SMALL)
        events = [event async for event in order.events(after=0)]
    assert cuts.fired == 4
    seen = [(event.sequence, event.type) for event in events]
    assert seen == await timeline(world, order.id)
    assert events[-1].execution is not None
    assert events[-1].execution.status == "completed"
    assert len(await world.bill()) == 2


@pytest.mark.timeout(240)
async def test_killed_api_loses_no_event_and_ends_no_wait(world: World) -> None:
    await world.settings(video_seconds=6.0)
    async with client_of(world) as client:
        order = await client.executions.generate_video(**SMALL)
        states: list[str] = []

        def note(execution: AsyncExecution) -> None:
            states.append(execution.status)

        following = asyncio.create_task(collected(order.events(after=0)))
        waiting = asyncio.create_task(order.wait(on_progress=note))
        await world.until(order.id, job="video", state="submitted", seconds=60)
        before = world.stack.pid_of("API")
        os.kill(before, signal.SIGKILL)
        done, events = await waiting, await following
    assert world.stack.pid_of("API") != before
    assert (done.status, states[-1]) == ("completed", "completed")
    assert [(event.sequence, event.type) for event in events] == await timeline(world, order.id)
    assert len(await world.bill()) == 2


async def collected(events: Any) -> list[Any]:
    return [event async for event in events]


@pytest.mark.timeout(120)
async def test_cut_download_is_complete_or_absent(world: World, tmp_path: Path) -> None:
    async with client_of(world) as client:
        order = await client.executions.generate_image(prompt="a kite")
        done = await order.wait()
    assert done.result is not None
    file = done.result.file
    assert file is not None
    path = tmp_path / "kite.png"
    cuts = Fault(r"GET (?!\S+/api/)", "cut", times=2, after=600)
    async with client_of(world, cuts) as client:
        await client.assets.download(file.id, path)
    assert cuts.fired == 2
    assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    path.unlink()
    down = Fault(r"GET (?!\S+/api/)", "cut", times=9, after=600)
    async with client_of(world, down, retries=1) as client:
        with pytest.raises(CallError, match=r"connection ended|SHA-256"):
            await client.assets.download(file.id, path)
    assert down.fired == 2
    assert os.listdir(tmp_path) == []


@pytest.mark.timeout(300)
async def test_download_waits_for_a_restarted_api(world: World, tmp_path: Path) -> None:
    async with client_of(world, retries=25) as client:  # minutes, for a busy machine
        order = await client.executions.generate_image(prompt="a kite")
        done = await order.wait()
        before = world.stack.pid_of("API")
        os.kill(before, signal.SIGKILL)
        await done.download(tmp_path / "kite.png")
    assert world.stack.pid_of("API") != before
    assert os.listdir(tmp_path) == ["kite.png"]
