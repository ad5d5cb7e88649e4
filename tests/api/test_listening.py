"""Listening endpoints over HTTP: their life, and the default that they stand in for."""

from datetime import timedelta
from typing import Any

import pytest

from core.domain.ids import EndpointId, EventId, ExecutionId, new_event_id
from core.domain.messages.webhooks import EventType
from core.maintenance.cleanup import Cleanup
from core.store.webhooks.events import NewWebhook, get_webhook, insert_webhook
from core.store.webhooks.listening import MAX_LISTENING, UNUSED_FOR
from tests.api.conftest import Api, TestUser

STREAM = {"kind": "stream"}


async def make(user: TestUser, **body: Any) -> dict[str, Any]:
    answer = await user.http.post("/api/endpoints", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def default_of(user: TestUser) -> list[str]:
    listed = (await user.http.get("/api/endpoints")).json()["data"]
    return [one["id"] for one in listed if one["default"]]


async def test_listening_endpoint_shows_its_secret_once(user: TestUser) -> None:
    made = await make(user, **STREAM, description="laptop")
    assert made["secret"].startswith("whsec_")
    assert (made["kind"], made["url"], made["ownSecret"]) == (
        "stream",
        f"stream:{made['id']}",
        True,
    )
    read = (await user.http.get(f"/api/endpoints/{made['id']}")).json()
    assert "secret" not in read
    own = await make(user, **STREAM, secret="0123456789abcdef-own")
    assert own["secret"] is None, "the caller has it"


@pytest.mark.parametrize("body", [{}, {"kind": "url"}, {**STREAM, "url": "https://a.example/"}])
async def test_endpoint_needs_either_url_or_stream(user: TestUser, body: dict[str, Any]) -> None:
    answer = await user.http.post("/api/endpoints", json=body)
    assert answer.status_code == 422, answer.text
    assert "except with the kind stream" in answer.text


async def test_number_of_listening_endpoints_is_bounded(user: TestUser) -> None:
    for _ in range(MAX_LISTENING):
        await make(user, **STREAM)
    answer = await user.http.post("/api/endpoints", json=STREAM)
    assert answer.status_code == 422
    assert str(MAX_LISTENING) in answer.text


async def test_listening_endpoint_stands_in_for_the_default(user: TestUser) -> None:
    production = await make(user, url="https://hooks.example/", default=True)
    first = await make(user, **STREAM, default=True)
    assert await default_of(user) == [first["id"]]
    await user.http.delete(f"/api/endpoints/{first['id']}")
    assert await default_of(user) == [production["id"]]


async def test_endpoint_without_listener_is_deleted_after_an_hour(api: Api, user: TestUser) -> None:
    kept, gone = await make(user, **STREAM), await make(user, **STREAM, default=True)
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE endpoints SET listened_at = listened_at - $2::interval WHERE endpoint_id = $1",
            gone["id"],
            UNUSED_FOR + timedelta(seconds=1),
        )
    cleanup = Cleanup(database=api.database, objects=api.services.objects)
    await cleanup.delete_unused_listening()
    listed = (await user.http.get("/api/endpoints")).json()["data"]
    assert [one["id"] for one in listed] == [kept["id"]]


async def test_event_for_a_deleted_listener_creates_no_endpoint(api: Api, user: TestUser) -> None:
    made = await make(user, **STREAM, default=True)
    ordered = await user.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    execution_id = ExecutionId(ordered.json()["executionId"])
    await user.http.delete(f"/api/endpoints/{made['id']}")
    event_id = new_event_id()
    async with api.database.as_user(user.user_id) as conn:
        assert await insert_webhook(
            conn,
            NewWebhook(
                event_id=event_id,
                execution_id=execution_id,
                generation=1,
                sequence=1,
                user_id=user.user_id,
                type=EventType.EXECUTION_COMPLETED,
                url=made["url"],
                body=b"{}",
            ),
        )
        webhook = await get_webhook(conn, EventId(event_id))
    assert (webhook.endpoint_id, webhook.closed) == (EndpointId(made["id"]), "endpoint_deleted")
    assert (await user.http.get("/api/endpoints")).json()["data"] == []


async def test_url_endpoint_has_no_stream_and_no_results(user: TestUser) -> None:
    made = await make(user, url="https://hooks.example/")
    result = {
        "eventId": new_event_id(), "delivery": 1, "number": 1, "durationMs": 5, "statusCode": 200,
    }  # fmt: skip
    for endpoint_id in (made["id"], "end_" + "0" * 32):
        stream = await user.http.get(f"/api/endpoints/{endpoint_id}/stream")
        reported = await user.http.post(f"/api/endpoints/{endpoint_id}/results", json=result)
        assert (stream.status_code, reported.status_code) == (404, 404)
