"""Media steps through the whole stack: a killed worker loses no paid step and changes no byte."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import MODELS, PROMPT, World
from tests.media.operations import sources
from tests.support.media_files import PLAYLISTS

pytestmark = pytest.mark.guarantee("G2", "G5")

SECONDS = 12
"""Of the music, which the film is as long as: long enough to find the program at work."""


async def order(world: World, music: str, *, volume: float) -> str:
    """Order a picture, a clip of it, a film with music, and a cover."""
    steps = [
        {
            "name": "picture",
            "kind": "image",
            "model": MODELS["fal"]["imageModel"],
            "params": {"prompt": PROMPT},
        },
        {
            "name": "clip",
            "kind": "video",
            "model": MODELS["fal"]["videoModel"],
            "params": {
                "prompt": PROMPT,
                "image": {"step": "picture"},
                "duration": 2,
                "resolution": "480p",
                "seed": 7,
            },
        },
        {
            "name": "film",
            "kind": "merge",
            "params": {
                "items": [
                    {"media": {"step": "clip"}},
                    {"media": {"asset": music}, "volume": volume},
                ]
            },
        },
        {"name": "cover", "kind": "poster", "params": {"source": {"step": "film"}}},
    ]
    plan = {"version": 1, "steps": steps, "result": "film", "outputs": {"cover": {"step": "cover"}}}
    answer = await world.api.post(
        "/api/executions", json={"plan": plan, "webhook": world.receiver.url}
    )
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    world.ids.append(execution_id)
    return execution_id


def tone(folder: Path) -> bytes:
    return sources.ffmpeg(folder / "music.wav", *sources.tone(SECONDS)).read_bytes()


async def upload(world: World, content: bytes) -> str:
    answer = await world.api.post("/api/assets", files={"file": ("music.wav", content)})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()["id"]


def all_programs() -> dict[int, int]:
    """Return the processes of ffmpeg that read a file, with the process that started each."""
    running: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
            program, *arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if state != "Z" and b"ffmpeg" in program and b"-i" in arguments:
            running[int(folder.name)] = int(parent)
    return running


def programs(worker: int) -> list[int]:
    return [program for program, parent in all_programs().items() if parent == worker]


@asynccontextmanager
async def stopped_program(worker: int) -> AsyncGenerator[int]:
    """Find ffmpeg at work for a worker, and stop it."""
    async with asyncio.timeout(60):
        while not (found := programs(worker)):  # noqa: ASYNC110 - another program's child
            await asyncio.sleep(0.005)
    os.kill(found[0], signal.SIGSTOP)
    assert programs(worker) == found[:1]
    yield found[0]


def film_of(seen: dict[str, Any]) -> dict[str, Any]:
    return next(item for item in seen["result"]["assets"] if item["step"] == "film")


def job_of(seen: dict[str, Any], step: str) -> dict[str, Any]:
    return [job for job in seen["jobs"] if job["step"] == step][-1]


@pytest.mark.timeout(240)
async def test_worker_killed_in_a_media_step_changes_no_byte(world: World, tmp_path: Path) -> None:
    music = await upload(world, tone(tmp_path))
    disturbed = await order(world, music, volume=0.5)
    worker = world.stack.pid_of("Worker")
    async with stopped_program(worker) as program:
        os.kill(worker, signal.SIGKILL)
    seen = await world.ended(disturbed, seconds=150)
    assert seen["status"] == "completed", seen
    assert program not in all_programs()
    assert len(await world.bill_of(disturbed)) == 2
    await world.check_money(disturbed)
    assert job_of(seen, "film")["cost"]["settled"] == "0"
    body = await world.webhook(disturbed, seconds=60)
    assert body["result"]["outputs"]["cover"]["kind"] == "image"
    assert film_of(seen)["media"]["durationSeconds"] == pytest.approx(SECONDS, abs=0.1)

    # The same steps in the same way: only the files of the provider may be others.
    again = await world.ended(await order(world, music, volume=0.5), seconds=90)
    assert again["status"] == "completed", again
    clips = [
        next(item["sha256"] for item in each["result"]["assets"] if item["step"] == "clip")
        for each in (seen, again)
    ]
    assert clips[0] == clips[1], "the sandbox makes the same clip of the same request"
    assert film_of(again)["sha256"] == film_of(seen)["sha256"]
    assert job_of(again, "film")["reusedFrom"] == job_of(seen, "film")["id"]


@pytest.mark.timeout(180)
async def test_cancel_ends_the_program_and_keeps_what_is_paid(world: World, tmp_path: Path) -> None:
    music = await upload(world, tone(tmp_path))
    execution_id = await order(world, music, volume=0.25)
    worker = world.stack.pid_of("Worker")
    async with stopped_program(worker) as program:
        await world.cancel(execution_id)
    seen = await world.ended(execution_id, seconds=60)
    assert seen["status"] == "cancelled", seen
    assert (job_of(seen, "clip")["state"], job_of(seen, "film")["state"]) == (
        "completed",
        "cancelled",
    )
    assert program not in all_programs()
    await world.check_money(execution_id)

    retried = await world.api.post(f"/api/executions/{execution_id}/retry")
    assert retried.status_code == 202, retried.text
    assert retried.json()["toPay"] == []
    completed = await world.ended(execution_id, seconds=90)
    assert completed["status"] == "completed", completed
    assert len(await world.bill_of(execution_id)) == 2


@pytest.mark.timeout(120)
async def test_file_that_no_decoder_reads_buys_nothing_afterwards(
    world: World, tmp_path: Path
) -> None:
    for content in PLAYLISTS.values():
        refused = await world.api.post("/api/assets", files={"file": ("x.mp4", content)})
        assert (refused.status_code, refused.json()["code"]) == (422, "media_unsupported")
    whole = sources.clip(tmp_path / "clip.mp4", "red").read_bytes()
    lying = await upload(world, whole.replace(b"avc1", b"none"))  # whole, of a codec of no one
    steps = [
        {"name": "cut", "kind": "trim", "params": {"source": {"asset": lying}, "duration": 0.5}},
        {
            "name": "large",
            "kind": "cutout",
            "model": "bria/video/background-removal/v3",
            "params": {"source": {"step": "cut"}},
        },
    ]
    answer = await world.api.post(
        "/api/executions", json={"plan": {"version": 1, "steps": steps, "result": "large"}}
    )
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    world.ids.append(execution_id)
    seen = await world.ended(execution_id, seconds=60)
    assert (seen["status"], seen["error"]["code"]) == ("failed", "media_failed"), seen
    assert "codec" in seen["error"]["message"]
    assert (job_of(seen, "large")["state"], seen["cost"]["settled"]) == ("cancelled", "0")
    assert await world.bill_of(execution_id) == []
    await world.check_money(execution_id)
