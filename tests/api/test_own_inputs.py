"""Orders with the user's own files: what is bought, refused, kept in use, and imported first."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api.executions.parameters import idempotency_key
from api.executions.requests import GenerateVideoRequest
from core.domain.states import ExecutionStatus
from tests.api.conftest import Api, TestUser
from tests.api.ended import STORED, end
from tests.api.uploading import upload, uploading_api
from tests.store.files.conftest import s3 as s3
from tests.store.files.conftest import s3_settings as s3_settings
from tests.store.files.file_server import file_server
from tests.support.media_files import picture, silence
from tests.support.servers import PostgresServer, S3Server, new_database

pytestmark = [pytest.mark.guarantee("G3", "G6"), pytest.mark.usefixtures("s3")]

FROM_TEXT = "bytedance/seedance-1-pro"
PICTURE, SOUND = picture("PNG"), silence("wav", "pcm_s16le", seconds=0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shop:
    """A user with a picture and a sound. picture_url: serves the picture."""

    api: Api
    user: TestUser
    picture_id: str
    sound_id: str
    picture_url: str
    server_url: str

    async def quote(self, **body: Any) -> httpx.Response:
        return await self.user.http.post("/api/quotes", json={"prompt": "a kite", **body})

    async def order(self, key: str | None = None, **body: Any) -> httpx.Response:
        return await self.user.http.post(
            "/api/generate-video",
            json={"prompt": "a kite", **body},
            headers={"Idempotency-Key": key} if key else {},
        )

    async def assets(self) -> list[str]:
        listed = await self.user.http.get("/api/assets", params={"source": "upload"})
        return [item["id"] for item in listed.json()["data"]]


@pytest.fixture(scope="module")
async def shared(
    postgres_server: PostgresServer,
    template_database: str,
    s3_server: S3Server,
    temporal_address: str,
) -> AsyncGenerator[tuple[Api, str]]:
    storage = urlsplit(s3_server.access.endpoint_url).netloc
    async with (
        new_database(postgres_server, template_database) as database,
        file_server() as files,
        uploading_api(
            database,
            s3_server,
            temporal_address=temporal_address,
            allowed_private_hosts=(storage, urlsplit(files.url).netloc),
        ) as api,
    ):
        yield api, files.url


@pytest.fixture
async def shop(shared: tuple[Api, str]) -> AsyncGenerator[_Shop]:
    api, server_url = shared
    user, other = await api.new_user(), await api.new_user()
    async with user.http, other.http:
        foreign_id = (await upload(other, PICTURE)).json()["id"]
        served = await other.http.get(f"/api/assets/{foreign_id}/content")
        yield _Shop(
            api=api,
            user=user,
            picture_id=(await upload(user, PICTURE)).json()["id"],
            sound_id=(await upload(user, SOUND)).json()["id"],
            picture_url=served.headers["location"],
            server_url=server_url,
        )


async def test_own_image_and_text_to_video_buy_no_image(shop: _Shop) -> None:
    for body, steps in (
        ({}, ["image", "video"]),
        ({"image": {"asset": shop.picture_id}}, ["video"]),
        ({"image": {"url": "https://example.com/a.png"}}, ["video"]),
        ({"textToVideo": True, "videoModel": FROM_TEXT}, ["video"]),
    ):
        answer = await shop.quote(**body)
        assert answer.status_code == 200, answer.text
        assert [job["step"] for job in answer.json()["jobs"]] == steps, body
    assert len(await shop.assets()) == 2, "a quote fetches nothing"


async def test_files_that_do_not_fit_name_their_field(shop: _Shop) -> None:
    own = {"asset": shop.picture_id}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"image": {"asset": shop.sound_id}}, "image", "must be an image, not audio"),
        ({"image": {"asset": f"asset_{'0' * 32}"}}, "image", "is not one of your assets"),
        ({"image": {"asset": "asset_1"}}, "image", "pattern"),
        ({"image": {}}, "image", "either asset or url"),
        ({"image": {**own, "url": "https://example.com/a"}}, "image", "either asset or url"),
        ({"image": {"url": "ftp://example.com/a"}}, "image", "http"),
        ({"endImage": own}, "endImage", "requires image"),
        ({"image": own, "textToVideo": True}, "textToVideo", "must not be combined"),
        ({"image": own, "imageModel": "x"}, "imageModel", "no image is bought"),
        ({"negativePrompt": "rain"}, "negativePrompt", "is not supported"),
    ]
    for body, field, words in cases:
        answer = await shop.quote(**body)
        assert answer.status_code == 422, (body, answer.text)
        (error,) = answer.json()["errors"]
        assert (error["field"], words in error["detail"]) == (field, True), (body, error)


async def test_foreign_asset_is_answered_like_an_unknown_one(shop: _Shop) -> None:
    other = await shop.api.new_user()
    async with other.http:
        for path in ("/api/quotes", "/api/generate-video"):
            answers = [
                await other.http.post(
                    path,
                    json={"prompt": "a kite", "image": {"asset": asset_id}},
                    headers={"X-Request-Id": "same"},
                )
                for asset_id in (shop.picture_id, f"asset_{'0' * 32}")
            ]
            assert answers[0].status_code == 422
            assert answers[0].content == answers[1].content


async def test_file_at_a_url_is_imported_before_the_order(shop: _Shop) -> None:
    answer = await shop.order("once", image={"url": shop.picture_url})

    assert answer.status_code == 202, answer.text
    execution_id = answer.json()["executionId"]
    async with shop.api.database.as_user(shop.user.user_id) as conn:
        (row,) = await conn.fetch(
            "SELECT parameters FROM steps WHERE execution_id = $1", execution_id
        )
    assert row["parameters"]["image"] == {"asset": shop.picture_id}, "its content is there already"
    again = await shop.order("once", image={"url": shop.picture_url})
    assert (again.content, again.headers["Idempotent-Replayed"]) == (answer.content, "true")


async def test_bad_file_at_a_url_accepts_nothing(shop: _Shop) -> None:
    answer = await shop.order(image={"url": f"{shop.server_url}/status/404"})

    assert (answer.status_code, answer.json()["code"]) == (422, "media_unavailable"), answer.text
    assert answer.json()["errors"][0]["field"] == "image"
    assert (await shop.user.http.get("/api/executions")).json()["data"] == []


async def test_accepted_order_is_repeated_without_its_url(shop: _Shop) -> None:
    """The stored answer is returned before the file, which may be gone, is fetched again."""
    body = {"image": {"url": f"{shop.server_url}/status/404"}}
    refused = await shop.order("key", **body)
    assert refused.status_code == 422
    async with shop.api.database.as_user(shop.user.user_id) as conn:
        accepted = await shop.order("other", image={"asset": shop.picture_id})
        await conn.execute(
            "INSERT INTO idempotency_keys (user_id, key, request_sha256, response)"
            " SELECT user_id, 'key', $2, response FROM idempotency_keys WHERE user_id = $1",
            shop.user.user_id,
            _sha256({"prompt": "a kite", **body}),
        )
    repeated = await shop.order("key", **body)
    assert (repeated.status_code, repeated.content) == (202, accepted.content)


def _sha256(body: dict[str, Any]) -> bytes:
    key = idempotency_key("key", "generate-video", body=GenerateVideoRequest.model_validate(body))
    assert key is not None
    return key.request_sha256


async def test_asset_of_an_order_is_kept_until_its_end(shop: _Shop) -> None:
    accepted = (await shop.order(image={"asset": shop.picture_id})).json()

    kept = await shop.user.http.delete(f"/api/assets/{shop.picture_id}")

    assert (kept.status_code, kept.json()["code"]) == (409, "asset_in_use")
    async with shop.api.database.as_system() as conn:
        await conn.execute(
            "UPDATE executions SET status = 'failed', ended_at = now() WHERE execution_id = $1",
            accepted["executionId"],
        )
        await conn.execute(
            "UPDATE jobs SET state = 'failed', ended_at = now(),"
            ' failure = \'{"code": "provider_failed", "message": ""}\' WHERE execution_id = $1',
            accepted["executionId"],
        )
    assert (await shop.user.http.delete(f"/api/assets/{shop.picture_id}")).status_code == 204
    retried = await shop.user.http.post(f"/api/executions/{accepted['executionId']}/retry")
    assert (retried.status_code, retried.json()["code"]) == (409, "asset_deleted"), retried.text


async def test_output_in_use_outlives_the_deletion_of_its_execution(shop: _Shop) -> None:
    one = await end(shop.api.database, shop.user.user_id, STORED, status=ExecutionStatus.COMPLETED)
    async with shop.api.database.as_system() as conn:
        await conn.execute(
            "UPDATE webhooks SET state = 'delivered', ended_at = now() WHERE execution_id = $1",
            one.execution_id,
        )
        (row,) = await conn.fetch(
            "SELECT asset_id FROM assets WHERE execution_id = $1 AND kind = 'image'",
            one.execution_id,
        )
    accepted = await shop.order(image={"asset": row["asset_id"]})
    assert accepted.status_code == 202, accepted.text

    refused = await shop.user.http.delete(f"/api/executions/{one.execution_id}")

    assert (refused.status_code, refused.json()["code"]) == (409, "asset_in_use")
    assert refused.json()["executionId"] == accepted.json()["executionId"]
    direct = await shop.user.http.delete(f"/api/assets/{row['asset_id']}")
    assert (direct.status_code, direct.json()["executionId"]) == (409, one.execution_id)
