"""The delivery log over HTTP: sent webhooks, their attempts, and redelivery."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from core.domain.ids import new_event_id, new_execution_id
from core.domain.messages.webhooks import EventType, FailedReason
from core.store.webhooks.events import (
    AttemptEnd,
    BegunAttempt,
    NewWebhook,
    begin_attempt,
    end_attempt,
    insert_webhook,
    mark_failed,
)
from tests.api.conftest import Api, TestUser
from tests.support.webhook_rows import INSERT_EXECUTION, Stored

pytestmark = pytest.mark.guarantee("G5")

URL = "https://hooks.example/takeone"
BODY = b'{"type":"execution.completed","sequence":1}'


async def store(api: Api, user: TestUser, *, url: str = URL, failed: bool = False) -> Stored:
    """Store a webhook of a new execution.

    failed: after one attempt.
    """
    stored = Stored(user_id=user.user_id, execution_id=new_execution_id(), event_id=new_event_id())
    async with api.database.as_system() as conn:
        await conn.execute(INSERT_EXECUTION, stored.execution_id, user.user_id)
    async with api.database.as_user(user.user_id) as conn:
        new = NewWebhook(
            event_id=stored.event_id,
            execution_id=stored.execution_id,
            generation=1,
            sequence=1,
            user_id=user.user_id,
            type=EventType.EXECUTION_COMPLETED,
            url=url,
            body=BODY,
        )
        assert await insert_webhook(conn, new)
        if failed:
            assert await begin_attempt(conn, stored.order) == BegunAttempt(1, 0)
            end = AttemptEnd(
                duration_ms=31, status_code=404, error="http_error", response_excerpt="no such page"
            )
            await end_attempt(conn, stored.order, 1, end)
            assert await mark_failed(conn, stored.order, FailedReason.EXHAUSTED)
    return stored


async def listed(user: TestUser, **query: str) -> list[str]:
    answer = await user.http.get("/api/webhooks", params=query)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


async def test_log_shows_a_webhook_with_body_and_attempts(api: Api, user: TestUser) -> None:
    stored = await store(api, user, failed=True)
    shown: dict[str, Any] = (await user.http.get(f"/api/webhooks/{stored.event_id}")).json()
    assert shown["body"] == {"type": "execution.completed", "sequence": 1}
    (tried,) = shown["attemptLog"]
    assert datetime.now(UTC) - datetime.fromisoformat(tried.pop("startedAt")) < timedelta(minutes=1)
    assert tried == {
        "delivery": 1, "number": 1, "durationMs": 31, "statusCode": 404, "error": "http_error",
        "responseExcerpt": "no such page",
    }  # fmt: skip
    assert (shown["state"], shown["failedReason"], shown["delivery"]) == ("failed", "exhausted", 1)
    assert (shown["attempts"], shown["lastStatusCode"], shown["lastError"]) == (
        1,
        404,
        "http_error",
    )
    assert (shown["executionId"], shown["generation"], shown["sequence"]) == (
        stored.execution_id,
        1,
        1,
    )
    assert shown["endpointId"].startswith("end_")
    (entry,) = (await user.http.get("/api/webhooks")).json()["data"]
    assert entry == {
        name: value for name, value in shown.items() if name not in ("body", "attemptLog")
    }


async def test_log_filters_and_has_stable_pages(api: Api, user: TestUser) -> None:
    stored = [
        await store(api, user, url=f"{URL}/{number % 2}", failed=number == 3) for number in range(7)
    ]
    ids = [one.event_id for one in stored][::-1]
    assert await listed(user) == ids
    assert await listed(user, executionId=stored[2].execution_id) == [stored[2].event_id]
    assert await listed(user, state="failed") == [stored[3].event_id]
    assert await listed(user, state="failed", executionId=stored[2].execution_id) == []
    assert await listed(user, type="execution.failed") == []
    endpoint_id = (await user.http.get(f"/api/webhooks/{ids[0]}")).json()["endpointId"]
    assert await listed(user, endpointId=endpoint_id) == ids[::2]
    seen: list[str] = []
    query = {"limit": "3"}
    while True:
        page = (await user.http.get("/api/webhooks", params=query)).json()
        seen += [one["id"] for one in page["data"]]
        await store(api, user)
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
    assert seen == ids


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"executionId": "exec_" + "0" * 32}, 404),
        ({"executionId": "none"}, 404),
        ({"endpointId": "end_" + "0" * 32}, 404),
        ({"state": "lost"}, 422),
        ({"type": "execution.began"}, 422),
        ({"limit": "101"}, 422),
        ({"cursor": "junk"}, 422),
        ({"before": "now"}, 422),
    ],
)
async def test_log_of_an_unknown_webhook_is_refused(
    api_once: TestUser, query: dict[str, str], status: int
) -> None:
    assert (await api_once.http.get("/api/webhooks", params=query)).status_code == status


async def test_resent_webhook_has_its_own_delivery(api: Api, user: TestUser) -> None:
    stored = await store(api, user, failed=True)
    for delivery in (2, 3):
        answer = await user.http.post(f"/api/webhooks/{stored.event_id}/resend")
        assert answer.status_code == 202, answer.text
        shown = answer.json()
        assert (shown["id"], shown["delivery"]) == (stored.event_id, delivery)
        assert (shown["state"], shown["failedReason"], shown["attempts"]) == ("pending", None, 1)
        handle = api.services.temporal.get_workflow_handle(f"deliver/{stored.event_id}/{delivery}")
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
        await handle.terminate()
    missing = await user.http.post(f"/api/webhooks/{new_event_id()}/resend")
    assert (missing.status_code, missing.json()["instance"]) == (404, "/api/webhooks")


async def test_webhook_of_a_disabled_endpoint_is_not_resent(api: Api, user: TestUser) -> None:
    stored = await store(api, user, failed=True)
    endpoint_id = (await user.http.get(f"/api/webhooks/{stored.event_id}")).json()["endpointId"]
    await user.http.post(f"/api/endpoints/{endpoint_id}/disable")
    refused = await user.http.post(f"/api/webhooks/{stored.event_id}/resend")
    assert (refused.status_code, refused.json()["code"]) == (409, "endpoint_disabled")
    shown = (await user.http.get(f"/api/webhooks/{stored.event_id}")).json()
    assert (shown["state"], shown["delivery"]) == ("failed", 1)


async def test_range_is_resent_in_pages_without_disabled_endpoints(
    api: Api, user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.webhooks.deliveries.MAX_RESENT", 3)
    outside = await store(api, user, failed=True)
    async with api.database.as_system() as conn:
        await conn.execute("UPDATE webhooks SET created_at = created_at - interval '2 hours'")
    failed = [await store(api, user, failed=True) for _ in range(5)]
    off = [await store(api, user, url=f"{URL}/off", failed=True) for _ in range(2)]
    pending = await store(api, user)
    endpoint_id = (await user.http.get(f"/api/webhooks/{off[0].event_id}")).json()["endpointId"]
    await user.http.post(f"/api/endpoints/{endpoint_id}/disable")
    now = datetime.now(UTC)
    asked: dict[str, Any] = {
        "from": (now - timedelta(hours=1)).isoformat(),
        "to": (now + timedelta(hours=1)).isoformat(),
    }
    answers: list[tuple[int, int]] = []
    while True:
        answer = await user.http.post("/api/webhooks/resend", json=asked)
        assert answer.status_code == 200, answer.text
        answers.append((answer.json()["resent"], answer.json()["skipped"]))
        if answer.json()["nextCursor"] is None:
            break
        asked["cursor"] = answer.json()["nextCursor"]
    assert answers == [(3, 0), (2, 1), (0, 1)]
    async with api.database.as_system() as conn:
        rows = await conn.fetch("SELECT event_id, state, delivery FROM webhooks")
    found = {row["event_id"]: (row["state"], row["delivery"]) for row in rows}
    assert {found[one.event_id] for one in failed} == {("pending", 2)}
    assert {found[one.event_id] for one in (*off, outside)} == {("failed", 1)}
    assert found[pending.event_id] == ("pending", 1)


async def test_range_can_include_delivered_webhooks_of_one_endpoint(
    api: Api, user: TestUser
) -> None:
    here, there = await store(api, user), await store(api, user, url=f"{URL}/there")
    async with api.database.as_system() as conn:
        await conn.execute("UPDATE webhooks SET state = 'delivered', ended_at = now()")
    endpoint_id = (await user.http.get(f"/api/webhooks/{here.event_id}")).json()["endpointId"]
    day = timedelta(days=1)
    asked = {
        "from": (datetime.now(UTC) - day).isoformat(),
        "to": (datetime.now(UTC) + day).isoformat(),
    }
    none = await user.http.post("/api/webhooks/resend", json=asked)
    assert none.json() == {"resent": 0, "skipped": 0, "nextCursor": None}
    some = await user.http.post(
        "/api/webhooks/resend", json={**asked, "state": "delivered", "endpointId": endpoint_id}
    )
    assert some.json() == {"resent": 1, "skipped": 0, "nextCursor": None}
    assert await listed(user, state="pending") == [here.event_id]
    assert await listed(user, state="delivered") == [there.event_id]


DAY = {"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"from": DAY["from"]}, 422),
        ({**DAY, "to": DAY["from"]}, 422),
        ({**DAY, "from": "2026-11-22T00:00:00"}, 422),
        ({**DAY, "from": 1795382260}, 422),
        ({**DAY, "from": "1795382260"}, 422),
        ({**DAY, "from": "1999-01-01T00:00:00Z"}, 422),
        ({**DAY, "state": "pending"}, 422),
        ({**DAY, "cursor": "junk"}, 422),
        ({**DAY, "endpointId": "end_" + "0" * 32}, 404),
        (DAY, 200),
    ],
)
async def test_invalid_range_is_refused(
    api_once: TestUser, body: dict[str, Any], status: int
) -> None:
    answer = await api_once.http.post("/api/webhooks/resend", json=body)
    assert answer.status_code == status, answer.text
