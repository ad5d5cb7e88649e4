"""Logins by key, token and one-time link, what ends a session, and what belongs to others."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from playwright.async_api import expect

from core.domain.ids import UserId
from core.store.accounts.identities import link_identity
from core.store.database import Database
from tests.api.issuing import IssuerServer, claims_of, signed, signing_key
from tests.api.logging_in import LoginPages
from tests.end_to_end.console.browser import Tab
from tests.end_to_end.world import PROMPT, World, new_user

KEY: Final = signing_key("console", "ES256")


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


async def test_log_out_in_one_tab_ends_the_other(world: World, tab: Tab) -> None:
    other = await tab.open_another()
    await tab.log_in(world.user.api_key)
    await other.goto("/console/#/usage")
    await expect(other.get_by_role("region", name="Budget")).to_be_visible()
    await tab.page.get_by_role("button", name="Log out").click()
    await expect(other.get_by_text("another tab has ended the session")).to_be_visible()
    await tab.log_in(world.user.api_key)
    await expect(other.get_by_role("region", name="Budget")).to_be_visible()


@asynccontextmanager
async def _issuer(world: World) -> AsyncGenerator[IssuerServer]:
    """Run the stack's identity provider. The user is linked to the subject of the user's id."""
    url, dsn = (world.stack.environment[name] for name in ("OIDC_ISSUER", "DATABASE_URL"))
    async with Database.open(dsn, max_connections=1) as database, database.as_system() as conn:
        await link_identity(conn, url, world.user.user_id, UserId(world.user.user_id))
    parts = urlsplit(url)
    async with IssuerServer.open(KEY, host="localhost", port=parts.port or 0) as issuer:
        assert issuer.url == url
        yield issuer


async def test_token_of_the_identity_provider_logs_in(world: World, tab: Tab) -> None:
    page = tab.page
    async with _issuer(world) as issuer:
        tab.allowed.append("401")  # Chromium logs each refused request
        await page.goto("/console/")
        stranger = signed(KEY, claims_of(issuer.url, "stranger"))
        await page.get_by_label("API key or token").fill(stranger)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_contain_text("Authentication required")
        claims = claims_of(issuer.url, world.user.user_id, scope="read")
        await tab.log_in(signed(KEY, claims), "usage")
    await expect(page.get_by_role("region", name="Budget")).to_be_visible()
    screens = page.get_by_role("navigation", name="Screens")
    await expect(screens.get_by_role("link", name="Executions")).to_be_visible()
    await expect(screens.get_by_role("link", name="Keys")).to_have_count(0)
    await expect(screens.get_by_role("link", name="Create")).to_have_count(0)


async def test_login_at_the_identity_provider_keeps_a_form(world: World, tab: Tab) -> None:
    page, user_id = tab.page, world.user.user_id
    tab.allowed.append("401")  # Chromium logs each refused request
    async with _issuer(world) as issuer:
        tab.origins |= {issuer.url}
        LoginPages(issuer=issuer, key=KEY, subject=user_id, client_id="console").install()
        await page.goto("/console/oidc/callback?state=x&code=y")
        await expect(page.get_by_role("alert")).to_contain_text("began in another browser")
        await page.get_by_role("link", name="Log in with your identity provider").click()
        await page.get_by_role("button", name=f"Continue as {user_id}").click()
        await page.get_by_role("navigation").get_by_role("link", name="Create").click()
        await page.get_by_label("What the video shows").fill(PROMPT)
        end = "UPDATE api_keys SET revoked_at = now() WHERE user_id = $1 AND is_session RETURNING 1"
        await world.rows(end, user_id)
        await page.get_by_label("What the video shows").press("!")
        dialog = page.get_by_role("dialog", name="The session has ended")
        async with tab.context.expect_page() as opened:
            await dialog.get_by_role("link", name="Log in with your identity provider").click()
        await (await opened.value).get_by_role("button", name="Continue as").click()
        await expect(dialog).to_have_count(0)
    await expect(page.get_by_label("What the video shows")).to_have_value(f"{PROMPT}!")


async def test_execution_of_another_user_is_not_shown(world: World, tab: Tab) -> None:
    page = tab.page
    execution_id = await world.generate()
    await world.ended(execution_id)
    other = await new_user(world.stack)
    tab.allowed.append("404")  # Chromium logs each refused request
    await tab.log_in(other.api_key, f"executions/{execution_id}")
    await expect(page.get_by_role("alert")).to_contain_text("Not found")
    await expect(page.get_by_text(PROMPT)).to_have_count(0)
