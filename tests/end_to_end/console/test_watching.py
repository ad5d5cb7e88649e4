"""From the login to the playing video, and what ends a session."""

import os
import re
import signal

from playwright.async_api import expect

from tests.end_to_end.console.browser import Tab
from tests.end_to_end.world import PROMPT, World

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


async def test_session_ends_by_logout_and_by_a_revoked_key(world: World, tab: Tab) -> None:
    page = tab.page
    tab.allowed.append("401")  # Chromium logs each refused request
    await tab.log_in(world.user.api_key)
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_text("You are logged out.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("API key")).to_be_visible()

    answer = await world.api.post("/api/keys", json={"name": "short", "scopes": ["read"]})
    assert answer.status_code == 201, answer.text
    await tab.log_in(answer.json()["apiKey"])
    assert (await world.api.delete(f"/api/keys/{answer.json()['id']}")).status_code == 204
    await world.generate()  # its event makes the page read the list
    await expect(page.get_by_role("dialog", name="The session has ended")).to_be_visible()
    await page.get_by_label("API key").fill(world.user.api_key)
    await page.get_by_role("dialog").get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("list").get_by_role("link", name=PROMPT)).to_be_visible()


async def test_one_time_link_logs_in_once(world: World, tab: Tab) -> None:
    page = tab.page
    tab.allowed.append("401")
    answer = await world.api.post("/console/tickets")
    assert answer.status_code == 201, answer.text
    url = answer.json()["url"]
    await page.goto(url)
    await expect(page.get_by_role("heading", name="Executions")).to_be_visible()
    assert "ticket" not in page.url
    await tab.context.clear_cookies()
    await page.goto("about:blank")
    await page.goto(url)
    await expect(page.get_by_role("alert")).to_contain_text("unknown, used or expired")


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


async def test_execution_of_another_user_is_not_shown(world: World, tab: Tab) -> None:
    page = tab.page
    tab.allowed.append("404")  # Chromium logs each refused request
    await tab.log_in(world.user.api_key, "executions/exec_01a22b7699e07265a7aafd5efa0d9319")
    await expect(page.get_by_role("alert")).to_contain_text("Not found")
