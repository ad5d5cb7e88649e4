"""Scopes: each route requires its documented scope, and no other scope replaces it."""

import re
from typing import Any, Final

import httpx
import pytest

from core.domain.scopes import ALL_SCOPES, Scope
from core.store.accounts.users import insert_api_key
from tests.api.conftest import BASE_URL, Api, TestUser
from tests.api.operations import method_to_send

pytestmark = pytest.mark.guarantee("G6")

SCOPES_KNOWN: Final = {
    "GET /api/executions": Scope.READ,
    "POST /api/quotes": Scope.READ,
    "POST /api/plans/import": Scope.READ,
    "POST /api/generate-video": Scope.GENERATE,
    "POST /api/executions/{execution_id}/cancel": Scope.GENERATE,
    "GET /api/keys": Scope.ADMIN,
    "PUT /api/provider-keys/{provider}": Scope.ADMIN,
}
"""Samples with fixed values, because the test below reads the document itself."""


async def _client(api: Api, user: TestUser, scopes: frozenset[Scope]) -> httpx.AsyncClient:
    async with api.database.as_system() as conn:
        made = await insert_api_key(conn, user.user_id, "some scopes", scopes=scopes)
    headers = {"Authorization": f"Bearer {made.key.text}"}
    return httpx.AsyncClient(
        transport=api.transport, base_url=BASE_URL, headers=headers, timeout=30
    )


async def _operations(api: Api) -> dict[str, Scope]:
    """Return the scope by method and path, for every route that authenticates."""
    document: dict[str, Any] = (await api.http.get("/openapi.json")).json()
    return {
        f"{method.upper()} {path}": Scope(operation["security"][0]["apiKey"][0])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("security")
    }


async def test_documented_scopes_match_the_fixed_list(shared_api: Api) -> None:
    operations = await _operations(shared_api)

    assert SCOPES_KNOWN.items() <= operations.items()
    assert set(operations.values()) == ALL_SCOPES


@pytest.mark.parametrize("scope", sorted(ALL_SCOPES))
async def test_route_accepts_only_its_own_scope(
    shared_api: Api, api_once: TestUser, scope: Scope
) -> None:
    operations = {
        name: needed for name, needed in (await _operations(shared_api)).items() if needed is scope
    }
    having = await _client(shared_api, api_once, frozenset({scope}))
    lacking = await _client(shared_api, api_once, ALL_SCOPES - {scope})
    async with having, lacking:
        for name in operations:
            method, path = re.sub(r"{\w+}", "none", name).split()
            refused = await lacking.request(method, path)
            admitted = await having.request(method_to_send(name), path)

            problem = refused.json()
            assert (refused.status_code, problem["code"]) == (403, "insufficient_scope"), name
            assert problem["missingScopes"] == [scope], name
            assert refused.headers["www-authenticate"].endswith(
                f'error="insufficient_scope", scope="{scope}"'
            ), name
            assert admitted.status_code not in (401, 403), (name, admitted.text)
            assert admitted.status_code < 500, (name, admitted.text)


async def test_scope_refusal_reveals_nothing_about_the_resource(api: Api, user: TestUser) -> None:
    """An existing id and an unknown id are refused alike, and nothing changes."""
    made = await user.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    execution_id: str = made.json()["executionId"]
    async with await _client(api, user, ALL_SCOPES - {Scope.GENERATE}) as http:
        http.headers["X-Request-Id"] = "same"
        there = await http.post(f"/api/executions/{execution_id}/cancel")
        never = await http.post(f"/api/executions/{execution_id[:-4]}0000/cancel")

    assert (there.status_code, never.status_code) == (403, 403)
    assert there.text.replace(execution_id, "") == never.text.replace(
        f"{execution_id[:-4]}0000", ""
    )
    assert (await user.http.get(f"/api/executions/{execution_id}")).json()["status"] != "cancelled"
