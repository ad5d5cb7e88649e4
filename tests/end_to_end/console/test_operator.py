"""The operator's console in the browser: what is found there, and what is done about it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from tests.end_to_end.console.browser import PHONE, Tab, serious_violations
from tests.end_to_end.console.operating import Operating
from tests.end_to_end.world import MODELS, World

SCREENS = ("overview", "providers", "queues", "jobs", "executions", "webhooks", "audit")


async def act(operator_tab: Tab, button: Locator, name: str, **values: str) -> Locator:
    """Open an action, enter values by their labels, and return the dialog with the dry run."""
    await button.click()
    dialog = operator_tab.page.get_by_role("dialog")
    for label, value in values.items():
        await dialog.get_by_label(label.replace("_", " ")).fill(value)
    await dialog.get_by_role("button", name="Show what it does").click()
    await expect(dialog).to_contain_text("Nothing has been changed yet.")
    await expect(dialog.get_by_role("button", name=f"Confirm: {name}")).to_be_enabled()
    return dialog


async def confirm(dialog: Locator) -> None:
    await dialog.get_by_role("button", name=re.compile("Confirm")).click()
    await expect(dialog).to_contain_text("Done.")
    await dialog.get_by_role("button", name="Close").click()


async def audited(world: World, target: str) -> list[tuple[str, str, Any]]:
    sql = "SELECT actor, action, detail ->> 'note' AS note FROM audit_log WHERE target = $1"
    return [(row["actor"], row["action"], row["note"]) for row in await world.rows(sql, target)]


@pytest.mark.guarantee("G5")
async def test_refusing_provider_is_found_and_reset(world: World, operator_tab: Tab) -> None:
    page = operator_tab.page
    await world.rows("DELETE FROM audit_log WHERE target = 'fal' RETURNING 1")
    await world.fault("refuse", provider="fal", operation="create", params={"status": 402})
    await world.generate(**MODELS["fal"])
    attention = page.get_by_role("region", name="Needs you")
    await attention.get_by_role("link", name=re.compile("fal refuses paid calls")).click()
    row = page.get_by_role("row").filter(has_text="provider_credit_exhausted")
    dialog = await act(
        operator_tab, row.get_by_role("button", name="Reset fal"), "Reset", Note="invoice paid"
    )
    await expect(dialog).to_contain_text("takeone-admin providers reset fal --note 'invoice paid'")
    sql = "SELECT tripped_at FROM provider_states WHERE provider = 'fal'"
    assert (await world.rows(sql))[0]["tripped_at"] is not None
    assert await audited(world, "fal") == []

    await confirm(dialog)
    await expect(row).to_have_count(0)
    assert await audited(world, "fal") == [("Ada (console)", "providers reset", "invoice paid")]


@pytest.mark.guarantee("G1")
async def test_unknown_send_is_adopted(world: World, operator_tab: Tab) -> None:
    page = operator_tab.page
    await world.settings(callbacks=False)
    await world.fault("error_5xx_before_accept", provider="fal", operation="list", times=-1)
    execution_id = await world.caught(
        "drop_after_accept", provider="fal", operation="create", body=MODELS["fal"]
    )
    await world.until(execution_id, job="image", state="unknown")
    (job,) = [row for row in await world.job_rows(execution_id) if row["step_name"] == "image"]
    (bought,) = await world.bill_of(execution_id)  # the dashboard of the provider

    await page.goto(page.url.split("#")[0] + "#/jobs?group=unknown")
    row = page.get_by_role("row").filter(has_text=execution_id[:14])
    dialog = await act(
        operator_tab,
        row.get_by_role("button", name=f"Adopt {job['job_id']}"),
        "Adopt",
        Id_of_the_job_at_the_provider=bought["provider_job_id"],
        Note="seen in the dashboard",
    )
    await expect(dialog).to_contain_text("its execution continues with it")
    await confirm(dialog)
    await expect(row).to_have_count(0)
    assert (await world.until_final(execution_id))["status"] == "completed"
    await world.check_money(execution_id)
    await world.check_bought({execution_id: 2})


@pytest.mark.guarantee("G5")
@pytest.mark.timeout(180)
async def test_lost_webhooks_are_sent_again(
    world: World, operator: Operating, operator_tab: Tab
) -> None:
    page = operator_tab.page
    execution_id = await world.generate()
    first = await world.webhook(execution_id)
    await world.until_final(execution_id)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    await page.goto(f"{operator.origin}/operator/#/webhooks")
    await page.get_by_label("User").fill(world.user.user_id)
    await page.get_by_label("State").select_option("delivered")
    await page.get_by_label("Created from").fill(since)
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("row").filter(has_text=first["id"])).to_be_visible()
    dialog = await act(
        operator_tab,
        page.get_by_role("button", name="Send all that match"),
        "Send all that match",
        Note="lost by the receiver",
    )
    await expect(dialog.locator("dl")).to_contain_text("Events1")
    assert len(world.webhooks_of(execution_id)) == 1
    await confirm(dialog)

    async def came_again() -> bool:
        return len(world.webhooks_of(execution_id)) == 2

    await world.until_true(came_again, "the webhook did not come again", seconds=90)


@pytest.mark.guarantee("G4")
async def test_executions_are_cancelled_by_filter(
    world: World, operator: Operating, operator_tab: Tab
) -> None:
    page = operator_tab.page
    await world.settings(video_seconds=600)
    execution_id = await world.generate()
    await world.until(execution_id, job="video", state="submitted", seconds=60)
    await page.goto(f"{operator.origin}/operator/#/executions?user={world.user.user_id}")
    await expect(page.get_by_role("row").filter(has_text=execution_id[:14])).to_be_visible()
    cancel = page.get_by_role("button", name="Cancel all that match")
    dialog = await act(operator_tab, cancel, "Cancel all that match", Reason="leaked key")
    (held,) = await world.rows(
        "SELECT held_nano_usd FROM charges WHERE execution_id = $1 AND state = 'held'", execution_id
    )
    shown = f"${held['held_nano_usd'] / 10**9:.2f}"
    await expect(dialog.locator("dt", has_text="Held").locator("..")).to_contain_text(shown)
    assert (await world.get(execution_id))["status"] == "running"
    await confirm(dialog)
    assert (await world.ended(execution_id, seconds=90))["status"] == "cancelled"


async def test_screens_are_accessible_and_fit_a_phone(
    world: World, operator: Operating, operator_tab: Tab
) -> None:
    page = operator_tab.page
    await world.settings(video_seconds=600)
    execution_id = await world.generate()
    await world.until(execution_id, job="video", state="submitted", seconds=60)
    await world.rows(
        "INSERT INTO submit_pauses (scope, reason) VALUES ('model/m', 'x') RETURNING 1"
    )
    try:
        for path in SCREENS:
            await page.goto(f"{operator.origin}/operator/#/{path}")
            await expect(page.locator("table, .panel p").first).to_be_visible()
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                assert await serious_violations(page) == [], (path, scheme)
            await page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
            assert await operator_tab.has_no_sideways_scroll(), path
            await page.set_viewport_size({"width": 1280, "height": 860})
        await page.goto(f"{operator.origin}/operator/#/providers")
        await page.get_by_role("button", name="Resume model/m").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await serious_violations(page) == []
    finally:
        await world.rows("DELETE FROM submit_pauses RETURNING 1")


async def test_link_is_needed_and_works_once(operator: Operating, operator_tab: Tab) -> None:
    page = operator_tab.page
    operator_tab.allowed.append("401")  # Chromium logs each refused request
    await page.reload()
    await expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_text("takeone-admin console-link")).to_be_visible()
    used = operator.new_link()
    await page.goto(used)
    await page.get_by_role("navigation", name="Screens").wait_for()
    await page.get_by_role("button", name="Log out").click()
    await page.goto("about:blank")
    await page.goto(used)
    await expect(page.get_by_role("alert")).to_contain_text("The link has been used")
