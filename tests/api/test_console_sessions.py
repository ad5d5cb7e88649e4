"""Sessions of the web console: when the cookie counts, and when a session ends."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import httpx
import pytest

from api.app import create_app
from api.auth.session_cookie import CONSOLE_HEADER, PLAIN_NAME, SECURE_NAME, cookie_name
from tests.api.conftest import BASE_URL, Api, TestUser

pytestmark = pytest.mark.guarantee("G6")

SAME_ORIGIN: Final = {"Sec-Fetch-Site": "same-origin"}
JSON: Final = {"Content-Type": "application/json"}
SESSION: Final = "/console/session"
LIST: Final = "/api/executions"


@pytest.fixture
async def page(shared_api: Api) -> AsyncGenerator[httpx.AsyncClient]:
    """Yield a page of the console: its requests are of the same origin and keep cookies."""
    async with httpx.AsyncClient(
        transport=shared_api.transport, base_url=BASE_URL, headers=SAME_ORIGIN
    ) as http:
        yield http


async def _log_in(page: httpx.AsyncClient, credential: str) -> dict[str, Any]:
    answer = await page.post(SESSION, json={"credential": credential})
    assert answer.status_code == 201, answer.text
    return answer.json()["session"]


async def _new_key(user: TestUser, **fields: Any) -> dict[str, Any]:
    answer = await user.http.post("/api/keys", json={"name": "made", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _is_open(page: httpx.AsyncClient) -> bool:
    seen = (await page.get(SESSION)).json()["session"] is not None
    assert seen == ((await page.get(LIST)).status_code == 200)
    return seen


async def test_login_sets_a_cookie_that_scripts_cannot_read(
    page: httpx.AsyncClient, api_once: TestUser
) -> None:
    assert (await page.get(SESSION)).json() == {"session": None, "identityProvider": False}
    answer = await page.post(SESSION, json={"credential": api_once.api_key})
    cookie = answer.headers["set-cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert api_once.api_key not in cookie
    session = answer.json()["session"]
    assert session["user"]["id"] == api_once.user_id
    assert session["scopes"] == ["admin", "generate", "read"]
    assert await _is_open(page)


def test_cookie_is_bound_to_the_host_under_https() -> None:
    assert cookie_name("https://api.example.com") == SECURE_NAME
    assert cookie_name("http://127.0.0.1:8080") == PLAIN_NAME


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
async def test_cookie_counts_only_for_pages_of_the_same_origin(
    page: httpx.AsyncClient, shared_api: Api, api_once: TestUser, headers: Mapping[str, str]
) -> None:
    await _log_in(page, api_once.api_key)
    cookie = {"Cookie": f"{PLAIN_NAME}={page.cookies[PLAIN_NAME]}"}
    assert (await shared_api.http.get(LIST, headers=cookie | SAME_ORIGIN)).status_code == 200
    assert (await shared_api.http.get(LIST, headers={**cookie, **headers})).status_code == 401
    login = {"credential": api_once.api_key}
    assert (await shared_api.http.post(SESSION, json=login, headers=headers)).status_code == 400


async def test_unsafe_request_needs_a_header_that_forms_cannot_send(
    page: httpx.AsyncClient, api_once: TestUser
) -> None:
    await _log_in(page, api_once.api_key)
    path = f"{LIST}/exec_{'0' * 32}/cancel"
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await page.post(path, content=b"x", headers={"Content-Type": content_type})
        assert answer.status_code == 401, content_type
    assert (await page.post(path)).status_code == 401
    assert (await page.post(path, headers=JSON)).status_code == 404
    assert (await page.post(path, headers={CONSOLE_HEADER: "1"})).status_code == 404


async def test_authorization_header_wins_over_the_cookie(
    page: httpx.AsyncClient, api_once: TestUser
) -> None:
    await _log_in(page, api_once.api_key)
    for value in ("Bearer wrong", "Basic eDp5", ""):
        answer = await page.get(LIST, headers={"Authorization": value})
        assert answer.status_code == 401, value


async def test_logout_revokes_the_session(page: httpx.AsyncClient, api_once: TestUser) -> None:
    await _log_in(page, api_once.api_key)
    kept = page.cookies[PLAIN_NAME]
    assert (await page.delete(SESSION, headers=JSON)).status_code == 204
    assert PLAIN_NAME not in page.cookies
    page.cookies.set(PLAIN_NAME, kept)
    assert not await _is_open(page)
    assert (await page.delete(SESSION, headers=JSON)).status_code == 204


async def test_session_ends_with_the_key_that_opened_it(
    page: httpx.AsyncClient, api_once: TestUser
) -> None:
    key = await _new_key(api_once, scopes=["read"], expiresDays=1)
    session = await _log_in(page, key["apiKey"])
    assert session["scopes"] == ["read"]
    assert (await page.post("/api/generate-video", json={"prompt": "x"})).status_code == 403
    assert (await page.get("/api/keys/current")).json()["id"] == key["id"]
    assert (await api_once.http.delete(f"/api/keys/{key['id']}")).status_code == 204
    assert not await _is_open(page)


async def test_session_spends_from_the_limit_of_its_key(
    page: httpx.AsyncClient, api_once: TestUser
) -> None:
    limit = {"daily": "0.001", "monthly": None}
    key = await _new_key(api_once, spendLimit=limit)
    await _log_in(page, key["apiKey"])
    answer = await page.post("/api/generate-video", json={"prompt": "A paper boat"})
    assert answer.json()["code"] == "key_spend_limit_exceeded"


async def test_sessions_are_neither_listed_nor_counted_as_keys(
    page: httpx.AsyncClient, api_once: TestUser
) -> None:
    before = {key["id"] for key in (await api_once.http.get("/api/keys")).json()["data"]}
    await _log_in(page, api_once.api_key)
    listed = {key["id"] for key in (await api_once.http.get("/api/keys")).json()["data"]}
    assert listed == before


async def test_session_cannot_be_prolonged_by_its_own_key(
    page: httpx.AsyncClient, shared_api: Api, api_once: TestUser
) -> None:
    await _log_in(page, api_once.api_key)
    stolen = page.cookies[PLAIN_NAME]
    answer = await page.post(SESSION, json={"credential": stolen})
    assert answer.status_code == 401
    headers = {"Authorization": f"Bearer {stolen}"}
    assert (await shared_api.http.post("/console/tickets", headers=headers)).status_code == 401


async def test_ticket_opens_one_session(page: httpx.AsyncClient, api_once: TestUser) -> None:
    made = (await api_once.http.post("/console/tickets")).json()
    assert made["url"] == f"{BASE_URL}/console/#ticket={made['ticket']}"
    first = await page.post(SESSION, json={"ticket": made["ticket"]})
    assert first.status_code == 201, first.text
    assert await _is_open(page)
    assert (await page.post(SESSION, json={"ticket": made["ticket"]})).status_code == 401
    assert (await page.post(SESSION, json={"ticket": "unknown"})).status_code == 401


async def test_session_is_deleted_after_its_end(
    page: httpx.AsyncClient, shared_api: Api, api_once: TestUser
) -> None:
    await _log_in(page, api_once.api_key)
    expire = (
        "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE is_session AND user_id = $1"
    )
    count = "SELECT count(*) FROM api_keys WHERE is_session AND user_id = $1"
    async with shared_api.database.as_system() as conn:
        await conn.execute(expire, api_once.user_id)
    assert not await _is_open(page)
    await _log_in(page, api_once.api_key)
    async with shared_api.database.as_system() as conn:
        assert await conn.fetchval(count, api_once.user_id) == 1


async def test_only_sessions_can_be_deleted(shared_api: Api) -> None:
    user = await shared_api.new_user()
    async with shared_api.database.as_system() as conn:
        await conn.execute("DELETE FROM api_keys WHERE user_id = $1", user.user_id)
        count = "SELECT count(*) FROM api_keys WHERE user_id = $1"
        assert await conn.fetchval(count, user.user_id) == 1
    await user.http.aclose()


@pytest.mark.parametrize("body", [{}, {"credential": "x", "ticket": "y"}, {"credential": ""}])
async def test_login_needs_exactly_one_credential(
    page: httpx.AsyncClient, body: dict[str, str]
) -> None:
    assert (await page.post(SESSION, json=body)).status_code == 422


async def test_pages_have_a_strict_policy_and_an_etag(page: httpx.AsyncClient) -> None:
    answer = await page.get("/console/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["referrer-policy"] == "no-referrer"
    tag = {"If-None-Match": answer.headers["etag"]}
    again = await page.get("/console/", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    assert (await page.get("/console")).headers["location"] == "/console/"
    private = ("README.md", "vendor/LICENSE.htm", "..%2Fpyproject.toml", "operator/index.html")
    for missing in ("none.js", "operator/", "operator/app.js", *private):
        assert (await page.get(f"/console/{missing}")).status_code == 404, missing


async def test_console_can_be_left_out(shared_api: Api) -> None:
    transport = httpx.ASGITransport(app=create_app(shared_api.services, console=False))
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        assert (await http.get("/console/")).status_code == 404
        assert (await http.get(SESSION)).status_code == 404
