"""Spend limits of API keys over HTTP: set, shown and enforced."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.api.conftest import BASE_URL, Api, TestUser
from tests.api.ended import NEVER_SENT, end

pytestmark = pytest.mark.guarantee("G4")

PATH = "/api/generate-video"
BODY = {"prompt": "A paper boat"}
ADMIN_REFUSED = "is not allowed for a key with the scope admin"


def _with(api: Api, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(
        transport=api.transport, base_url=BASE_URL, headers=headers, timeout=30
    )


async def _new_key(user: TestUser, **fields: Any) -> dict[str, Any]:
    answer = await user.http.post("/api/keys", json={"name": "agent", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_order_beyond_the_limit_is_refused_with_figures(
    shared_api: Api, api_once: TestUser
) -> None:
    worst = await _worst(api_once)
    made = await _new_key(api_once, spendLimit={"daily": worst, "monthly": "500"})
    assert made["spendLimit"] == {"daily": worst, "monthly": "500"}
    async with _with(shared_api, made["apiKey"]) as http:
        assert (await http.post(PATH, json=BODY)).status_code == 202
        answer = await http.post(PATH, json=BODY)
        current = (await http.get("/api/keys/current")).json()
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (402, "key_spend_limit_exceeded")
    assert (problem["retryable"], problem["spent"]) == (False, "0")
    limit = problem["spendLimit"]
    assert limit == {
        "currency": "USD", "keyId": made["id"], "period": "day", "needed": worst, "limit": worst,
        "settled": "0", "held": worst, "left": "0", "resetsAt": limit["resetsAt"],
    }  # fmt: skip
    for part in (f"spend {worst} USD per day", f"{worst} USD are held", limit["resetsAt"]):
        assert part in problem["detail"]
    assert f"PATCH /api/keys/{made['id']}" in problem["detail"]
    resets_at = datetime.fromisoformat(limit["resetsAt"])
    assert timedelta(0) < resets_at - datetime.now(UTC) <= timedelta(days=1)
    assert current["id"] == made["id"]
    day, month = current["spending"]["day"], current["spending"]["month"]
    assert (day["limit"], day["held"], day["settled"], day["left"]) == (worst, worst, "0", "0")
    assert (month["limit"], month["held"], month["resetsAt"][8:19]) == (
        "500",
        worst,
        "01T00:00:00",
    )


async def _worst(user: TestUser) -> str:
    answer = await user.http.post("/api/quotes", json=BODY)
    assert answer.status_code == 200, answer.text
    worst: str = answer.json()["worst"]
    return worst


async def test_change_applies_to_the_next_order(shared_api: Api, api_once: TestUser) -> None:
    made = await _new_key(api_once, spendLimit={"monthly": "0"})
    path = f"/api/keys/{made['id']}"
    async with _with(shared_api, made["apiKey"]) as http:
        assert (await http.post(PATH, json=BODY)).json()["spendLimit"]["period"] == "month"
        changed = await api_once.http.patch(path, json={"spendLimit": {"daily": "5"}})
        assert changed.status_code == 200
        assert changed.json()["spendLimit"] == {"daily": "5", "monthly": None}
        assert (await http.post(PATH, json=BODY)).status_code == 202
        removed = await api_once.http.patch(path, json={"spendLimit": None})
        assert removed.json()["spendLimit"] is None
        assert removed.json()["spending"]["day"]["limit"] is None
        assert float(removed.json()["spending"]["day"]["held"]) > 0
        # The key itself cannot change any limit: that needs the scope admin.
        assert (await http.patch(path, json={"spendLimit": None})).status_code == 403
        assert (await http.get("/api/keys")).status_code == 403
    listed = (await api_once.http.get("/api/keys")).json()["data"]
    assert {key["id"]: key for key in listed}[made["id"]] | {"lastUsedAt": None} == (
        removed.json() | {"lastUsedAt": None}
    )


async def test_admin_key_cannot_have_a_limit(api_once: TestUser) -> None:
    answer = await api_once.http.post(
        "/api/keys", json={"name": "x", "scopes": ["admin"], "spendLimit": {"daily": "1"}}
    )
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "spendLimit")
    assert ADMIN_REFUSED in answer.json()["errors"][0]["detail"]
    path = f"/api/keys/{api_once.key_id}"
    answer = await api_once.http.patch(path, json={"spendLimit": {"daily": "1"}})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "spendLimit")
    assert (await api_once.http.patch(path, json={"spendLimit": None})).status_code == 200


@pytest.mark.parametrize(
    "limit",
    [
        {},
        {"daily": None},
        {"daily": "-1"},
        {"daily": 5},
        {"daily": "0.0000000001"},
        {"monthly": "1e3"},
        {"weekly": "1"},
        "5",
    ],
    ids=str,
)
async def test_invalid_limit_is_refused_by_field(api_once: TestUser, limit: object) -> None:
    made = f"/api/keys/{api_once.key_id}"
    for method, path, body in (
        ("POST", "/api/keys", {"name": "x", "spendLimit": limit}),
        ("PATCH", made, {"spendLimit": limit}),
        ("PATCH", made, {}),
    ):
        answer = await api_once.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert [error["field"] for error in answer.json()["errors"]] == ["spendLimit"]


async def test_retry_counts_for_the_key_that_sends_it(shared_api: Api, api_once: TestUser) -> None:
    ended = await end(shared_api.database, api_once.user_id, NEVER_SENT)
    made = await _new_key(api_once, spendLimit={"daily": "0"})
    path = f"/api/executions/{ended.execution_id}/retry"
    async with _with(shared_api, made["apiKey"]) as http:
        answer = await http.post(path)
        assert (answer.status_code, answer.json()["code"]) == (402, "key_spend_limit_exceeded")
    assert (await api_once.http.post(path)).status_code == 202


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("generate-image", BODY),
        ("generate-audio", {"text": "Ahoy", "voice": "Rachel"}),
        ("executions", {"plan": {"version": 1, "result": "a", "steps": [
            {"name": "a", "kind": "image", "params": {"prompt": "A paper boat"}}]}}),
    ],
)  # fmt: skip
async def test_every_order_counts(
    shared_api: Api, api_once: TestUser, path: str, body: dict[str, Any]
) -> None:
    made = await _new_key(api_once, spendLimit={"daily": "0"})
    async with _with(shared_api, made["apiKey"]) as http:
        answer = await http.post(f"/api/{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (402, "key_spend_limit_exceeded"), (
        answer.text
    )


async def test_repeated_request_counts_once(shared_api: Api, api_once: TestUser) -> None:
    worst = await _worst(api_once)
    made = await _new_key(api_once, spendLimit={"daily": worst})
    async with _with(shared_api, made["apiKey"]) as http:
        answers = [
            await http.post(PATH, json=BODY, headers={"Idempotency-Key": "once"}) for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
