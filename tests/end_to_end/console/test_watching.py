"""From an order to the playing video, and an API that is restarted in between."""

import os
import re
import signal

from playwright.async_api import expect

from tests.end_to_end.console.browser import Tab
from tests.end_to_end.world import World

PLAYS = """
async (video) => {
  video.muted = true;
  await video.play();
  await new Promise((done) => { video.requestVideoFrameCallback(() => video.requestVideoFrameCallback(done)); });
  return video.currentTime;
}
"""


async def test_execution_is_watched_until_its_video_plays(world: World, tab: Tab) -> None:
    await world.settings(tiny_media=False, image_seconds=0.5, video_seconds=3)
    page = tab.page
    await tab.log_in(world.user.api_key)
    await expect(page.get_by_text("Nothing has been made yet.")).to_be_visible()

    execution_id = await world.generate(metadata={"title": "A red kite"})
    row = page.get_by_role("listitem").filter(has_text="A red kite")
    await expect(row).to_contain_text("Running")
    await row.get_by_role("link").click()
    await expect(page.get_by_role("heading", name="A red kite")).to_be_visible()
    bar = page.get_by_role("progressbar", name="Progress")
    await expect(bar).to_have_attribute("value", re.compile(r"[1-9]\d?"))

    video = page.locator("video")
    await expect(video).to_be_visible()
    assert await video.evaluate(PLAYS) > 0
    cost = (await world.get(execution_id))["cost"]
    assert await world.check_money(execution_id) > 0
    await expect(page.get_by_role("region", name="Cost and facts")).to_contain_text(
        f"Paid${cost['settled'].ljust(4, '0')}"
    )
    await expect(page.get_by_role("list").filter(has_text="Ended: completed")).to_be_visible()


async def test_page_continues_after_a_restart_of_the_api(world: World, tab: Tab) -> None:
    page = tab.page
    tab.allowed += ["net::", "503", "502"]  # Chromium logs each failed request
    await world.settings(video_seconds=6)
    execution_id = await world.generate()
    await world.until(execution_id, job="video", state="submitted", seconds=60)
    await tab.log_in(world.user.api_key, f"executions/{execution_id}")
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await expect(page.get_by_role("region", name="Steps")).to_be_visible()
    os.kill(world.stack.pid_of("API"), signal.SIGKILL)
    await expect(page.get_by_text("Reconnecting")).to_be_visible()
    await expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=60_000)
    await world.ended(execution_id)
    await expect(page.get_by_role("region", name="Result")).to_be_visible()
    await world.check_bought({execution_id: 2})
