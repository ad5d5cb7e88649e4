"""Get, list and cancel executions; users see only their own."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import EventId, ExecutionId, new_asset_id, new_execution_id
from core.domain.messages.webhooks import EventType
from core.domain.money import nano_usd, usd_text
from core.domain.states import ExecutionStatus, JobState
from core.store.webhooks.events import NewWebhook, insert_webhook
from tests.api.conftest import Api, TestUser
from tests.api.walk import Walk

BODY = {
    "prompt": "A paper boat",
    "webhook": "https://example.com/hook",
    "metadata": {"order": "A-1", "n": 2.5},
}
FIELDS = {
    "id", "type", "status", "generation", "progress", "currentJob", "completedJobs", "failedJobs", "jobs", "result",
    "error", "cost", "webhook", "metadata", "createdAt", "updatedAt", "template", "prompt", "waitingFor",
    "queue", "eta",
}  # fmt: skip


async def _post(user: TestUser) -> str:
    answer = await user.http.post("/api/generate-video", json=BODY)
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    return execution_id


async def _read(user: TestUser, execution_id: str) -> dict[str, Any]:
    answer = await user.http.get(f"/api/executions/{execution_id}")
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def test_queued_execution_shows_its_worst_cost(user: TestUser) -> None:
    read = await _read(user, await _post(user))

    assert set(read) == FIELDS
    assert (read["type"], read["status"], read["progress"], read["currentJob"]) == (
        "generate-video",
        "queued",
        0,
        None,
    )
    assert (read["completedJobs"], read["failedJobs"]) == ([], [])
    assert (read["result"], read["error"], read["metadata"]) == (None, None, BODY["metadata"])
    assert read["createdAt"].endswith("Z")
    image, video = read["jobs"]
    assert set(image) == {
        "id", "step", "state", "generation", "supersedes", "orphan", "provider", "model", "tries", "createdAt",
        "submittedAt", "endedAt", "cost", "error", "reusedFrom", "warnings",
    }  # fmt: skip
    assert [(job["step"], job["state"], job["tries"]) for job in (image, video)] == [
        ("image", "waiting", 0),
        ("video", "waiting", 0),
    ]
    held = nano_usd(image["cost"]["held"]) + nano_usd(video["cost"]["held"])
    assert image["cost"] == {
        "estimated": image["cost"]["held"],
        "held": image["cost"]["held"],
        "settled": "0",
        "saved": "0",
        "basis": None,
    }
    assert read["cost"] == {
        "currency": "USD", "estimated": usd_text(held), "held": usd_text(held),
        "settled": "0", "saved": "0", "final": False,
    }  # fmt: skip
    assert read["webhook"]["url"] == BODY["webhook"]
    assert (read["webhook"]["state"], read["webhook"]["attempts"]) == (None, 0)


async def test_execution_shows_its_progress_to_the_end(api: Api, user: TestUser) -> None:
    execution_id = await _post(user)
    walk = await Walk.claimed(api.database, user.user_id, execution_id)
    await walk.submit("image", "fal", "request-1")
    running = await _read(user, execution_id)
    assert (running["status"], running["currentJob"], running["completedJobs"]) == (
        "running",
        "image",
        [],
    )
    assert (running["jobs"][0]["state"], running["jobs"][0]["tries"]) == ("submitted", 1)
    assert running["jobs"][0]["submittedAt"] is not None

    await walk.settle("image", 3_000_000, JobState.COMPLETED)
    await walk.send("video")
    half = await _read(user, execution_id)
    assert (half["currentJob"], half["completedJobs"]) == ("video", ["image"])
    assert 0 < half["progress"] < 100
    assert half["cost"]["settled"] == "0.003"
    assert half["jobs"][0]["cost"]["basis"] == "reported"
    assert half["updatedAt"] > running["updatedAt"]

    await walk.release("video")
    error: dict[str, object] = {
        "code": "provider_failed",
        "message": "m",
        "retryable": True,
        "spent": "0.003",
    }
    await walk.end(ExecutionStatus.FAILED, progress=7, error=error)
    ended = await _read(user, execution_id)
    assert (ended["status"], ended["progress"], ended["currentJob"]) == ("failed", 7, None)
    assert ended["error"] == error
    assert (ended["cost"]["held"], ended["cost"]["settled"], ended["cost"]["final"]) == (
        "0",
        "0.003",
        True,
    )


async def test_execution_shows_a_job_that_failed(api: Api, user: TestUser) -> None:
    execution_id = await _post(user)
    walk = await Walk.claimed(api.database, user.user_id, execution_id)
    await walk.submit("image", "fal", "request-2")
    await walk.settle("image", 0, JobState.FAILED, Failure.of(FailureCode.CONTENT_MODERATED))

    read = await _read(user, execution_id)

    assert read["failedJobs"] == ["image"]
    assert read["jobs"][0]["error"]["code"] == "content_moderated"


async def test_execution_shows_its_webhook_without_any_secret(api: Api, user: TestUser) -> None:
    execution_id = await _post(user)
    walk = await Walk.claimed(api.database, user.user_id, execution_id)
    await walk.end(ExecutionStatus.CANCELLED, progress=0)
    event = NewWebhook(
        sequence=1,
        event_id=EventId("evt_1"),
        execution_id=walk.ref.execution_id,
        generation=1,
        user_id=user.user_id,
        type=EventType.EXECUTION_CANCELLED,
        url=BODY["webhook"],  # pyright: ignore[reportArgumentType] - a text in a mixed dict
        body=b"{}",
    )
    async with api.database.as_user(user.user_id) as conn:
        await insert_webhook(conn, event)
        for number, status in ((1, 500), (2, 404)):
            await conn.execute(
                "INSERT INTO webhook_attempts (event_id,delivery,number,user_id,status_code) VALUES ($1,1,$2,$3,$4)",
                event.event_id,
                number,
                user.user_id,
                status,
            )

    webhook = (await _read(user, execution_id))["webhook"]

    assert set(webhook) == {
        "url", "eventId", "state", "failedReason", "attempts", "lastAttemptAt", "lastStatusCode", "lastError", "endedAt"
    }  # fmt: skip
    assert (webhook["eventId"], webhook["state"]) == ("evt_1", "pending")
    assert (webhook["attempts"], webhook["lastStatusCode"]) == (2, 404)


@pytest.mark.parametrize(
    "path", ["/api/executions/{}", "/api/executions/{}/cancel", "/api/assets/{}/content"]
)
async def test_execution_of_another_user_is_an_identical_404(
    api: Api, user: TestUser, path: str
) -> None:
    execution_id = await _post(user)
    asset_id = await _insert_asset(api, user, execution_id)
    other = await api.new_user()
    ids = [asset_id, new_asset_id()] if "assets" in path else [execution_id, new_execution_id()]
    method = "POST" if path.endswith("cancel") else "GET"

    answers: list[httpx.Response] = [
        await other.http.request(method, path.format(each), headers={"X-Request-Id": "same"})
        for each in [*ids, "junk", "exec_", "%00", "é" * 300]
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1
    assert (await _read(user, execution_id))["status"] == "queued"


async def _insert_asset(api: Api, user: TestUser, execution_id: str) -> str:
    asset_id = new_asset_id()
    async with api.database.as_user(user.user_id) as conn:
        job_id = await conn.fetchval(
            "SELECT job_id FROM jobs WHERE execution_id = $1 LIMIT 1", execution_id
        )
        await conn.execute(
            """
            INSERT INTO assets (asset_id, job_id, output_number, execution_id, user_id, kind, object_key, size_bytes,
                                sha256, content_type)
            VALUES ($1, $2, 0, $3, $4, 'video', 'videos/2026/a b.mp4', 1, 'x', 'video/mp4')
            """,
            asset_id,
            job_id,
            execution_id,
            user.user_id,
        )
    return asset_id


async def test_asset_content_redirects_to_a_signed_url(api: Api, user: TestUser) -> None:
    asset_id = await _insert_asset(api, user, await _post(user))

    answer = await user.http.get(f"/api/assets/{asset_id}/content", follow_redirects=False)

    assert answer.status_code == 302
    assert answer.headers["cache-control"] == "no-store"
    location = httpx.URL(answer.headers["location"])
    assert location.path == "/takeone-test/videos/2026/a b.mp4"
    assert "X-Amz-Signature" in location.params


@pytest.mark.parametrize(
    ("requested", "disposition"),
    [
        ("", 'attachment; filename="{}-video.mp4"'),
        ("holiday", 'attachment; filename="holiday.mp4"'),
        ("été.mp4", "attachment; filename=\"_t_.mp4\"; filename*=UTF-8''%C3%A9t%C3%A9.mp4"),
    ],
)
async def test_download_redirects_to_an_address_with_a_file_name(
    api: Api, user: TestUser, requested: str, disposition: str
) -> None:
    execution_id = await _post(user)
    path = f"/api/assets/{await _insert_asset(api, user, execution_id)}/content"

    answer = await user.http.get(path, params={"download": requested}, follow_redirects=False)

    assert answer.status_code == 302
    assert answer.headers["cache-control"] == "no-store"
    parameters = httpx.URL(answer.headers["location"]).params
    assert parameters["response-content-disposition"] == disposition.format(execution_id)
    assert "X-Amz-Signature" in parameters


@pytest.mark.parametrize("requested", ["../a.mp4", "a\r\nSet-Cookie: b", "a\\b", "x" * 121, ".."])
async def test_download_under_an_unsafe_name_is_refused(user: TestUser, requested: str) -> None:
    path = f"/api/assets/{new_asset_id()}/content"

    answer = await user.http.get(path, params={"download": requested}, follow_redirects=False)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["download"]


async def test_list_pages_through_own_executions_newest_first(api: Api, user: TestUser) -> None:
    other = await api.new_user()
    await _post(other)
    ids = [await _post(user) for _ in range(5)]

    first = (await user.http.get("/api/executions", params={"limit": 2})).json()
    newer = await _post(user)
    second = (
        await user.http.get("/api/executions", params={"limit": 2, "cursor": first["nextCursor"]})
    ).json()
    third = (
        await user.http.get("/api/executions", params={"limit": 2, "cursor": second["nextCursor"]})
    ).json()

    pages = [[entry["id"] for entry in page["data"]] for page in (first, second, third)]
    assert pages == [ids[:2:-1], ids[2:0:-1], ids[:1]]
    assert third["nextCursor"] is None
    assert set(first["data"][0]) == FIELDS
    everything = (await user.http.get("/api/executions")).json()
    assert [entry["id"] for entry in everything["data"]] == [newer, *reversed(ids)]
    assert everything["nextCursor"] is None


async def test_list_filters(api: Api, user: TestUser) -> None:
    old, new = await _post(user), await _post(user)
    walk = await Walk.claimed(api.database, user.user_id, old)
    await walk.end(ExecutionStatus.CANCELLED, progress=0)
    at = (await _read(user, old))["createdAt"]

    async def ids(**params: str | list[str]) -> list[str]:
        answer = await user.http.get("/api/executions", params=params)
        assert answer.status_code == 200, answer.text
        return [entry["id"] for entry in answer.json()["data"]]

    assert await ids(status="cancelled") == [old]
    assert await ids(status="queued") == [new]
    assert await ids(status=["queued", "cancelled"]) == [new, old]
    assert await ids(status=["failed", "cancelled"]) == [old]
    assert await ids(metadataKey="order") == [new, old]
    assert await ids(metadataKey="order", metadataValue="A-1") == [new, old]
    assert await ids(metadataKey="n", metadataValue="2.5", status="queued") == [new]
    assert await ids(metadataKey="order", metadataValue="A-2") == []
    assert await ids(metadataKey="other") == []
    assert await ids(type="generate-video") == [new, old]
    assert await ids(createdAfter=at) == [new]
    assert await ids(createdBefore=at) == []
    assert await ids(createdBefore="2100-01-01T00:00:00Z", status="cancelled") == [old]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "done"}, "status"),
        ({"status": "\0"}, "status"),
        ({"status": ["queued", "done"]}, "status"),
        ({"type": "other"}, "type"),
        ({"limit": ["1", "2"]}, "limit"),
        ({"type": ["generate-video", "generate-video"]}, "type"),
        ({"metadataValue": "A-1"}, "metadataValue"),
        ({"metadataKey": "\0"}, "metadataKey"),
        ({"metadataKey": "a", "metadataValue": "\0"}, "metadataValue"),
        ({"cursor": "junk"}, "cursor"),
        ({"cursor": "ZXhlY18x"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"createdAfter": "yesterday"}, "createdAfter"),
        ({"createdAfter": "2026-01-01T00:00:00"}, "createdAfter"),
        ({"createdBefore": "9999-12-31T23:59:59-23:59"}, "createdBefore"),
        ({"createdBefore": "0001-01-01T00:00:00+23:59"}, "createdBefore"),
        ({"other": "1"}, "other"),
    ],
)
async def test_list_names_the_invalid_parameter(
    api_once: TestUser, params: dict[str, Any], field: str
) -> None:
    answer = await api_once.http.get("/api/executions", params=params)

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_cancel_waits_for_the_end_and_returns_the_cost(
    api: Api, user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.ordering.cancel.CANCEL_WAIT_SECONDS", 60.0)
    execution_id = await _post(user)
    walk = await Walk.claimed(api.database, user.user_id, execution_id)
    await walk.submit("image", "fal", "request-3")

    async def end_a_little_later() -> None:
        await asyncio.sleep(0.5)
        await walk.settle("image", 1_000_000, JobState.CANCELLED)
        await walk.release("video")
        await walk.end(ExecutionStatus.CANCELLED, progress=1)

    started = time.monotonic()
    answer, _ = await asyncio.gather(
        user.http.post(f"/api/executions/{execution_id}/cancel"), end_a_little_later()
    )

    assert answer.status_code == 200, answer.text
    assert time.monotonic() - started < 30
    cost = (await _read(user, execution_id))["cost"]
    assert answer.json() == {
        "executionId": execution_id,
        "status": "cancelled",
        "spent": "0.001",
        "released": usd_text(nano_usd(cost["estimated"]) - 1_000_000),
        "final": True,
    }
    again = await user.http.post(f"/api/executions/{execution_id}/cancel")
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_cancel_without_an_end_in_time_is_stored(api: Api, user: TestUser) -> None:
    execution_id = await _post(user)

    answer = await user.http.post(f"/api/executions/{execution_id}/cancel")

    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["final"], answer.json()["spent"]) == (
        "queued",
        False,
        "0",
    )
    async with api.database.as_user(user.user_id) as conn:
        cancel_requested_at = await conn.fetchval(
            "SELECT cancel_requested_at FROM executions WHERE execution_id = $1", execution_id
        )
    assert cancel_requested_at is not None
    events = await api.services.temporal.get_workflow_handle(execution_id).fetch_history()
    assert any(
        event.HasField("workflow_execution_signaled_event_attributes") for event in events.events
    )


async def test_cancel_after_the_end_changes_nothing(api: Api, user: TestUser) -> None:
    execution_id = await _post(user)
    walk = await Walk.claimed(api.database, user.user_id, ExecutionId(execution_id))
    await walk.end(
        ExecutionStatus.COMPLETED, progress=100, result={"videoUrl": "https://cdn.example/v.mp4"}
    )

    answer = await user.http.post(f"/api/executions/{execution_id}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    read = await _read(user, execution_id)
    assert (read["status"], read["progress"]) == ("completed", 100)
    assert read["result"] == {"videoUrl": "https://cdn.example/v.mp4"}
