"""What every screen must have: accessibility, phone width, the keyboard, and exact money."""

from datetime import datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, Page, expect

from tests.end_to_end.console.browser import PHONE, Tab, serious_violations
from tests.end_to_end.console.conftest import files_origin
from tests.end_to_end.world import World

SCREENS: Final = (
    "executions",
    "executions/{id}",
    "create",
    "plan",
    "assets",
    "usage",
    "webhooks",
    "keys",
)
FIRST_SCREEN_BYTES: Final = 100_000
ZONE: Final = "Asia/Kathmandu"
AMOUNTS: Final = (
    "0", "0.3", "0.303", "1234567.89", "0.000000001", "999999999.999999999", "0.1", "0.2",
)  # fmt: skip
FETCHED_BYTES: Final = """
() => ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type))
  .reduce((total, { encodedBodySize }) => total + encodedBodySize, 0)
"""
MONEY: Final = """
async (amounts) => {
  const { dollars, sum, toNano, fromNano, minus } = await import("/console/shared/money.js");
  return { shown: amounts.map(dollars), total: sum(amounts), rest: minus(sum(amounts), ...amounts),
           same: amounts.every((each) => fromNano(toNano(each)) === each) };
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_screens_are_accessible_and_fit_a_phone(
    world: World, browser: Browser, scheme: str
) -> None:
    execution_id = await world.generate()
    await world.ended(execution_id)
    api_url = world.stack.config.api_url
    async with Tab.open(
        browser, api_url, files_origin(world), color_scheme=scheme, timezone_id=ZONE
    ) as tab:
        await tab.page.goto("/console/")
        await expect(tab.page.get_by_label("API key")).to_be_visible()
        assert await serious_violations(tab.page) == []
        await tab.log_in(world.user.api_key)
        width, height = PHONE
        for path in SCREENS:
            await tab.page.goto(f"/console/#/{path.format(id=execution_id)}")
            await _until_shown(tab.page)
            assert await serious_violations(tab.page) == [], path
            before = tab.page.viewport_size
            assert before is not None
            await tab.page.set_viewport_size({"width": width, "height": height})
            assert await tab.has_no_sideways_scroll(), path
            await tab.page.set_viewport_size(before)

        await tab.page.goto(f"/console/#/executions/{execution_id}")
        created = (await world.get(execution_id))["createdAt"]
        local = datetime.fromisoformat(created).astimezone(ZoneInfo(ZONE))
        facts = tab.page.get_by_role("region", name="Cost and facts")
        await expect(facts).to_contain_text(f"{local:%H:%M}")


async def _until_shown(page: Page) -> None:
    await expect(page.locator(".panel, .execution").first).to_be_visible()
    await expect(page.get_by_text("Loading")).to_have_count(0)


async def test_keyboard_reaches_an_execution_and_the_focus_follows(world: World, tab: Tab) -> None:
    page = tab.page
    await world.ended(await world.generate(metadata={"title": "By keyboard"}))
    await tab.log_in(world.user.api_key)
    await expect(page.get_by_role("link", name="By keyboard")).to_be_visible()
    assert 0 < await page.evaluate(FETCHED_BYTES) < FIRST_SCREEN_BYTES
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    link = page.get_by_role("link", name="By keyboard")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await link.evaluate("(element) => element === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1, name="By keyboard")).to_be_visible()
    await expect(page.get_by_role("main")).to_be_focused()


async def test_money_is_exact(world: World, tab: Tab) -> None:
    await tab.page.goto("/console/")
    result = await tab.page.evaluate(MONEY, list(AMOUNTS))
    total = sum(map(Decimal, AMOUNTS))
    assert result["shown"] == [_dollars(Decimal(each)) for each in AMOUNTS]
    assert (Decimal(result["total"]), result["rest"], result["same"]) == (total, "0", True)


def _dollars(amount: Decimal) -> str:
    decimals = max(2, -int(amount.as_tuple().exponent))
    return f"${amount:,.{decimals}f}"
