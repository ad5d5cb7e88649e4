"""Callbacks: verified by address and signature, stored once, announced to the waiting activity."""

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
from prometheus_client import REGISTRY
from standardwebhooks import Webhook

from api.http.middleware.body_limits import CALLBACK_BODY_BYTES
from core.domain.ids import JobId, new_job_id
from core.store.jobs.callbacks import CHANNEL
from tests.api.conftest import Api, TestUser
from tests.api.walk import Walk
from tests.support.servers import FreshDatabase

SECRET = base64.b64encode(bytes(24)).decode()  # as in the settings of these tests


async def _sending(api: Api, user: TestUser) -> tuple[Walk, JobId]:
    """Insert an execution whose video was sent without a known response."""
    answer = await user.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    walk = await Walk.claimed(api.database, user.user_id, answer.json()["executionId"])
    await walk.submit("image", "fal", "image-1")
    return walk, await walk.send("video")


def _signed(
    delivery_id: str, body: Mapping[str, Any], secret: str = SECRET
) -> tuple[dict[str, str], bytes]:
    now = datetime.now(UTC)
    text = json.dumps(body)
    headers = {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(delivery_id, now, text),
    }
    return headers, text.encode()


async def _call(
    api: Api,
    job_id: JobId,
    *,
    send: int = 1,
    delivery_id: str = "msg_1",
    prediction: str = "p1",
    secret: str = SECRET,
) -> httpx.Response:
    headers, body = _signed(delivery_id, {"id": prediction, "status": "succeeded"}, secret)
    path = f"/callbacks/replicate/{api.services.tokens.sign('replicate', job_id, send)}"
    return await api.http.post(path, content=body, headers=headers)


async def _job(api: Api, job_id: JobId) -> asyncpg.Record:
    async with api.database.as_system() as conn:
        row = await conn.fetchrow("SELECT * FROM jobs WHERE job_id = $1", job_id)
    assert row is not None
    return row


async def _callbacks(api: Api) -> list[asyncpg.Record]:
    async with api.database.as_system() as conn:
        return await conn.fetch("SELECT * FROM callbacks ORDER BY received_at")


async def test_callback_adopts_the_id_and_wakes_the_waiter(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    _, job_id = await _sending(api, user)
    received: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(fresh_database.application_dsn)

    def receive(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        received.put_nowait(str(payload))

    await listener.add_listener(CHANNEL, receive)

    answer = await _call(api, job_id)

    assert (answer.status_code, answer.json()) == (200, {})
    assert await asyncio.wait_for(received.get(), 5) == job_id
    await listener.close()
    job = await _job(api, job_id)
    assert (job["state"], job["provider_job_id"]) == ("submitted", "p1")
    assert job["callback_at"] is not None
    assert [row["adopted"] for row in await _callbacks(api)] == [True]


async def test_callback_repeated_changes_nothing(api: Api, user: TestUser) -> None:
    _, job_id = await _sending(api, user)
    answers = [await _call(api, job_id) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert len(await _callbacks(api)) == 1
    assert (await _job(api, job_id))["provider_job_id"] == "p1"


async def test_callback_of_an_earlier_send_is_kept_and_not_adopted(
    api: Api, user: TestUser
) -> None:
    _, job_id = await _sending(api, user)

    answer = await _call(api, job_id, send=7)

    assert answer.status_code == 200
    assert (await _job(api, job_id))["state"] == "submitting"
    assert [row["adopted"] for row in await _callbacks(api)] == [False]


async def test_callback_with_the_id_of_another_job_is_not_adopted(api: Api, user: TestUser) -> None:
    _, first = await _sending(api, user)
    await _call(api, first)
    other = await api.new_user()
    answer = await other.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    walk = await Walk.claimed(api.database, other.user_id, answer.json()["executionId"])
    second = await walk.send("video")

    answer = await _call(api, second, delivery_id="msg_2", prediction="p1")

    assert answer.status_code == 200
    assert (await _job(api, second))["state"] == "submitting"


async def test_callback_that_is_forged_is_401_and_writes_nothing(api: Api, user: TestUser) -> None:
    _, job_id = await _sending(api, user)

    wrong_secret = await _call(api, job_id, secret=base64.b64encode(b"x" * 24).decode())
    path = f"/callbacks/replicate/{api.services.tokens.sign('replicate', job_id, 1)}"
    headers, body = _signed("msg_1", {"id": "p1"})
    changed = await api.http.post(path, content=body.replace(b"p1", b"p2"), headers=headers)
    unsigned = await api.http.post(path, content=body)

    assert [answer.status_code for answer in (wrong_secret, changed, unsigned)] == [401, 401, 401]
    assert wrong_secret.headers["content-type"] == "application/problem+json"
    assert api.services.tokens.sign("replicate", job_id, 1) not in wrong_secret.text
    assert await _callbacks(api) == []
    assert (await _job(api, job_id))["state"] == "submitting"


async def test_callback_at_an_address_that_is_not_ours_is_404(api: Api, user: TestUser) -> None:
    _, job_id = await _sending(api, user)
    token = api.services.tokens.sign("replicate", job_id, 1)
    headers, body = _signed("msg_1", {"id": "p1"})
    headers["X-Request-Id"] = "same"
    paths = [
        "/callbacks/replicate/junk",
        f"/callbacks/replicate/{token[:-2]}AA",
        f"/callbacks/nobody/{token}",
        f"/callbacks/replicate/{api.services.tokens.sign('replicate', new_job_id(), 1)}",
        "/callbacks/replicate/%00",
    ]

    answers = [await api.http.post(path, content=body, headers=headers) for path in paths]

    assert [answer.status_code for answer in answers] == [404] * len(paths)
    assert len({answer.content for answer in answers}) == 1
    assert await _callbacks(api) == []


async def test_callback_for_a_job_of_another_provider_is_404(api: Api, user: TestUser) -> None:
    walk, _ = await _sending(api, user)

    answer = await _call(api, walk.jobs["image"])

    assert answer.status_code == 404
    assert (await _job(api, walk.jobs["image"]))["provider_job_id"] == "image-1"


async def test_callback_that_cannot_be_verified_now_is_503(api: Api, user: TestUser) -> None:
    walk, _ = await _sending(api, user)
    headers = {
        "x-fal-webhook-request-id": "r",
        "x-fal-webhook-user-id": "u",
        "x-fal-webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
        "x-fal-webhook-signature": "00" * 64,
    }
    path = f"/callbacks/fal/{api.services.tokens.sign('fal', walk.jobs['image'], 1)}"

    answer = await api.http.post(path, content=b'{"request_id": "image-1"}', headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert await _callbacks(api) == []


async def test_callback_may_be_large_but_not_endless(api: Api, user: TestUser) -> None:
    _, job_id = await _sending(api, user)
    path = f"/callbacks/replicate/{api.services.tokens.sign('replicate', job_id, 1)}"
    headers, body = _signed("msg_1", {"id": "p1", "logs": "x" * 1_000_000})

    labels = {"provider": "replicate", "outcome": "too_large"}
    before = REGISTRY.get_sample_value("takeone_callbacks_total", labels) or 0.0
    large = await api.http.post(path, content=body, headers=headers)
    endless = await api.http.post(path, content=b" " * (CALLBACK_BODY_BYTES + 1), headers=headers)

    assert REGISTRY.get_sample_value("takeone_callbacks_total", labels) == before + 1
    assert (large.status_code, endless.status_code) == (200, 413)
    assert endless.json()["instance"] == "/callbacks"


async def test_callback_outcomes_are_counted(api: Api, user: TestUser) -> None:
    _, job_id = await _sending(api, user)

    def count(outcome: str) -> float:
        labels = {"provider": "replicate", "outcome": outcome}
        return REGISTRY.get_sample_value("takeone_callbacks_total", labels) or 0.0

    before = [count(outcome) for outcome in ("adopted", "recorded", "refused")]
    await _call(api, job_id)
    await _call(api, job_id, delivery_id="msg_2")
    await _call(api, job_id, secret=base64.b64encode(b"x" * 24).decode())

    assert [count(outcome) for outcome in ("adopted", "recorded", "refused")] == [
        value + 1 for value in before
    ]
