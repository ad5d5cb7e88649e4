"""Write pictures of every screen: `python -m tests.end_to_end.console.screenshots [SCREEN…]`.

It needs Chromium and starts a stack of its own. The pictures are in `var/console/`. Without names
of screens, small ones are written to `docs/images/console/`, too.
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.async_api import Browser, expect

from deploy.local.config import Config
from deploy.local.stack import Stack, prepared
from tests.end_to_end.console.browser import DESKTOP, PHONE, Tab, open_browser
from tests.end_to_end.console.conftest import files_origin
from tests.end_to_end.console.operating import Operating, operating
from tests.end_to_end.world import MODELS, World
from tests.support.folders import data_folder
from tests.support.stack_ports import free_receivers, free_stack_ports

FOLDER: Final = Path(__file__).parents[3] / "var" / "console"
OPERATOR_SCREENS: Final = (
    "overview",
    "providers",
    "queues",
    "jobs",
    "executions",
    "webhooks",
    "audit",
)
OPERATOR_PUBLISHED: Final = ("operator-overview", "operator-dry-run")
PUBLISHED: Final = Path(__file__).parents[3] / "docs" / "images" / "console"
WIDTH: Final = 1000
TILES: Final = {"dark": (4, 500, 400), "phone": (6, 240, 520)}
"""Sheets of all screens in a look: pictures in a row, and the pixels of each, across and down."""
QUALITY: Final = 55
LOOKS: Final = {
    "light": (DESKTOP, "light"),
    "dark": (DESKTOP, "dark"),
    "phone": (PHONE, "light"),
}

ACCOUNT: Final[dict[str, dict[str, Any]]] = {
    "/api/keys": {
        "name": "website",
        "scopes": ["read", "generate"],
        "spendLimit": {"daily": "5", "monthly": None},
    },
}
OTHERS: Final = {
    "/api/generate-audio": {"text": "It never asks where the wind comes from."},
    "/api/generate-image": {"prompt": "A harbour at dawn, seen from a boat"},
}


async def main(wanted: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with data_folder("takeone-console-") as folder:
        config = Config(
            folder=folder, ports=free_stack_ports(), live=None, receivers=free_receivers()
        )
        async with prepared(config, print) as stack, open_browser() as browser:
            await stack.start()
            names = await take(stack, browser, wanted)
    if not wanted:
        publish(names)


def publish(names: list[str]) -> None:
    """Write each screen in light, and the other looks as one sheet each."""
    PUBLISHED.mkdir(parents=True, exist_ok=True)
    for name in (*names, *OPERATOR_PUBLISHED):
        _save(_scaled(name, "light", WIDTH, WIDTH), name)
    for look, (columns, width, height) in TILES.items():
        rows = -(-len(names) // columns)
        sheet = Image.new("RGB", (columns * width, rows * height), "#8a8a8a")
        for place, name in enumerate(names):
            at = (place % columns * width, place // columns * height)
            sheet.paste(_scaled(name, look, width - 8, height - 8), at)
        _save(sheet, look)


def _scaled(name: str, look: str, width: int, height: int) -> Image.Image:
    """Return the upper part of a screen."""
    picture = Image.open(FOLDER / f"{name}-{look}.png").convert("RGB")
    scaled = picture.resize((width, round(picture.height * width / picture.width)))
    return scaled.crop((0, 0, width, min(height, scaled.height)))


def _save(picture: Image.Image, name: str) -> None:
    picture.save(PUBLISHED / f"{name}.webp", quality=QUALITY, method=6)


async def take(stack: Stack, browser: Browser, wanted: list[str]) -> list[str]:
    """Take pictures of a user's screens in every look. Return the names of the screens."""
    async with World.open(stack) as world:
        user = "UPDATE users SET name = 'Ada', monthly_nano_usd_limit = 20e9 WHERE user_id = $1 RETURNING 1"
        await world.rows(user, world.user.user_id)
        for path, body in ACCOUNT.items():
            assert (await world.api.post(path, json=body)).is_success
        await world.settings(image_seconds=0.5, video_seconds=1)
        for path, body in OTHERS.items():
            answer = await world.api.post(path, json=body)
            await world.ended(answer.json()["executionId"])
        done = await world.generate(metadata={"title": "A red kite over a grey harbour"})
        await world.ended(done)
        await world.fault("fail_after", provider="*", times=-1)
        failed = await world.generate(metadata={"title": "A lighthouse in a storm"})
        await world.ended(failed)
        await world.control.delete("/faults")
        await world.settings(video_seconds=600)
        running = await world.generate(metadata={"title": "A paper boat in the rain"})
        await world.until(running, job="video", state="submitted", seconds=90)
        paths = {
            "executions": "executions",
            "execution": f"executions/{done}",
            "failed": f"executions/{failed}",
            "running": f"executions/{running}",
            "create": "create",
            "plan": "plan",
            "assets": "assets",
            "usage": "usage",
            "webhooks": "webhooks",
            "keys": "keys",
        }
        for look, (size, scheme) in LOOKS.items():
            async with Tab.open(
                browser, stack.config.api_url, files_origin(world), size=size, color_scheme=scheme
            ) as tab:
                await _one_look(tab, world.user.api_key, look, paths, wanted)
        await _operator(world, browser, wanted)
        return ["login", *paths]


async def _one_look(
    tab: Tab, api_key: str, look: str, paths: dict[str, str], wanted: list[str]
) -> None:
    await tab.page.goto("/console/")
    await tab.page.get_by_label("API key").wait_for()
    await tab.page.screenshot(path=FOLDER / f"login-{look}.png")
    await tab.log_in(api_key)
    for name, path in paths.items():
        if wanted and name not in wanted:
            continue
        await tab.page.goto(f"/console/#/{path}")
        await tab.page.get_by_role("heading", level=1).wait_for()
        if name == "create":
            await tab.page.get_by_label("What the video shows").fill("A paper boat in the rain")
            await tab.page.get_by_text("expected").wait_for()
        if name == "executions":
            await tab.page.get_by_label("Select A lighthouse in a storm").check()
        await tab.page.wait_for_timeout(1200)  # pictures are decoded
        await tab.page.screenshot(path=FOLDER / f"{name}-{look}.png", full_page=True)


async def _operator(world: World, browser: Browser, wanted: list[str]) -> None:
    """Write pictures of the operator's console, with a refusing provider and a stuck send."""
    await world.settings(callbacks=False)
    await world.fault("error_5xx_before_accept", provider="fal", operation="list", times=-1)
    stuck = await world.caught(
        "drop_after_accept", provider="fal", operation="create", body=MODELS["fal"]
    )
    await world.until(stuck, job="image", state="unknown")
    refusing = await world.fault(
        "refuse", provider="replicate", operation="create", params={"status": 402}
    )
    await world.generate(**MODELS["replicate"])
    await world.until_fired(refusing)
    async with operating(world.stack) as operator:
        for look, (size, scheme) in LOOKS.items():
            async with Tab.open(browser, operator.origin, size=size, color_scheme=scheme) as tab:
                await operator.log_in(tab)
                for name in OPERATOR_SCREENS:
                    if wanted and f"operator-{name}" not in wanted:
                        continue
                    await tab.page.goto(f"{operator.origin}/operator/#/{name}")
                    await tab.page.get_by_role("heading", level=1, name=re.compile(".")).wait_for()
                    await tab.page.locator(".panel").first.wait_for()
                    await expect(tab.page.locator(".loading")).to_have_count(0)
                    path = FOLDER / f"operator-{name}-{look}.png"
                    await tab.page.screenshot(path=path, full_page=True)
                if look == "light":
                    await _dry_run(tab, operator)


async def _dry_run(tab: Tab, operator: Operating) -> None:
    page = tab.page
    await page.goto(f"{operator.origin}/operator/#/providers")
    await page.get_by_role("button", name="Reset replicate").click()
    await page.get_by_label("Note").fill("invoice paid")
    await page.get_by_role("button", name="Show what it does").click()
    await page.get_by_role("button", name="Confirm: Reset").wait_for()
    await page.screenshot(path=FOLDER / "operator-dry-run-light.png")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
