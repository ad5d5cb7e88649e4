"""The operator's console in the browser: what is found there, and what is done about it."""

import re

from playwright.async_api import expect

from tests.end_to_end.console.browser import Tab
from tests.end_to_end.world import MODELS, World


async def test_overview_leads_to_a_refusing_provider(world: World, operator_tab: Tab) -> None:
    page = operator_tab.page
    await world.fault("refuse", provider="fal", operation="create", params={"status": 402})
    await world.generate(**MODELS["fal"])
    attention = page.get_by_role("region", name="Needs you")
    await attention.get_by_role("link", name=re.compile("fal refuses paid calls")).wait_for()
    await expect(page.get_by_role("region", name="Reconciler")).to_contain_text("yes")
