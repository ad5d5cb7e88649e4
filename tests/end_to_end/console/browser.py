"""Pages of the console in a real Chromium, and what a page must never do."""

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    Page,
    Request,
    async_playwright,
    expect,
)

PROGRAM: Final = "/usr/bin/chromium"
MISSING: Final = f"{PROGRAM} is missing: apt-get install chromium fonts-dejavu-core"
DESKTOP: Final = (1280, 860)
PHONE: Final = (320, 680)
SERIOUS: Final = ("serious", "critical")
REPORT_VIOLATIONS: Final = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`));
"""


@asynccontextmanager
async def open_browser() -> AsyncGenerator[Browser]:
    """Start Chromium. Skip the test without one, except in CI, which installs it."""
    if shutil.which(PROGRAM) is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=PROGRAM, args=["--disable-dev-shm-usage"]
        )
        expect.set_options(timeout=60_000)  # milliseconds: four processes share two processors
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(slots=True, kw_only=True)
class Tab:
    """A page, and the errors that it must not have. allowed: parts of texts that a test expects."""

    page: Page
    context: BrowserContext
    origins: frozenset[str]
    wrong: list[str] = field(default_factory=list[str])
    allowed: list[str] = field(default_factory=list[str])

    @classmethod
    @asynccontextmanager
    async def open(
        cls, browser: Browser, api_url: str, *origins: str, **options: Any
    ) -> AsyncGenerator["Tab"]:
        """Open an empty page in a context of its own. origins: of files, in addition to the API."""
        width, height = options.pop("size", DESKTOP)
        context = await browser.new_context(
            base_url=api_url,
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
            locale="en-GB",
            **options,
        )
        context.set_default_timeout(30_000)  # milliseconds
        await context.add_init_script(REPORT_VIOLATIONS)
        page = await context.new_page()
        tab = cls(page=page, context=context, origins=frozenset({api_url, *origins}))
        tab.watch(page)
        try:
            yield tab
        finally:
            await context.close()
        assert tab.wrong == [], tab.wrong

    async def open_another(self) -> Page:
        """Open a page of the same browser, which shares the session."""
        page = await self.context.new_page()
        self.watch(page)
        return page

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self.note(message.type, message.text))
        page.on("pageerror", lambda error: self.note("error", str(error)))
        page.on("request", lambda request: self.note_request(request))

    def note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.allowed):
            self.wrong.append(f"{kind}: {text}")

    def note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if (
            parts.scheme in ("http", "https")
            and f"{parts.scheme}://{parts.netloc}" not in self.origins
        ):
            self.wrong.append(f"foreign request: {request.url}")

    async def log_in(self, api_key: str, path: str = "") -> None:
        """Open the console and log in by the form. path: of the screen to open, as `create`."""
        await self.page.goto(f"/console/#/{path}")
        await self.page.get_by_label("API key").fill(api_key)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.get_by_role("navigation", name="Screens").wait_for()

    async def has_no_sideways_scroll(self) -> bool:
        width = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        return bool(await self.page.evaluate(width))


async def serious_violations(page: Page) -> list[Any]:
    """Return what axe finds on a page, with the elements."""
    axe: Any = Axe()  # its types are partly unknown
    found: list[dict[str, Any]] = (await axe.run(page)).response["violations"]
    return [
        (each["id"], [node["html"][:120] for node in each["nodes"]])
        for each in found
        if each["impact"] in SERIOUS
    ]
