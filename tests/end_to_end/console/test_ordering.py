"""Orders from the console: price before, one purchase, uploads, refusals, cancel, retry, choice."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from tests.end_to_end import test_approvals
from tests.end_to_end.console.browser import Tab, serious_violations
from tests.end_to_end.world import MODELS, PROMPT, World
from tests.support.media_files import picture
from tests.support.node import ROOT, link_package, needs_node
from tests.support.receiver import reply

SCRIPT = 'onerror="throw new Error(1)">'
PROBE = f'<img src="/console/none.png" {SCRIPT}'
"""Markup that a page must show as text: as an element it would fail to load, and run a script."""


async def _quote(world: World, body: dict[str, Any]) -> dict[str, Any]:
    answer = await world.api.post("/api/quotes", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _number_of_executions(world: World) -> int:
    sql = "SELECT count(*) FROM executions WHERE user_id = $1"
    (row,) = await world.rows(sql, world.user.user_id)
    return row["count"]


async def test_order_shows_its_price_and_a_double_click_buys_once(world: World, tab: Tab) -> None:
    page = tab.page
    body = {"prompt": PROBE, "duration": 2, "resolution": "480p"}
    worst = (await _quote(world, body))["worst"]
    await tab.log_in(world.user.api_key, "create")
    await page.get_by_label("What the video shows").fill(PROBE)
    await page.get_by_label("Duration in seconds").select_option("2")
    await page.get_by_label("Resolution").select_option("480p")
    button = page.get_by_role("button", name=f"Order for at most ${worst}")
    await expect(button).to_be_enabled()
    await button.dblclick()

    await page.wait_for_url(re.compile("executions/exec_"))
    execution_id = page.url.rpartition("/")[2]
    world.ids.append(execution_id)
    await world.ended(execution_id)
    assert await _number_of_executions(world) == 1
    await expect(page.get_by_role("region", name="Result")).to_be_visible()
    await world.check_money(execution_id)


async def test_uploaded_picture_is_not_bought(world: World, tab: Tab) -> None:
    page = tab.page
    await tab.log_in(world.user.api_key, "create")
    await page.get_by_label("What the video shows").fill(PROMPT)
    price = page.get_by_role("region", name="Price")
    await expect(price.get_by_role("rowheader", name="image")).to_be_visible()
    name = "<b>boat</b>.png"
    await page.get_by_label("First picture (optional)").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": picture("PNG")}
    )
    await expect(page.get_by_text(name)).to_be_visible()
    await expect(price.get_by_role("rowheader", name="image")).to_be_hidden()
    await expect(price.get_by_role("rowheader", name="video")).to_be_visible()


@needs_node
async def test_order_as_code_runs_in_each_language(world: World, tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    prompt = """it's a "kite" & <b> $HOME \\ é"""
    link_package(tmp_path)
    await tab.log_in(world.user.api_key, "create")
    await page.get_by_label("What the video shows").fill(prompt)
    await page.get_by_label("Duration in seconds").select_option("2")
    await page.get_by_label("Resolution").select_option("480p")
    await _run_as_code(world, tab, tmp_path, before=0)
    await page.get_by_role("link", name="Plan").click()
    step = {"name": "picture", "kind": "image", "params": {"prompt": prompt}}
    await page.get_by_label("The plan as JSON").fill(json.dumps({"version": 1, "steps": [step]}))
    await _run_as_code(world, tab, tmp_path, before=3)
    listed = (await world.api.get("/api/executions")).json()["data"]
    assert [each["type"] for each in listed] == ["plan"] * 3 + ["generate-video"] * 3
    assert {each["prompt"] for each in listed[3:]} == {prompt}
    for alike in (listed[:3], listed[3:]):
        ends = [await world.ended(each["id"]) for each in alike]
        assert len({end["cost"]["estimated"] for end in ends}) == 1


async def _run_as_code(world: World, tab: Tab, folder: Path, *, before: int) -> None:
    """Run the shown programs in turn; each makes one order. before: the number of orders."""
    code = tab.page.get_by_role("region", name="The same order as code")
    settings = {
        "TAKEONE_BASE_URL": world.stack.config.api_url,
        "TAKEONE_API_KEY": world.user.api_key,
        "PYTHONPATH": str(ROOT / "clients/python"),
        "NO_PROXY": "*",
        "PATH": os.environ["PATH"],
    }
    programs = {
        "curl": ["bash", "-c"],
        "Python": [sys.executable, "-c"],
        "TypeScript": ["node", "--input-type=module", "-e"],
    }
    for number, (language, command) in enumerate(programs.items(), before + 1):
        await code.get_by_role("button", name=language).click()
        text = await code.locator("pre").text_content()
        assert text is not None
        program = await asyncio.create_subprocess_exec(*command, text, cwd=folder, env=settings)
        assert await program.wait() == 0, text
        assert await _number_of_executions(world) == number


async def test_texts_of_providers_and_receivers_are_shown_as_text(world: World, tab: Tab) -> None:
    page = tab.page
    world.receiver.answers = [reply(500, PROBE.encode())]
    params = {"seconds": 0.1, "message": PROBE}
    fault = await world.fault("fail_after", provider="replicate", times=-1, params=params)
    execution_id = await world.generate(prompt=PROBE, metadata={PROBE: PROBE})
    seen = await world.ended(execution_id)
    assert await world.fired(fault) > 0
    assert SCRIPT in seen["error"]["message"]
    await tab.log_in(world.user.api_key, f"executions/{execution_id}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(PROBE)
    await expect(page.get_by_role("region", name="Why it failed")).to_contain_text(SCRIPT)
    await expect(page.get_by_role("region", name="Steps")).to_contain_text(SCRIPT)
    await expect(page.get_by_role("region", name="Timeline")).to_contain_text(SCRIPT)
    await expect(page.get_by_role("region", name="Webhook")).to_contain_text(PROBE)
    assert await serious_violations(page) == []
    await page.goto("/console/#/executions")
    await expect(page.locator(".execution")).to_contain_text(PROBE)
    await page.goto("/console/#/webhooks")
    await page.get_by_role("button", name="execution.failed").click()
    await expect(page.get_by_role("dialog", name="Webhook")).to_contain_text(PROBE)


async def test_refused_order_keeps_the_form_and_the_reason(world: World, tab: Tab) -> None:
    page = tab.page
    tab.allowed.append("402")  # Chromium logs each refused request
    limit = "UPDATE users SET monthly_nano_usd_limit = 1 WHERE user_id = $1 RETURNING user_id"
    await world.rows(limit, world.user.user_id)
    await tab.log_in(world.user.api_key, "create")
    await page.get_by_label("What the video shows").fill(PROMPT)
    await expect(page.get_by_text("left of this month's")).to_be_visible()
    await page.get_by_role("button", name="Order for at most").click()
    await expect(page.get_by_role("alert")).to_contain_text("Budget exceeded")
    await expect(page.get_by_label("What the video shows")).to_have_value(PROMPT)
    assert await _number_of_executions(world) == 0


async def test_cancel_and_retry_show_their_money_before(world: World, tab: Tab) -> None:
    page = tab.page
    await world.settings(video_seconds=600)
    metadata = {"title": "A storm", "note": PROBE}
    execution_id = await world.generate(**MODELS["fal"], metadata=metadata)
    running = await world.until(execution_id, job="video", state="submitted", seconds=60)
    await tab.log_in(world.user.api_key, f"executions/{execution_id}")
    await expect(page.get_by_text(PROBE)).to_be_visible()
    await page.get_by_role("button", name="Cancel …").click()
    dialog = page.get_by_role("dialog", name="Cancel this execution?")
    spent, held = running["cost"]["settled"], running["cost"]["held"]
    await expect(dialog).to_contain_text(f"Spent${spent}")
    await expect(dialog).to_contain_text(f"up to ${held.ljust(4, '0')}")
    await dialog.get_by_role("button", name="Cancel it").click()
    await expect(page.get_by_text("Cancelled", exact=True).first).to_be_visible()
    assert (await world.ended(execution_id))["status"] == "cancelled"

    await world.settings(video_seconds=1)
    await page.get_by_role("button", name="Retry …").click()
    dialog = page.get_by_role("dialog", name="Retry this execution?")
    await expect(dialog).to_contain_text(f"Keptimage (${spent} paid)")
    await dialog.get_by_role("button", name=f"Retry for at most ${held.ljust(4, '0')}").click()
    await expect(page.get_by_role("region", name="Result")).to_be_visible()
    await world.ended(execution_id)
    await world.check_money(execution_id)


async def test_choice_is_made_with_the_rest_of_the_cost_shown(world: World, tab: Tab) -> None:
    page = tab.page
    execution_id = await test_approvals.order(world)
    (waiting,) = await _waiting_for(world, execution_id)
    await tab.log_in(world.user.api_key, f"executions/{execution_id}")
    option = waiting["options"][0]["step"]
    await page.get_by_role("radio", name=option).check()
    assert await serious_violations(page) == []
    worst = waiting["rest"]["worst"].ljust(4, "0")
    await page.get_by_role("button", name=f"Take {option}, then pay at most ${worst}").click()
    await expect(page.get_by_role("region", name="Result")).to_be_visible()
    await expect(page.get_by_role("region", name="Webhook")).to_contain_text("answered 200")
    await page.get_by_role("button", name="Send again").click()
    await expect(page.get_by_text("answered 200")).to_have_count(2)


async def _waiting_for(world: World, execution_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    async def waits() -> bool:
        found[:] = (await world.get(execution_id))["waitingFor"]
        return bool(found)

    await world.until_true(waits, "it does not wait for a decision", seconds=60)
    return found
