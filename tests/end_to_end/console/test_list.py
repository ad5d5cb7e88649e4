"""The list of executions: many at once, selections, and very many rows."""

import re
from decimal import Decimal
from typing import Any, Final

import asyncpg
import pytest
from playwright.async_api import expect

from tests.end_to_end.console.browser import Tab, serious_violations
from tests.end_to_end.world import MODELS, World

MOST_ROWS: Final = 400
"""In the page at once: those of the page of the API that has just arrived, and those in sight."""
# Rows of executions alone, without money; triggers and foreign keys are off.
FILL: Final = """
INSERT INTO executions (execution_id, user_id, type, status, plan, request, metadata, progress, result,
    estimated_nano_usd, budget_month, deadline_at, created_at, queued_at, started_at, ended_at, updated_at)
SELECT 'exec_' || lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 19),
    $1, 'generate-image', 'completed', '{"steps": []}', '{"prompt": "a kite"}',
    jsonb_build_object('title', 'Row ' || n), 100, '{"assets": [], "outputs": {}}', 3000000,
    date_trunc('month', at AT TIME ZONE 'UTC')::date, at, at, at, at, at, at
FROM (SELECT n, now() - interval '30 days' * ($2 - n) / $2 AS at FROM generate_series(1, $2::bigint) AS g (n)) AS t
"""
FILL_TERMS: Final = """
INSERT INTO metadata_terms (user_id, term, execution_id)
SELECT e.user_id, t.term, e.execution_id FROM executions AS e, list_metadata_terms(e.metadata) AS t (term)
WHERE e.user_id = $1
"""
SCROLL_TO_THE_END: Final = """
async () => {
  let most = 0;
  while (document.querySelector(".more")) {
    scrollTo(0, document.body.scrollHeight);
    await new Promise(requestAnimationFrame);
    most = Math.max(most, document.querySelectorAll(".execution").length);
  }
  return most;
}
"""


async def test_selected_executions_are_cancelled_and_retried_with_their_sums_shown(
    world: World, tab: Tab
) -> None:
    page = tab.page
    done = await world.generate(metadata={"title": "Done"})
    await world.ended(done)
    await world.settings(video_seconds=600)
    ids = [await world.generate(**MODELS["fal"], metadata={"title": f"Long {n}"}) for n in (1, 2)]
    seen = [await world.until(each, job="video", state="submitted", seconds=60) for each in ids]
    spent, held = (_sum(seen, name) for name in ("settled", "held"))
    await tab.log_in(world.user.api_key)
    selection = page.get_by_role("group", name="Selection")
    await selection.get_by_label("Select all 3 shown").check()
    await page.get_by_label("Select Done").uncheck()
    await expect(selection).to_contain_text("2 selected")
    await selection.get_by_role("button", name="Cancel 2 …").click()
    dialog = page.get_by_role("dialog", name="Cancel 2 executions?")
    await expect(dialog).to_contain_text(f"Spent{spent}Comes backup to {held}")
    assert await serious_violations(page) == []
    await dialog.get_by_role("button", name="Cancel 2 executions").click()
    rows = page.locator(".execution")
    await expect(rows.filter(has_text="Cancelled")).to_have_count(2)
    for each in ids:
        assert (await world.ended(each))["status"] == "cancelled"

    await _limit(world, nano_usd=1)
    tab.allowed.append("402")  # Chromium logs each refused request
    await selection.get_by_label("Select all 3 shown").check()
    await selection.get_by_role("button", name="Retry 2 …").click()
    dialog = page.get_by_role("dialog", name="Retry 2 executions?")
    await expect(dialog).to_contain_text(f"Kept{spent} paid before")
    await dialog.get_by_role("button", name=f"Retry for at most {held}").click()
    refused = page.get_by_role("dialog", name="2 of 2 were refused")
    await expect(refused.get_by_role("listitem").filter(has_text="Long 1")).to_contain_text(
        re.compile("budget", re.IGNORECASE)
    )
    assert await serious_violations(page) == []
    await refused.get_by_role("button", name="Close").click()

    await _limit(world, nano_usd=None)
    await world.settings(video_seconds=0.5)
    await expect(selection).to_contain_text("2 selected")
    await selection.get_by_role("button", name="Retry 2 …").click()
    await dialog.get_by_role("button", name=f"Retry for at most {held}").click()
    await expect(rows.filter(has_text="Completed")).to_have_count(3)
    for each in ids:
        assert (await world.ended(each))["status"] == "completed"
        await world.check_money(each)


def _sum(seen: list[dict[str, Any]], name: str) -> str:
    """Return the sum of a cost as the console writes it."""
    exact = sum((Decimal(each["cost"][name]) for each in seen), Decimal())
    whole, _, fraction = f"{exact:f}".partition(".")
    return f"${whole}.{fraction.rstrip('0').ljust(2, '0')}"


async def _limit(world: World, *, nano_usd: int | None) -> None:
    sql = "UPDATE users SET monthly_nano_usd_limit = $2 WHERE user_id = $1 RETURNING user_id"
    await world.rows(sql, world.user.user_id, nano_usd)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("rows", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
async def test_long_list_keeps_few_rows_in_the_page(world: World, tab: Tab, rows: int) -> None:
    page = tab.page
    connection = await asyncpg.connect(world.owner_dsn)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(FILL, world.user.user_id, rows)
        await connection.execute(FILL_TERMS, world.user.user_id)
        await tab.log_in(world.user.api_key)
        await expect(page.get_by_role("link", name=f"Row {rows}", exact=True)).to_be_visible()
        most = await page.evaluate(SCROLL_TO_THE_END)
        assert most < MOST_ROWS
        await page.keyboard.press("End")
        await expect(page.get_by_role("link", name="Row 1", exact=True)).to_be_in_viewport()
        await expect(page.get_by_label(f"Select all {rows} shown")).to_be_visible()
        await page.keyboard.press("Home")
        await expect(page.get_by_role("link", name=f"Row {rows}", exact=True)).to_be_in_viewport()
        assert await page.locator(".execution").count() < MOST_ROWS

        await page.get_by_label("Metadata name").fill("title")
        await page.get_by_label("Metadata value").fill("Row 77")
        await page.get_by_role("button", name="Search").click()
        await expect(page.locator(".execution")).to_have_count(1)
        await expect(page.get_by_role("link", name="Row 77", exact=True)).to_be_visible()
    finally:
        for table in ("metadata_terms", "executions"):
            await connection.execute(f"DELETE FROM {table} WHERE user_id = $1", world.user.user_id)
        await connection.close()
