"""Webhook endpoints over HTTP: their life cycle, and which endpoint receives a request's events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from core.domain.ids import EventId, ExecutionId, new_endpoint_id
from core.domain.scopes import Scope
from core.store.accounts.users import insert_api_key
from core.store.webhooks.events import get_webhook
from tests.api.conftest import Api, TestUser
from tests.support.secrets import opened_secrets

URL = "https://hooks.example/takeone"
PROMPT = "A paper boat on a rainy street"


async def make(user: TestUser, url: str = URL, **more: Any) -> dict[str, Any]:
    answer = await user.http.post("/api/endpoints", json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def post(
    user: TestUser, path: str, body: dict[str, Any] | None = None, *, status: int = 200
) -> dict[str, Any]:
    answer = await user.http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_endpoint_is_created_listed_and_read(shared_api: Api) -> None:
    user = await shared_api.new_user()
    async with user.http:
        made = await make(user, description="production")
        assert made["id"].startswith("end_")
        created = datetime.fromisoformat(made.pop("createdAt"))
        assert datetime.now(UTC) - created < timedelta(minutes=1)
        assert made == {
            "id": made["id"], "kind": "url", "secret": None, "url": URL,
            "description": "production", "default": False, "ownSecret": False,
        "ownHeaders": False,
            "previousSecretUntil": None, "state": "enabled", "disabledAt": None, "disabledReason": None,
            "failingSince": None, "lastSuccessAt": None, "lastFailureAt": None,
        }  # fmt: skip
        more = [await make(user, f"{URL}/{number}") for number in range(4)]
        ids = [made["id"], *(one["id"] for one in more)]
        first = (await user.http.get("/api/endpoints", params={"limit": 3})).json()
        await make(user, f"{URL}/late")
        rest = (
            await user.http.get(
                "/api/endpoints", params={"limit": 3, "cursor": first["nextCursor"]}
            )
        ).json()
        assert [one["id"] for one in [*first["data"], *rest["data"]]] == ids[::-1]
        assert rest["nextCursor"] is None
        assert (await user.http.get(f"/api/endpoints/{ids[0]}")).json()[
            "description"
        ] == "production"
        junk = await user.http.get("/api/endpoints", params={"cursor": "junk"})
        assert (junk.status_code, junk.json()["code"]) == (422, "invalid_request")


async def test_endpoint_of_an_address_is_created_once(shared_api: Api, api_once: TestUser) -> None:
    made = await make(api_once, f"{URL}/once")
    again = await api_once.http.post("/api/endpoints", json={"url": f"{URL}/once"})
    assert (again.status_code, again.json()["code"]) == (409, "endpoint_exists")
    assert again.json()["endpointId"] == made["id"]
    other = await shared_api.new_user()
    async with other.http:
        assert (await make(other, f"{URL}/once"))["id"] != made["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "ftp://hooks.example/"}, "url"),
        ({"url": "http://127.0.0.1/"}, "url"),
        ({"url": "https://hooks.example:22/"}, "url"),
        ({"url": URL, "description": "x" * 201}, "description"),
        ({"url": URL, "description": "line\nbreak"}, "description"),
        ({"url": URL, "default": "yes"}, "default"),
        ({"url": URL, "secret": "short"}, "secret"),
        ({"url": URL, "secret": "a" * 16}, "secret"),
        ({"url": URL, "secret": "abababab" * 4}, "secret"),
        ({"url": URL, "secret": "abcdefghij" * 2}, "secret"),
        ({"url": URL, "secret": f"whsec_{'A' * 32}"}, "secret"),
        ({"url": URL, "id": "end_1"}, "id"),
    ],
)
async def test_invalid_endpoint_is_refused(
    api_once: TestUser, body: dict[str, Any], field: str
) -> None:
    answer = await api_once.http.post("/api/endpoints", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    urls = [one["url"] for one in (await api_once.http.get("/api/endpoints")).json()["data"]]
    assert body.get("url") not in urls


async def test_default_endpoint_needs_the_scope_read(api: Api, user: TestUser) -> None:
    async with api.database.as_system() as conn:
        made = await insert_api_key(conn, user.user_id, "a", scopes=frozenset({Scope.ADMIN}))
    as_admin = {"Authorization": f"Bearer {made.key.text}"}
    plain = await user.http.post("/api/endpoints", json={"url": URL}, headers=as_admin)
    assert plain.status_code == 201, plain.text
    for method, path, body in (
        ("POST", "/api/endpoints", {"url": f"{URL}/2", "default": True}),
        ("PATCH", f"/api/endpoints/{plain.json()['id']}", {"default": True}),
    ):
        refused = await user.http.request(method, path, json=body, headers=as_admin)
        assert (refused.status_code, refused.json()["missingScopes"]) == (403, ["read"])
    (kept,) = (await user.http.get("/api/endpoints")).json()["data"]
    assert kept["default"] is False


async def test_number_of_endpoints_is_limited(
    api: Api, user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.store.webhooks.endpoints.MAX_ENDPOINTS", 2)
    for number in (1, 2):
        await make(user, f"{URL}/{number}")
    refused = await user.http.post("/api/endpoints", json={"url": f"{URL}/3"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
    for url, status in ((f"{URL}/3", 422), (f"{URL}/2", 202)):
        body = {"prompt": "A paper boat", "webhook": url}
        answer = await user.http.post("/api/generate-video", json=body)
        assert answer.status_code == status, answer.text


async def test_single_default_endpoint_receives_events_of_plain_requests(
    api: Api, user: TestUser
) -> None:
    one, two = (
        await make(user, f"{URL}/1", default=True),
        await make(user, f"{URL}/2", default=True),
    )

    async def defaults() -> list[str]:
        return [
            one["id"]
            for one in (await user.http.get("/api/endpoints")).json()["data"]
            if one["default"]
        ]

    async def webhook_url(**more: str) -> str | None:
        accepted = await post(user, "/api/generate-video", {"prompt": PROMPT, **more}, status=202)
        shown = (await user.http.get(f"/api/executions/{accepted['executionId']}")).json()[
            "webhook"
        ]
        return None if shown is None else shown["url"]

    assert await defaults() == [two["id"]]
    assert await webhook_url() == f"{URL}/2"
    assert await webhook_url(webhook="https://elsewhere.example/") == "https://elsewhere.example/"
    changed = await user.http.patch(
        f"/api/endpoints/{one['id']}", json={"default": True, "description": "first"}
    )
    assert (changed.status_code, changed.json()["default"], changed.json()["description"]) == (
        200,
        True,
        "first",
    )
    assert await defaults() == [one["id"]]
    assert await webhook_url() == f"{URL}/1"
    await user.http.patch(f"/api/endpoints/{two['id']}", json={"default": False})
    assert await defaults() == [one["id"]]
    await user.http.patch(f"/api/endpoints/{one['id']}", json={"default": False})
    assert (await defaults(), await webhook_url()) == ([], None)


async def test_secret_of_an_endpoint_is_shown_once_and_kept_sealed(
    api: Api, user: TestUser
) -> None:
    made = await make(user, secret="a secret of my own choice")
    assert made["ownSecret"] is True
    path = f"/api/endpoints/{made['id']}"
    answer = await user.http.post(f"{path}/rotate-secret", json={"overlapHours": 48})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    rotated = answer.json()
    assert rotated["secret"].startswith("whsec_")
    until = datetime.fromisoformat(rotated["previousUntil"])
    assert timedelta(hours=47) < until - datetime.now(UTC) <= timedelta(hours=48)
    assert (await user.http.get(path)).json()["previousSecretUntil"] == rotated["previousUntil"]
    async with api.database.as_user(user.user_id) as conn:
        opened = await opened_secrets(conn, api.services.secrets, made["id"])
        rows = await conn.fetch("SELECT * FROM secrets WHERE owner_id = $1", made["id"])
    assert opened == [rotated["secret"], "a secret of my own choice"]
    assert not any(secret in str([dict(row) for row in rows]) for secret in opened)
    at_once = (
        await user.http.post(
            f"{path}/rotate-secret", json={"overlapHours": 0, "secret": "another secret of mine"}
        )
    ).json()
    assert at_once == {"secret": "another secret of mine", "previousUntil": None}


@pytest.mark.parametrize(
    "path", ["/api/webhook-secret/rotate", "/api/endpoints/{id}/rotate-secret"]
)
@pytest.mark.parametrize(
    "body", [{"overlapHours": 169}, {"overlapHours": -1}, {"overlapHours": 1.5}, {"secret": "x"}]
)
async def test_invalid_rotation_is_refused(
    shared_api: Api, path: str, body: dict[str, Any]
) -> None:
    user = await shared_api.new_user()
    async with user.http:
        made = await make(user)
        answer = await user.http.post(path.format(id=made["id"]), json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_accounts_secret_is_rotated_without_a_body(api: Api, user: TestUser) -> None:
    answer = await user.http.post("/api/webhook-secret/rotate")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    async with api.database.as_user(user.user_id) as conn:
        opened = await opened_secrets(conn, api.services.secrets, user.user_id)
    assert opened[0] == answer.json()["secret"] != opened[1]
    assert all(secret.startswith("whsec_") for secret in opened)


async def test_endpoint_is_switched_off_and_on_and_tested(api: Api, user: TestUser) -> None:
    made = await make(user)
    path = f"/api/endpoints/{made['id']}"
    off = await post(user, f"{path}/disable")
    assert (off["state"], off["disabledReason"]) == ("disabled", "user")
    assert (await post(user, f"{path}/disable"))["disabledAt"] == off["disabledAt"]
    assert (await post(user, f"{path}/test", status=409))["code"] == "endpoint_disabled"
    on = await post(user, f"{path}/enable")
    assert (on["state"], on["disabledAt"]) == ("enabled", None)
    sent = await post(user, f"{path}/test", status=202)
    assert (sent["type"], sent["endpointId"], sent["url"]) == ("endpoint.test", made["id"], URL)
    assert (sent["executionId"], sent["sequence"], sent["state"]) == (None, None, "pending")
    body = (await user.http.get(f"/api/webhooks/{sent['id']}")).json()["body"]
    assert body == {
        "id": sent["id"], "type": "endpoint.test", "timestamp": body["timestamp"], "endpointId": made["id"]
    }  # fmt: skip
    handle = api.services.temporal.get_workflow_handle(f"deliver/{sent['id']}/1")
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await handle.terminate()


async def test_deleted_endpoint_is_404_but_its_log_remains(api: Api, user: TestUser) -> None:
    made = await make(user, default=True, secret="a secret of my own choice")
    path = f"/api/endpoints/{made['id']}"
    sent = await post(user, f"{path}/test", status=202)
    assert (await user.http.delete(path)).status_code == 204
    for answer in (
        await user.http.get(path),
        await user.http.delete(path),
        await user.http.patch(path, json={"default": True}),
        await user.http.post(f"{path}/enable"),
        await user.http.get(f"/api/endpoints/{new_endpoint_id()}"),
        await user.http.get("/api/endpoints/none"),
    ):
        assert (answer.status_code, answer.json()["instance"]) == (404, "/api/endpoints")
    logged = (await user.http.get("/api/webhooks", params={"endpointId": made["id"]})).json()[
        "data"
    ]
    assert [one["id"] for one in logged] == [sent["id"]]
    async with api.database.as_user(user.user_id) as conn:
        assert (await get_webhook(conn, EventId(sent["id"]))).closed == "endpoint_deleted"
    assert (await make(user))["id"] != made["id"]


async def test_resolved_default_endpoint_stays_with_its_request(api: Api, user: TestUser) -> None:
    """Deleting it or choosing another default does not affect open requests."""
    made = await make(user, default=True)
    accepted = await post(user, "/api/generate-video", {"prompt": PROMPT}, status=202)
    await user.http.delete(f"/api/endpoints/{made['id']}")
    async with api.database.as_user(user.user_id) as conn:
        url = await conn.fetchval(
            "SELECT webhook_url FROM executions WHERE execution_id = $1",
            ExecutionId(accepted["executionId"]),
        )
    assert url == URL


async def test_endpoint_is_found_by_any_spelling_of_its_url(api: Api, user: TestUser) -> None:
    made = await make(user, "https://xn--bcher-kva.example/hook")
    for url in ("HTTPS://B\u00dcCHER.example:443/hook", "https://b\u00fccher.example/x/../hook#a"):
        again = await user.http.post("/api/endpoints", json={"url": url})
        assert (again.status_code, again.json()["endpointId"]) == (409, made["id"])


async def test_own_headers_are_kept_sealed_and_never_returned(api: Api, user: TestUser) -> None:
    made = await make(user, headers={"Authorization": "Bearer planted-value"})
    path = f"/api/endpoints/{made['id']}"
    assert (made["ownHeaders"], made["ownSecret"]) == (True, False)
    assert "planted" not in str(made)
    async with api.database.as_user(user.user_id) as conn:
        rows = await conn.fetch("SELECT * FROM secrets WHERE owner_id = $1", made["id"])
    assert [row["kind"] for row in rows] == ["webhook_headers"]
    assert b"planted" not in rows[0]["sealed"]
    for headers, has in (({"CF-Access-Client-Id": "x"}, True), ({}, False)):
        changed = await user.http.patch(path, json={"headers": headers})
        assert (changed.status_code, changed.json()["ownHeaders"]) == (200, has), changed.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "planted"},
        {"webhook-id": "planted"},
        {"X-Webhook-Signature": "planted"},
        {"Host": "planted"},
        {"a b": "planted"},
        {"": "planted"},
        {"x": ""},
        {"x": "planted\r\ny: z"},
        {"x": "plant\u00e9d"},
        {"x": "planted", "X": "planted"},
        {f"x{number}": "planted" for number in range(11)},
        {"x": 1},
    ],
    ids=str,
)
async def test_header_that_cannot_be_sent_is_refused(
    api_once: TestUser, headers: dict[str, Any]
) -> None:
    answer = await api_once.http.post(
        "/api/endpoints", json={"url": f"{URL}/h", "headers": headers}
    )
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["headers"]
    assert "planted" not in answer.text
