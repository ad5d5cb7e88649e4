"""The player and the facts of an execution: captions, fresh addresses, downloads, links, JSON."""

import asyncio
import hashlib
import io
import json
from typing import Final

import httpx
from PIL import Image, ImageChops
from playwright.async_api import Locator, Page, Route, expect

from tests.end_to_end.console.browser import Tab
from tests.end_to_end.world import World

CLIP: Final = {"prompt": "a red kite", "duration": 2, "resolution": "480p"}
WORDS: Final = [{"text": "<b>Wind</b>", "start": 0, "end": 1.9}]
CAPTIONED: Final = {
    "version": 1,
    "steps": [
        {"name": "clip", "kind": "video", "params": CLIP},
        {
            "name": "subs",
            "kind": "captions",
            "params": {
                "video": {"step": "clip"},
                "words": WORDS,
                "burn": False,
                "sidecar": ["vtt"],
            },
        },
    ],
    "result": "clip",
    "outputs": {"vtt": {"step": "subs"}},
}
STOP_AT_ONE: Final = """
async (video) => {
  const track = video.textTracks[0];
  video.currentTime = 1;
  const ready = () => track.mode === "showing" && track.activeCues?.length && video.readyState > 1 && !video.seeking;
  while (!ready()) await new Promise(requestAnimationFrame);
  return track.activeCues[0].text;
}
"""
PLAY_TO_THE_END: Final = """
async (video) => {
  video.muted = true;
  video.playbackRate = 2;
  const ended = new Promise((done) => video.addEventListener("ended", done));
  await video.play();
  await ended;
  return video.currentTime;
}
"""
DRAWN_OR_NOT: Final = """
async () => {
  const { captionsOf } = await import("/console/execution/result.js");
  const file = { id: "asset_1", step: "subs", kind: "text", contentType: "text/vtt" };
  const film = { id: "asset_2", step: "subs", kind: "video", contentType: "video/mp4" };
  return [captionsOf({ assets: [film] }), captionsOf({ assets: [film, file] }).isNeeded,
          captionsOf({ assets: [{ ...film, step: "clip" }, file] }).isNeeded];
}
"""
DIFFERENT: Final = 80
"""Of 255: white letters on a dark box."""
LETTERS: Final = 100
"""Pixels."""


async def test_player_shows_captions_and_the_page_all_facts(world: World, tab: Tab) -> None:
    await world.settings(tiny_media=False)
    page = tab.page
    answer = await world.api.post("/api/executions", json={"plan": CAPTIONED})
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    world.ids.append(execution_id)
    seen = await world.ended(execution_id, seconds=90)
    assert seen["status"] == "completed", seen
    await tab.log_in(world.user.api_key, f"executions/{execution_id}")

    video = page.locator("video")
    assert await video.evaluate(STOP_AT_ONE) == "&lt;b&gt;Wind&lt;/b&gt;"
    shown = await _picture(video)
    await video.evaluate("(video) => { video.textTracks[0].mode = 'hidden'; }")
    hidden = await _picture(video)
    difference = ImageChops.difference(shown, hidden).convert("L").histogram()
    assert sum(difference[DIFFERENT:]) > LETTERS, "the captions are not drawn"
    assert await page.evaluate(DRAWN_OR_NOT) == [None, False, True]

    film = seen["result"]["outputs"]["result"]
    async with page.expect_download() as saved:
        await page.get_by_role("link", name="Download the video of clip").click()
    content = await asyncio.to_thread((await (await saved.value).path()).read_bytes)
    assert hashlib.sha256(content).hexdigest() == film["sha256"]
    await page.get_by_text("Raw document").click()
    assert json.loads(await page.locator(".raw pre").text_content() or "")["id"] == execution_id
    link = await page.get_by_role("link", name="Temporal Web UI").get_attribute("href")
    assert link is not None
    assert link.startswith(world.stack.config.temporal_ui_url)
    assert link.endswith(f"/workflows/{execution_id}")
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(link)).status_code == 200


async def _picture(element: Locator) -> Image.Image:
    """Return what is on the screen, once two pictures are the same."""
    last = b""
    while (now := await element.screenshot()) != last:
        last = now
    return Image.open(io.BytesIO(last)).convert("RGB")


async def test_address_that_expires_while_playing_is_replaced(world: World, tab: Tab) -> None:
    await world.settings(tiny_media=False)
    page = tab.page
    tab.allowed.append("403")  # Chromium logs each refused request
    execution_id = await world.generate()
    seen = await world.ended(execution_id)
    film = seen["result"]["outputs"]["result"]
    stable = f"/api/assets/{film['id']}/content"
    async with httpx.AsyncClient(trust_env=False) as http:
        content = (await http.get(film["url"])).content
    starts = await _expire(page, stable, content)
    document = json.dumps(seen).replace(film["url"], stable)  # as files of a private bucket have it
    await page.route(
        f"**/api/executions/{execution_id}", lambda route: route.fulfill(body=document)
    )
    await tab.log_in(world.user.api_key, f"executions/{execution_id}")
    video = page.locator("video")
    await expect(video).to_have_attribute("src", stable)
    assert await video.evaluate(PLAY_TO_THE_END) > 1.5
    assert starts.count(0) == 2, "the stable address is opened again"
    assert len(starts) > 2, "no request met the expired address"
    await expect(page.get_by_role("alert")).to_have_count(0)


async def _expire(page: Page, stable: str, content: bytes) -> list[int]:
    """Answer the first request with half of a film, and refuse the rest until it is opened again.

    Returns where each request starts in the film.
    """
    starts: list[int] = []
    half = len(content) // 2

    async def answer(route: Route) -> None:
        ranges = await route.request.header_value("range") or "bytes=0-"
        start = int(ranges.removeprefix("bytes=").partition("-")[0])
        starts.append(start)
        if starts.count(0) > 1:
            await route.continue_()
        elif start == 0:
            headers = {"content-range": f"bytes 0-{half - 1}/{len(content)}"}
            await route.fulfill(
                status=206, headers=headers, content_type="video/mp4", body=content[:half]
            )
        else:
            await route.fulfill(status=403, body="Request has expired")

    await page.route(f"**{stable}", answer)
    return starts
