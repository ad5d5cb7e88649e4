"""API keys: refused if unknown, revoked, expired, or of a disabled user."""

import pytest

from core.store.accounts.api_key_format import new_api_key
from core.store.accounts.users import list_api_keys, revoke_api_key, set_disabled
from tests.api.conftest import Api, TestUser


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer junk",
        "Basic dXNlcjpwYXNz",
        "Bearer tko_000000000000_" + "0" * 46,
        pytest.param(f"Bearer {new_api_key().text}", id="a key that nobody has"),
        "Bearer tko_\xe9",
    ],
)
async def test_auth_without_a_known_key_is_401(shared_api: Api, header: str | None) -> None:
    headers = {} if header is None else {b"Authorization": header.encode("latin-1")}
    answer = await shared_api.http.get("/api/executions", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_auth_junk_is_refused_without_the_database(api: Api) -> None:
    async with api.database.as_system() as conn:
        await conn.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        answer = await api.http.get("/api/executions", headers={"Authorization": "Bearer tko_junk"})

    assert answer.status_code == 401


@pytest.mark.parametrize("end", ["revoked", "expired", "disabled"])
async def test_auth_ends_when_the_key_is(api: Api, user: TestUser, end: str) -> None:
    assert (await user.http.get("/api/executions")).status_code == 200
    async with api.database.as_system() as conn:
        if end == "revoked":
            await revoke_api_key(conn, user.key_id)
        elif end == "expired":
            await conn.execute("UPDATE api_keys SET expires_at = now()")
        else:
            await set_disabled(conn, user.user_id, disabled=True)

    answer = await user.http.get("/api/executions")

    assert answer.status_code == 401
    assert end not in answer.text


async def test_auth_with_another_secret_than_the_kept_one_is_401(api: Api, user: TestUser) -> None:
    async with api.database.as_system() as conn:
        await conn.execute("UPDATE api_keys SET secret_sha256 = $1", new_api_key().secret_sha256)

    assert (await user.http.get("/api/executions")).status_code == 401


async def test_auth_writes_down_when_a_key_was_used(api: Api, user: TestUser) -> None:
    await user.http.get("/api/executions")

    async with api.database.as_system() as conn:
        (entry,) = await list_api_keys(conn, user.user_id)
    assert entry.last_used_at is not None
