"""Plans, files, usage, keys and webhooks in the browser."""

import json
import re
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.async_api import expect

from tests.end_to_end.console.browser import Tab, serious_violations
from tests.end_to_end.world import MODELS, World


async def test_plan_shows_errors_at_their_steps(world: World, tab: Tab) -> None:
    page = tab.page
    tab.allowed.append("422")  # Chromium logs each refused request
    await tab.log_in(world.user.api_key, "plan")
    steps = page.get_by_role("region", name="Steps").get_by_role("listitem")
    order = page.get_by_role("button", name=re.compile("Order for at most"))
    names = await page.get_by_label("Examples").locator("option").all_text_contents()
    for name in names[1:]:
        await page.get_by_label("Examples").select_option(label=name)
        await expect(order).to_be_enabled()
        await expect(page.get_by_role("alert")).to_have_count(0)

    text = page.get_by_label("The plan as JSON")
    await text.fill("{")
    await expect(page.get_by_role("alert")).to_contain_text("The text is not JSON")
    picture = {
        "name": "picture",
        "kind": "image",
        "params": {"prompt": "<img src=x onerror=alert(1)>"},
    }
    params: dict[str, Any] = {"prompt": "a boat", "image": {"step": "pictur"}, "duration": 2}
    clip = {
        "name": "clip",
        "kind": "video",
        "params": params,
        "model": MODELS["fal"]["videoModel"],
    }
    await text.fill(json.dumps({"version": 1, "steps": [picture, clip]}))
    await expect(steps.filter(has_text="clip").get_by_role("alert")).to_contain_text("picture")
    await expect(steps.filter(has_text="uses pictur")).to_have_count(1)
    await expect(order).to_have_count(0)

    assert await serious_violations(page) == []
    params["image"] = {"step": "picture"}
    await text.fill(json.dumps({"version": 1, "steps": [picture, clip]}))
    await order.click()
    await expect(page).to_have_url(re.compile(r"executions/exec_"))
    execution_id = page.url.rpartition("/")[2]
    assert (await world.ended(execution_id))["status"] == "completed"


async def test_file_is_uploaded_and_deleted(world: World, tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    file = tmp_path / "<b>kite.png"
    Image.new("RGB", (320, 180), "teal").save(file)
    await tab.log_in(world.user.api_key, "assets")
    await page.get_by_label("Upload files").set_input_files(file)
    card = page.get_by_role("listitem").filter(has_text="320")
    await expect(card).to_contain_text("image")
    await page.get_by_role("button", name="Outputs").click()
    await expect(card).to_have_count(0)
    await page.get_by_role("button", name="Uploads").click()
    await card.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    await expect(page.get_by_text("No file is here yet.")).to_be_visible()


async def test_usage_is_the_money_of_the_month(world: World, tab: Tab) -> None:
    page = tab.page
    execution_id = await world.generate()
    await world.ended(execution_id)
    usage = (await world.api.get("/api/usage")).json()
    await tab.log_in(world.user.api_key, "usage")
    budget = page.get_by_role("region", name="Budget")
    await expect(budget).to_contain_text(f"${usage['usd']['settled'].ljust(4, '0')} paid")
    for model in usage["byModel"]:
        row = page.get_by_role("row").filter(has_text=model["model"])
        await expect(row).to_contain_text(f"${model['settled'].ljust(4, '0')}")
    async with page.expect_download() as saved:
        await page.get_by_role("link", name="Save as CSV").click()
    lines = (await (await saved.value).path()).read_text().splitlines()
    day = usage["byDay"][0]
    assert lines[1].split(",")[:3] == [day["date"], day["settled"], day["held"]]
    await page.get_by_role("link", name="Month before").click()
    await expect(page.get_by_text("Nothing was ordered in this month.")).to_be_visible()


async def test_key_is_made_limited_and_revoked(world: World, tab: Tab) -> None:
    page = tab.page
    await tab.log_in(world.user.api_key, "keys")
    await page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("<script>alert(1)</script>")
    await dialog.get_by_label("generate").check()
    await dialog.get_by_label("At most a day").fill("1.5")
    assert await serious_violations(page) == []
    await dialog.get_by_role("button", name="Make the key").click()
    secret = page.get_by_role("status").filter(has_text="only time")
    made = await secret.get_by_role("button", name="Copy").text_content()
    assert made is not None
    current = await world.api.get("/api/keys/current", headers={"authorization": f"Bearer {made}"})
    assert current.json()["spendLimit"] == {"daily": "1.5", "monthly": None}
    await secret.get_by_role("button", name="I have stored it").click()
    await expect(secret).to_have_count(0)
    row = page.get_by_role("row").filter(has_text="<script>")
    await expect(row).to_contain_text("$1.50 a day")
    await row.get_by_role("button", name="Revoke").click()
    await dialog.get_by_role("button", name="Revoke it").click()
    await expect(row).to_contain_text("revoked")
    refused = await world.api.get("/api/keys/current", headers={"authorization": f"Bearer {made}"})
    assert refused.status_code == 401


async def test_endpoint_is_tested_and_a_webhook_sent_again(world: World, tab: Tab) -> None:
    page = tab.page
    await tab.log_in(world.user.api_key, "webhooks")
    await page.get_by_label("Address of the new endpoint").fill(world.receiver.url)
    await page.get_by_role("button", name="Add endpoint").click()
    row = (
        page.get_by_role("region", name="Endpoints").get_by_role("row").filter(has_text="127.0.0.1")
    )
    await row.get_by_role("button", name="Test").click()
    dialog = page.get_by_role("dialog", name="Webhook")
    await expect(dialog).to_contain_text("endpoint.test")
    await expect(dialog.get_by_role("list")).to_contain_text("answered 200", timeout=60_000)
    assert await serious_violations(page) == []
    await dialog.get_by_role("button", name="Send again").click()
    await expect(dialog.get_by_text("answered 200")).to_have_count(2, timeout=60_000)
    await dialog.get_by_role("button", name="Close").click()
    await row.get_by_role("button", name="New secret").click()
    await expect(page.get_by_role("status").filter(has_text="only time")).to_contain_text("whsec_")
    await row.get_by_role("button", name="Disable").click()
    await expect(row).to_contain_text("disabled: by request")
    await row.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    await expect(row).to_have_count(0)
