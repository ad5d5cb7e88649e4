"""Logins by key, token and one-time link, what ends a session, and what belongs to others."""

from urllib.parse import urlsplit

from playwright.async_api import expect

from core.domain.ids import UserId
from core.store.accounts.identities import link_identity
from core.store.database import Database
from tests.api.issuing import IssuerServer, claims_of, signed, signing_key
from tests.end_to_end.console.browser import Tab
from tests.end_to_end.world import PROMPT, World, new_user


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


async def test_token_of_the_identity_provider_logs_in(world: World, tab: Tab) -> None:
    page, key = tab.page, signing_key("console", "ES256")
    url = world.stack.environment["OIDC_ISSUER"]
    dsn = world.stack.environment["DATABASE_URL"]
    async with Database.open(dsn, max_connections=1) as database, database.as_system() as conn:
        await link_identity(conn, url, "auth0|ada", UserId(world.user.user_id))
    async with IssuerServer.open(key, port=urlsplit(url).port or 0) as issuer:
        assert issuer.url == url
        tab.allowed.append("401")  # Chromium logs each refused request
        await page.goto("/console/")
        await page.get_by_label("API key or token").fill(signed(key, claims_of(url, "unknown")))
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_contain_text("Authentication required")
        await tab.log_in(signed(key, claims_of(url, "auth0|ada", scope="read")), "usage")
    await expect(page.get_by_role("region", name="Budget")).to_be_visible()
    screens = page.get_by_role("navigation", name="Screens")
    await expect(screens.get_by_role("link", name="Executions")).to_be_visible()
    await expect(screens.get_by_role("link", name="Keys")).to_have_count(0)
    await expect(screens.get_by_role("link", name="Create")).to_have_count(0)


async def test_execution_of_another_user_is_not_shown(world: World, tab: Tab) -> None:
    page = tab.page
    execution_id = await world.generate()
    await world.ended(execution_id)
    other = await new_user(world.stack)
    tab.allowed.append("404")  # Chromium logs each refused request
    await tab.log_in(other.api_key, f"executions/{execution_id}")
    await expect(page.get_by_role("alert")).to_contain_text("Not found")
    await expect(page.get_by_text(PROMPT)).to_have_count(0)
