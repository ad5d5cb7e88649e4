"""One browser for all tests here, on the stack of the end-to-end tests."""

from collections.abc import AsyncGenerator

import pytest
from playwright.async_api import Browser

from deploy.local.stack import Stack
from tests.end_to_end.console.browser import Tab, open_browser
from tests.end_to_end.console.operating import Operating, operating
from tests.end_to_end.world import World


@pytest.fixture(scope="package")
async def browser() -> AsyncGenerator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def tab(browser: Browser, world: World) -> AsyncGenerator[Tab]:
    """A page without a session."""
    async with Tab.open(browser, world.stack.config.api_url, files_origin(world)) as tab:
        yield tab


@pytest.fixture(scope="package")
async def operator(stack: Stack) -> AsyncGenerator[Operating]:
    async with operating(stack) as operator:
        yield operator


@pytest.fixture
async def operator_tab(browser: Browser, world: World, operator: Operating) -> AsyncGenerator[Tab]:
    """A page of the operator's console, logged in."""
    async with Tab.open(browser, operator.origin) as tab:
        await operator.log_in(tab)
        yield tab


def files_origin(world: World) -> str:
    return world.stack.environment["S3_ENDPOINT_URL"]
