"""Logins to the web console at the identity provider: what opens a session, and what does not."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from api.auth.session_cookie import PLAIN_NAME
from core.store.accounts.identities import link_identity
from tests.api.conftest import BASE_URL, Api, TestUser, api_settings, running_api
from tests.api.issuing import AUDIENCE, IssuerServer, signing_key
from tests.api.logging_in import LoginPages
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G6")

KEY: Final = signing_key("login", "ES256")
SUBJECT: Final = "auth0|ada"
LOGIN: Final = "/console/oidc/login"
SESSION: Final = "/console/session"
SAME_ORIGIN: Final = {"Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An API that trusts an issuer. ada: linked to SUBJECT."""

    api: Api
    pages: LoginPages
    ada: TestUser


@pytest.fixture(scope="module")
async def world(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[World]:
    client = {"oidc_client_id": "the console", "oidc_client_secret": SecretStr("a/secret:")}
    async with (
        new_database(postgres_server, template_database) as database,
        IssuerServer.open(KEY) as issuer,
    ):
        settings = api_settings(database, temporal_address).model_copy(
            update={"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, **client}
        )
        pages = LoginPages(
            issuer=issuer,
            key=KEY,
            subject=SUBJECT,
            client_id="the console",
            client_secret="a/secret:",
        )
        pages.install()
        async with running_api(settings) as api:
            ada = await api.new_user()
            async with api.database.as_system() as conn:
                await link_identity(conn, issuer.url, SUBJECT, ada.user_id)
            async with ada.http:
                yield World(api=api, pages=pages, ada=ada)


@pytest.fixture
async def browser(world: World) -> AsyncGenerator[httpx.AsyncClient]:
    """Yield a browser, which keeps cookies, and put the issuer back as it was."""
    async with httpx.AsyncClient(transport=world.api.transport, base_url=BASE_URL) as http:
        yield http
    world.pages.claims, world.pages.subject = {}, SUBJECT


async def begin(browser: httpx.AsyncClient) -> dict[str, str]:
    """Begin a login. Return what the browser takes to the issuer."""
    answer = await browser.get(LOGIN)
    assert answer.status_code == 302, answer.text
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


async def finish(browser: httpx.AsyncClient, address: str, **changed: str) -> str:
    """Return with an answer of the issuer, changed or not. Return the outcome."""
    parts = urlsplit(address)
    query = urlencode({**dict(parse_qsl(parts.query)), **changed})
    answer = await browser.get(f"{parts.path}?{query}")
    assert answer.status_code == 302, answer.text
    path, _, outcome = answer.headers["location"].partition("#login=")
    assert path == "/console/"
    assert f"{PLAIN_NAME}-login" not in browser.cookies
    assert (PLAIN_NAME in browser.cookies) == (outcome == "done")
    return outcome


async def test_login_at_the_identity_provider_opens_a_session(
    world: World, browser: httpx.AsyncClient
) -> None:
    assert (await browser.get(SESSION, headers=SAME_ORIGIN)).json()["identityProvider"] is True
    asked = await begin(browser)
    assert (asked["response_type"], asked["scope"], asked["code_challenge_method"]) == (
        "code",
        "openid",
        "S256",
    )
    assert asked["redirect_uri"] == f"{BASE_URL}/console/oidc/callback"
    address = world.pages.agree(asked)
    assert await finish(browser, address) == "done"
    session = (await browser.get(SESSION, headers=SAME_ORIGIN)).json()["session"]
    assert session["user"]["id"] == world.ada.user_id
    assert session["scopes"] == ["generate", "read"]
    browser.cookies.clear()
    assert await finish(browser, address) == "expired"


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"state": "another"}, "expired"),
        ({"state": ""}, "expired"),
        ({"error": "access_denied"}, "denied"),
        ({"iss": "https://another.example"}, "refused"),
        ({"code": ""}, "refused"),
        ({"code": "unknown"}, "refused"),
    ],
    ids=str,
)
async def test_changed_answer_opens_no_session(
    world: World, browser: httpx.AsyncClient, changed: dict[str, str], outcome: str
) -> None:
    address = world.pages.agree(await begin(browser))
    assert await finish(browser, address, **changed) == outcome


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": AUDIENCE},
        {"aud": ["the console", "another"], "azp": "another"},
        {"iss": "https://another.example"},
        {"exp": timedelta(seconds=-60)},
    ],
    ids=str,
)
async def test_token_of_another_login_opens_no_session(
    world: World, browser: httpx.AsyncClient, claims: dict[str, Any]
) -> None:
    world.pages.claims = claims
    assert await finish(browser, world.pages.agree(await begin(browser))) == "refused"


async def test_answer_counts_only_in_the_browser_that_began(
    world: World, browser: httpx.AsyncClient
) -> None:
    """An attacker's answer would log the victim in to the attacker's account."""
    address = world.pages.agree(await begin(browser))
    async with httpx.AsyncClient(transport=world.api.transport, base_url=BASE_URL) as victim:
        assert await finish(victim, address) == "expired"
        await begin(victim)
        assert await finish(victim, address) == "expired"


async def test_unlinked_subject_opens_no_session(world: World, browser: httpx.AsyncClient) -> None:
    world.pages.subject = "auth0|eve"
    assert await finish(browser, world.pages.agree(await begin(browser))) == "unknown"


async def test_unreachable_issuer_is_reported(world: World, browser: httpx.AsyncClient) -> None:
    address = world.pages.agree(await begin(browser))
    await world.pages.issuer.stop()
    try:
        assert await finish(browser, address) == "unavailable"
    finally:
        await world.pages.issuer.start()


async def test_without_a_client_there_is_no_login(shared_api: Api) -> None:
    for path in (LOGIN, "/console/oidc/callback"):
        assert (await shared_api.http.get(path)).status_code == 404
