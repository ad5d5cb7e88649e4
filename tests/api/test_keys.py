"""/api/keys: scopes limited to the creator's, secret shown once, revocation."""

import asyncio
import time
from typing import Any

import asyncpg
import httpx
import pytest

from api.account.keys import MAX_KEYS
from core.domain.ids import KeyId
from core.domain.scopes import Scope
from core.platform.crypto.sealing import Sealer
from core.store.accounts.api_key_format import parse_api_key
from core.store.accounts.rate_limit import KeyRates, lock_key_rates, set_key_rates
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from tests.api.conftest import BASE_URL, ENCRYPTION_KEY, NO_LIMITS, Api, TestUser
from tests.api.processes import two_served
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G6")

REVOKED_WITHIN_SECONDS = 5.0


def _with(api: Api, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(
        transport=api.transport, base_url=BASE_URL, headers=headers, timeout=30
    )


async def _made(http: httpx.AsyncClient, **wanted: Any) -> dict[str, Any]:
    answer = await http.post("/api/keys", json={"name": "made", **wanted})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _listed(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await http.get("/api/keys")
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["data"]
    return listed


async def test_key_works_at_once_and_is_shown_once(api: Api, user: TestUser) -> None:
    answer = await user.http.post(
        "/api/keys", json={"name": "laptop", "scopes": ["read"], "expiresDays": 30}
    )
    made = answer.json()

    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert parse_api_key(made["apiKey"]) is not None
    assert (made["name"], made["scopes"]) == ("laptop", ["read"])
    async with _with(api, made["apiKey"]) as http:
        assert (await http.get("/api/executions")).status_code == 200
        assert (
            await http.post("/api/generate-video", json={"prompt": "A paper boat"})
        ).status_code == 403
    listing = await user.http.get("/api/keys")
    mine, first = listing.json()["data"]
    assert mine == {name: made[name] for name in ("id", "name", "prefix", "scopes", "createdAt", "expiresAt")} | {
        "madeBy": user.key_id, "revokedAt": None, "lastUsedAt": mine["lastUsedAt"],
        "spendLimit": None, "spending": mine["spending"],
    }  # fmt: skip
    assert mine["lastUsedAt"] is not None
    assert mine["expiresAt"] > mine["createdAt"]
    assert (first["id"], first["madeBy"], first["expiresAt"]) == (user.key_id, None, None)
    assert made["apiKey"].removeprefix(f"tko_{made['prefix']}_") not in listing.text


async def test_key_has_application_scopes_and_no_expiry_by_default(
    user: TestUser,
) -> None:
    made = await _made(user.http)

    assert (made["scopes"], made["expiresAt"]) == (["generate", "read"], None)


async def test_key_cannot_give_a_scope_that_it_lacks(api: Api, user: TestUser) -> None:
    manager = await _made(user.http, scopes=["admin"])
    async with _with(api, manager["apiKey"]) as http:
        for wanted in ({}, {"scopes": ["read"]}, {"scopes": ["admin", "generate"]}):
            answer = await http.post("/api/keys", json={"name": "more", **wanted})
            assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), (
                wanted
            )
        assert answer.json()["missingScopes"] == ["generate"]
        equal = await _made(http, scopes=["admin"])

    assert equal["scopes"] == ["admin"]
    assert len(await _listed(user.http)) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["everything"]}, "scopes"),
        ({"name": "x", "scopes": ["read"] * 4}, "scopes"),
        ({"name": "x", "scopes": "read"}, "scopes"),
        ({"name": "x", "expiresDays": 0}, "expiresDays"),
        ({"name": "x", "expiresDays": 36_501}, "expiresDays"),
        ({"name": "x", "expiresDays": 1.5}, "expiresDays"),
        ({"name": "x", "expiresDays": "30"}, "expiresDays"),
        ({"name": "x", "userId": "usr_0"}, "userId"),
    ],
    ids=str,
)
async def test_invalid_key_is_refused_by_field(
    api_once: TestUser, body: dict[str, Any], field: str
) -> None:
    answer = await api_once.http.post("/api/keys", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert len(await _listed(api_once.http)) == 1


async def test_revoked_key_stays_refused(api: Api, user: TestUser) -> None:
    made = await _made(user.http)
    other = await _made(user.http)
    async with _with(api, made["apiKey"]) as http, _with(api, other["apiKey"]) as untouched:
        assert (await http.get("/api/executions")).status_code == 200
        for _ in range(2):
            answer = await user.http.delete(f"/api/keys/{made['id']}")
            assert (answer.status_code, answer.content) == (204, b"")
        assert (await http.get("/api/executions")).status_code == 401
        assert (await untouched.get("/api/executions")).status_code == 200

    *_, last = await _listed(user.http)
    assert (last["id"], last["revokedAt"] is not None) == (made["id"], True), (
        "what is refused comes last"
    )


async def test_key_may_revoke_itself(user: TestUser) -> None:
    assert (await user.http.delete(f"/api/keys/{user.key_id}")).status_code == 204
    assert (await user.http.get("/api/keys")).status_code == 401


async def test_key_of_another_user_is_unknown(api: Api, user: TestUser) -> None:
    stranger = await api.new_user()
    async with stranger.http as http:
        answers = [
            await http.delete(f"/api/keys/{key}", headers={"X-Request-Id": "same"})
            for key in (user.key_id, KeyId("key_" + "0" * 32), "key_none")
        ]
        assert [entry["id"] for entry in await _listed(http)] == [stranger.key_id]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert (await user.http.get("/api/executions")).status_code == 200


async def test_row_security_hides_foreign_keys_and_all_key_hashes(api: Api, user: TestUser) -> None:
    """Row security protects even if a query does not filter by user."""
    stranger = await api.new_user()
    async with api.database.as_user(stranger.user_id) as conn:
        assert await conn.fetchval("SELECT array_agg(key_id) FROM api_keys") == [stranger.key_id]
        assert await conn.execute("UPDATE api_keys SET revoked_at = now()") == "UPDATE 1"
    for statement in (
        "SELECT secret_sha256 FROM api_keys",
        "UPDATE api_keys SET scopes = '{admin}'",
        "UPDATE api_keys SET revoked_at = NULL, expires_at = NULL",
        "DELETE FROM api_keys",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with api.database.as_user(user.user_id) as conn:
                await conn.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with api.database.as_user(stranger.user_id) as conn:
            await conn.execute(
                "INSERT INTO api_keys (key_id, user_id, name, prefix, secret_sha256)"
                " VALUES ('key_x', $1, 'x', 'x', '')",
                user.user_id,
            )
    assert (await user.http.get("/api/executions")).status_code == 200


async def test_key_limit_holds_for_concurrent_requests(api: Api, user: TestUser) -> None:
    async with api.database.as_system() as conn:
        for _ in range(MAX_KEYS - 4):
            await insert_api_key(conn, user.user_id, "one of many")
    answers = await asyncio.gather(
        *(user.http.post("/api/keys", json={"name": "made"}) for _ in range(8))
    )

    made = [answer.json() for answer in answers if answer.status_code == 201]
    assert len(made) == 3
    assert {answer.status_code for answer in answers} == {201, 422}
    assert (await user.http.delete(f"/api/keys/{made[0]['id']}")).status_code == 204
    await _made(user.http)


async def test_created_keys_inherit_their_creators_rate_limits(api: Api, user: TestUser) -> None:
    rates = KeyRates(writes=7, reads=0)
    async with api.database.as_system() as conn:
        await set_key_rates(conn, user.key_id, rates)
    made = await _made(user.http)

    async with api.database.as_system() as conn:
        assert await lock_key_rates(conn, KeyId(made["id"])) == rates
    async with _with(api, made["apiKey"]) as http:
        answer = await http.post("/api/executions/none/retry")
    assert answer.headers["ratelimit-policy"].startswith('"writes";q=7;')


async def test_revoked_key_is_refused_by_every_process(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    async with (
        Database.open(fresh_database.application_dsn) as database,
        database.as_system() as conn,
    ):
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "somebody", NO_LIMITS)
        first = await insert_api_key(conn, user.user_id, "first")
        second = await insert_api_key(conn, user.user_id, "second", scopes={Scope.READ})
    headers = {"Authorization": f"Bearer {second.key.text}"}
    async with two_served(fresh_database, temporal_address, first.key.text) as (one, other):
        for api in (one, other):
            assert (await api.http.get("/api/executions", headers=headers)).status_code == 200
        assert (await one.http.delete(f"/api/keys/{second.key_id}")).status_code == 204
        revoked = time.monotonic()
        for api in (one, other):
            assert (await api.http.get("/api/executions", headers=headers)).status_code == 401
        assert time.monotonic() - revoked < REVOKED_WITHIN_SECONDS
        assert (await other.http.get("/api/executions")).status_code == 200
