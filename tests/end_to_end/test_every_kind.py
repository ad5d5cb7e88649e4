"""Every kind of step through the API: its file, its webhook, and its cost on the bill."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G1", "G3")

TEXT = "It never asks where the wind comes from."
FLUX = "black-forest-labs/flux-schnell"
SPEECH = {"text": TEXT, "model": "fal-ai/elevenlabs/tts/turbo-v2.5"}


FILES = {"image", "source", "audio"}


def _step(kind: str, name: str, model: str, **params: str) -> dict[str, Any]:
    """Return a step; its files are named by the steps that make them."""
    used = {key: {"step": value} if key in FILES else value for key, value in params.items()}
    return {"name": name, "kind": kind, "model": model, "params": used}


STEPS = (
    _step("image", "picture", FLUX, prompt="a kite over a harbour", aspectRatio="16:9"),
    _step("image", "edited", "fal-ai/flux-pro/kontext", prompt="at night", image="picture"),
    _step("cutout", "cut", "fal-ai/bria/background/remove", source="picture"),
    _step("upscale", "large", "recraft-ai/recraft-crisp-upscale", source="picture"),
    _step("audio", "voice", "minimax/speech-2.6-turbo", text=TEXT),
    _step("transcript", "words", "fal-ai/elevenlabs/speech-to-text/scribe-v2", source="voice"),
    _step("video", "clip", "wan-video/wan-2.2-t2v-fast", prompt="a kite dances"),
    _step("talking-head", "host", "veed/fabric-1.0", image="edited", audio="voice"),
    _step("lip-sync", "film", "fal-ai/sync-lipsync/v2", source="clip", audio="voice"),
)
KINDS = {
    "picture": "image", "edited": "image", "cut": "image", "large": "image", "voice": "audio",
    "words": "transcript", "clip": "video", "host": "video", "film": "video",
}  # fmt: skip


async def _order(world: World, route: str, body: dict[str, Any]) -> str:
    answer = await world.api.post(f"/api/{route}", json={**body, "webhook": world.receiver.url})
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    world.ids.append(execution_id)
    return execution_id


async def _completed(world: World, execution_id: str) -> dict[str, Any]:
    """Return the result, which the webhook has too, and whose cost is on the bill."""
    seen = await world.ended(execution_id, seconds=90)
    assert seen["status"] == "completed", seen
    assert (await world.webhook(execution_id))["result"] == seen["result"]
    assert await world.check_money(execution_id) > 0
    result: dict[str, Any] = seen["result"]
    return result


@pytest.mark.timeout(240)
async def test_every_kind_delivers_files_at_the_billed_cost(world: World) -> None:
    further = {name: {"step": name} for name in ("cut", "large", "words", "host")}
    steps = list(reversed(STEPS))
    plan = {"plan": {"version": 1, "steps": steps, "result": "film", "outputs": further}}
    image_id, speech_id, plan_id = [
        await _order(world, "generate-image", {"prompt": "a kite", "model": FLUX}),
        await _order(world, "generate-audio", SPEECH),
        await _order(world, "executions", plan),
    ]
    speech = await _completed(world, speech_id)
    recording = next(asset for asset in speech["assets"] if asset["kind"] == "audio")
    words_id = await _order(world, "transcribe", {"source": {"asset": recording["id"]}})
    image, words, film = await asyncio.gather(
        *(_completed(world, execution_id) for execution_id in (image_id, words_id, plan_id))
    )

    assert image["url"] == image["imageUrl"]
    assert (speech["url"], speech["contentType"]) == (speech["audioUrl"], "audio/mpeg")
    assert words["url"] == words["transcriptUrl"]
    assert (film["url"], film["contentType"]) == (film["videoUrl"], "video/mp4")
    assert {asset["step"]: asset["kind"] for asset in film["assets"]} == KINDS
    async with httpx.AsyncClient(trust_env=False) as cdn:
        for url in (words["transcriptUrl"], speech["transcriptUrl"]):
            spoken = (await cdn.get(url)).json()
            assert [word["text"] for word in spoken["words"]] == TEXT.split()
        for asset in (*image["assets"], *film["assets"]):
            file = await cdn.get(asset["url"])
            assert len(file.content) == asset["sizeBytes"], asset
            assert file.headers["content-type"] == asset["contentType"]
    assert len(await world.bill()) == len(STEPS) + 3
