"""The OpenAI clients for Python and Node on the whole stack: each check with both of them."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest

from deploy.local.stack import Stack
from tests.end_to_end.openai_clients import (
    Client,
    NodeClient,
    PythonClient,
    RefusedError,
    install_node_client,
)
from tests.end_to_end.world import PROMPT, World
from tests.support.media_files import picture, silence

pytestmark = [
    pytest.mark.guarantee("G1"),
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
    pytest.mark.timeout(240),
]

SMALL: Final = {"seconds": "2", "size": "480x854"}
PICTURE: Final = picture("PNG")
DATA_URL: Final = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
UNKNOWN_ID: Final = f"exec_{'0' * 32}"
FAL_VIDEO: Final = "fal-ai/bytedance/seedance/v1/pro/image-to-video"
MODERATING: Final = "fal-ai/minimax/hailuo-2.3/standard/image-to-video"
REFUSING: Final = "fal-ai/kling-video/v2.5-turbo/standard/image-to-video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A user with a client, and the videos that the checks of this file share, by their names."""

    world: World
    client: Client
    videos: dict[str, dict[str, Any]]

    async def order(self, content: bytes | None = None, **fields: Any) -> dict[str, Any]:
        return await self.client.create(picture=content, **{"prompt": PROMPT, **SMALL, **fields})

    async def refused(self, content: bytes | None = None, **fields: Any) -> RefusedError:
        """Order what is refused, and check that the client has sent it once."""
        before = await self.world.rows(COUNT_EXECUTIONS, self.world.user.user_id)
        with pytest.raises(RefusedError) as caught:
            await self.order(content, **fields)
        assert await self.world.rows(COUNT_EXECUTIONS, self.world.user.user_id) == before
        error = caught.value
        assert re.fullmatch(r"req_[0-9a-f]{32}", error.request_id or ""), error
        return error

    async def order_shared_videos(self) -> None:
        """Order all shared videos at once, and wait until they have ended."""
        hook = self.world.receiver.url
        await self.world.fault(
            "refuse",
            provider="fal",
            model=REFUSING,
            operation="create",
            times=-1,
            params={"status": 422},
        )
        await self.world.fault("moderated", provider="fal", model=MODERATING, times=-1)
        ordered = {
            "plain": self.order(webhook=hook, metadata={"orderId": "A-1"}, max_cost="1.00", seed=7),
            "default": self.client.create(prompt=PROMPT),
            "file": self.order(PICTURE, model=FAL_VIDEO),
            "data url": self.order(input_reference={"image_url": DATA_URL}, seconds="3"),
            "failed": self.client.create(prompt=PROMPT, model=REFUSING),
            "moderated": self.client.create(prompt=PROMPT, model=MODERATING),
            "json": self.client.post("/videos", prompt=PROMPT, **SMALL),
            "cancelled": self.order(seconds="12", webhook=hook),
        }
        for name, order in ordered.items():
            self.videos[name] = await order
        cancelled = self.videos["cancelled"]["id"]
        self.videos["cancel"] = await self.client.post(f"/videos/{cancelled}/cancel")
        for name in ordered:
            await self.world.ended(self.videos[name]["id"], seconds=90)
            self.videos[f"{name} ended"] = await self.client.retrieve(self.videos[name]["id"])


ORDERED: Final = """
SELECT parameters ->> 'duration_seconds' AS seconds, parameters ->> 'resolution' AS resolution
FROM steps WHERE execution_id = $1 AND name = 'video'
"""
COUNT_EXECUTIONS: Final = "SELECT count(*) FROM executions WHERE user_id = $1"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """Return the folder with the client for Node, or why it cannot be installed."""
    folder = tmp_path_factory.mktemp("node")
    return install_node_client(folder) or folder


@pytest.fixture(scope="module", params=["python", "node"])
async def shop(
    request: pytest.FixtureRequest, stack: Stack, package: Path | str
) -> AsyncGenerator[Shop]:
    if request.param == "node" and isinstance(package, str):
        pytest.skip(package)
    async with World.open(stack) as world:
        answer = await world.control.post("/reset")
        assert answer.is_success
        await world.settings(tiny_media=True, image_seconds=0.3, video_seconds=0.5)
        url, key = f"{stack.config.api_url}/v1", world.user.api_key
        if isinstance(package, Path) and request.param == "node":
            async with NodeClient.run(package, url, key) as node:
                shop = Shop(world=world, client=node, videos={})
                await shop.order_shared_videos()
                yield shop
            return
        async with openai.AsyncOpenAI(base_url=url, api_key=key) as client:
            shop = Shop(world=world, client=PythonClient(client=client), videos={})
            await shop.order_shared_videos()
            yield shop


async def test_an_order_completes_as_ordered(shop: Shop) -> None:
    video, ended = shop.videos["plain"], shop.videos["plain ended"]
    assert (video["object"], video["status"]) == ("video", "queued")
    assert (video["seconds"], video["size"], video["model"]) == (
        "2", "480x854", "bytedance/seedance-1-pro",
    )  # fmt: skip
    assert (ended["status"], ended["progress"], ended["error"]) == ("completed", 100, None)
    assert (ended["prompt"], ended["metadata"]) == (PROMPT, {"orderId": "A-1"})
    assert (ended["seconds"], ended["size"]) == (video["seconds"], video["size"])
    assert video["created_at"] <= ended["completed_at"]
    assert ended["expires_at"] is ended["remixed_from_video_id"] is None
    await shop.world.check_money(video["id"])


async def test_the_defaults_are_four_seconds_of_720x1280(shop: Shop) -> None:
    video = shop.videos["default"]
    assert (video["seconds"], video["size"]) == ("4", "720x1280")
    assert shop.videos["default ended"]["status"] == "completed"
    (step,) = await shop.world.rows(ORDERED, video["id"])
    assert step == {"seconds": "4", "resolution": "720p"}


async def test_a_picture_file_is_the_start_frame(shop: Shop) -> None:
    await check_start_frame(shop, "file")


async def test_a_data_url_is_the_start_frame(shop: Shop) -> None:
    await check_start_frame(shop, "data url")
    ended = shop.videos["data url ended"]
    assert shop.videos["data url"]["size"] is None, "the picture decides about the shape"
    assert re.fullmatch(r"\d+x\d+", ended["size"]), "the size of the file"


async def check_start_frame(shop: Shop, name: str) -> None:
    assert shop.videos[f"{name} ended"]["status"] == "completed"
    (line,) = await shop.world.bill_of(shop.videos[name]["id"])
    (job,) = await shop.world.provider_jobs(shop.videos[name]["id"])
    assert line["provider_job_id"] == job["id"], "no picture is bought"
    fetched = {each["role"]: each["sha256"] for each in job["fetched"]}
    assert fetched == {"image": hashlib.sha256(PICTURE).hexdigest()}


async def test_content_is_the_stored_file(shop: Shop) -> None:
    video_id = shop.videos["plain"]["id"]
    content = await shop.client.content(video_id)
    files = (await shop.world.get(video_id))["result"]["assets"]
    (film,) = [file for file in files if file["kind"] == "video"]
    assert hashlib.sha256(content).hexdigest() == film["sha256"]


async def test_thumbnail_is_the_first_picture(shop: Shop) -> None:
    video_id = shop.videos["plain"]["id"]
    content = await shop.client.content(video_id, "thumbnail")
    files = (await shop.world.get(video_id))["result"]["assets"]
    (first,) = [file for file in files if file["kind"] == "image"]
    assert hashlib.sha256(content).hexdigest() == first["sha256"]


async def test_spritesheet_is_refused_with_what_is_allowed(shop: Shop) -> None:
    with pytest.raises(RefusedError) as caught:
        await shop.client.content(shop.videos["plain"]["id"], "spritesheet")
    error = caught.value
    assert (error.status, error.param) == (400, "variant")
    assert "video, thumbnail" in error.message


async def test_content_of_a_cancelled_video_is_not_ready(shop: Shop) -> None:
    with pytest.raises(RefusedError) as caught:
        await shop.client.content(shop.videos["cancelled"]["id"])
    assert (caught.value.kind, caught.value.code) == ("NotFoundError", "video_not_ready")


async def test_a_cancelled_video_has_failed_with_the_code_cancelled(shop: Shop) -> None:
    ended = shop.videos["cancelled ended"]
    assert (shop.videos["cancel"]["object"], ended["status"]) == ("video", "failed")
    assert (ended["error"]["code"], ended["completed_at"]) == ("cancelled", None)


async def test_a_failed_video_has_the_code_of_its_failure(shop: Shop) -> None:
    ended = shop.videos["failed ended"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "provider_rejected_input")
    assert len(ended["error"]["message"]) > 20
    assert ended["cost"]["settled"] == "0.003", "the picture"


async def test_a_moderated_prompt_is_named_in_the_error(shop: Shop) -> None:
    ended = shop.videos["moderated ended"]
    assert (ended["status"], ended["error"]["code"]) == ("failed", "content_moderated"), ended
    with pytest.raises(RefusedError) as caught:
        await shop.client.content(ended["id"])
    assert caught.value.code == "video_not_ready"


async def test_json_orders_as_forms_do(shop: Shop) -> None:
    video = shop.videos["json"]
    assert (video["seconds"], video["size"]) == (SMALL["seconds"], SMALL["size"])
    assert shop.videos["json ended"]["status"] == "completed"


async def test_the_client_learns_when_to_poll_again(shop: Shop) -> None:
    assert await shop.client.poll_after(shop.videos["plain"]["id"]) is None, "it has ended"
    video = await shop.order()
    assert await shop.client.poll_after(video["id"]) in ("500", None)
    ended = await shop.client.poll(video["id"])
    assert (ended["id"], ended["status"]) == (video["id"], "completed")


@pytest.mark.parametrize(
    ("name", "type_", "status"),
    [("plain", "video.completed", "completed"), ("cancelled", "video.failed", "cancelled")],
)
async def test_webhooks_pass_the_verification_of_the_client(
    shop: Shop, name: str, type_: str, status: str
) -> None:
    video_id, secret = shop.videos[name]["id"], shop.world.user.webhook_secret
    await shop.world.webhook(video_id)
    (received,) = [each for each in shop.world.receiver.received if video_id.encode() in each.body]
    headers = {
        name: value for name, value in received.headers.items() if name.startswith("webhook-")
    }
    event = await shop.client.unwrap(received.body, headers, secret)
    assert (event["type"], event["object"], event["data"]) == (type_, "event", {"id": video_id})
    assert (event["executionId"], event["status"]) == (video_id, status)
    assert isinstance(event["created_at"], int)
    forged = received.body.replace(b'"event"', b'"Event"')
    with pytest.raises(Exception, match=r"(?i)signature"):
        await shop.client.unwrap(forged, headers, secret)


async def test_pages_list_every_video_once_in_both_orders(shop: Shop) -> None:
    ids = [video["id"] for name, video in shop.videos.items() if name.endswith(" ended")]
    newest_first = await shop.client.ids(limit=2)
    assert newest_first == sorted(newest_first, reverse=True)
    assert set(newest_first) >= set(ids)
    assert await shop.client.ids(limit=2, order="asc") == newest_first[::-1]
    assert await shop.client.ids(limit=50, after=newest_first[1]) == newest_first[2:]


async def test_list_after_an_unknown_id_is_not_found(shop: Shop) -> None:
    with pytest.raises(RefusedError) as caught:
        await shop.client.ids(after=UNKNOWN_ID)
    assert (caught.value.kind, caught.value.code) == ("NotFoundError", "not_found")


async def test_a_video_of_another_user_is_not_found(shop: Shop) -> None:
    async with World.open(shop.world.stack) as other:
        execution_id = await other.generate()
        for video_id in (execution_id, UNKNOWN_ID, "video_123"):
            with pytest.raises(RefusedError) as caught:
                await shop.client.retrieve(video_id)
            assert (caught.value.kind, caught.value.status) == ("NotFoundError", 404)


async def test_models_list_the_default_first(shop: Shop) -> None:
    models = await shop.client.models()
    assert models[0] == shop.videos["plain"]["model"]
    assert FAL_VIDEO in models
    assert len(set(models)) == len(models) > 5


async def test_a_model_is_found_by_its_id(shop: Shop) -> None:
    """The client encodes the slashes of the id."""
    model = await shop.client.model(FAL_VIDEO)
    assert (model["id"], model["object"], model["owned_by"]) == (FAL_VIDEO, "model", "fal")
    with pytest.raises(RefusedError) as caught:
        await shop.client.model("sora-2")
    assert (caught.value.kind, caught.value.code) == ("NotFoundError", "model_not_found")


REFUSALS: Final[list[tuple[dict[str, Any], str, str, str]]] = [
    ({"model": "sora-2"}, "model", "model_not_found", FAL_VIDEO),
    ({"seconds": "40"}, "seconds", "unsupported", "2, 3, 4"),
    ({"seconds": "4.5"}, "seconds", "invalid_request", "pattern"),
    ({"size": "1024x1792"}, "size", "unsupported", "720x1280"),
    ({"size": "large"}, "size", "invalid_request", "pattern"),
    ({"prompt": "x" * 501}, "prompt", "too_long", "500"),
    ({"colour": "red"}, "colour", "unknown_field", "max_cost"),
    ({"input_reference": {"file_id": "file-1"}}, "input_reference.file_id", "unsupported", "image"),
    ({"input_reference": {"image_url": "ftp://a.b/c"}}, "input_reference.image_url", "", "http"),
    ({"resolution": "720p"}, "size", "", "must not be combined"),
    ({"webhook": "http://10.0.0.1/hook"}, "webhook", "", "address"),
    ({"image_model": "no-such-model"}, "image_model", "model_not_found", "flux"),
]


@pytest.mark.parametrize(
    ("fields", "param", "code", "words"),
    REFUSALS,
    ids=[f"{case[1]} {case[2]}" for case in REFUSALS],
)
async def test_what_cannot_be_ordered_names_its_field(
    shop: Shop, fields: dict[str, Any], param: str, code: str, words: str
) -> None:
    error = await shop.refused(**fields)
    assert (error.kind, error.status, error.param) == ("BadRequestError", 400, param), error
    assert error.type == "invalid_request_error"
    assert words in error.message, error.message
    assert code in ("", error.code), error


async def test_a_file_of_sound_is_refused_by_its_bytes(shop: Shop) -> None:
    error = await shop.refused(silence("wav", "pcm_s16le", seconds=0.1))
    assert (error.status, error.param) == (400, "input_reference"), error
    assert "kind image, not audio" in error.message, error


async def test_a_price_above_max_cost_is_refused(shop: Shop) -> None:
    error = await shop.refused(max_cost="0.01")
    assert (error.status, error.code, error.param) == (402, "max_cost_exceeded", "max_cost")
    assert "max_cost is 0.01 USD" in error.message


async def test_a_key_without_money_is_refused(shop: Shop) -> None:
    poor = {"name": "poor", "scopes": ["generate"], "spendLimit": {"daily": "0.01"}}
    answer = await shop.world.api.post("/api/keys", json=poor)
    assert answer.status_code == 201, answer.text
    error = await shop.refused(headers={"Authorization": f"Bearer {answer.json()['apiKey']}"})
    assert (error.status, error.code) == (402, "key_spend_limit_exceeded")
    assert error.type == "insufficient_quota"


async def test_a_wrong_key_is_an_authentication_error(shop: Shop) -> None:
    error = await shop.refused(headers={"Authorization": "Bearer tko_wrong"})
    assert (error.kind, error.code) == ("AuthenticationError", "unauthenticated")


async def test_remix_is_refused_as_unsupported(shop: Shop) -> None:
    with pytest.raises(RefusedError) as caught:
        await shop.client.remix(shop.videos["plain"]["id"])
    error = caught.value
    assert (error.kind, error.param, error.code) == ("BadRequestError", "remix", "unsupported")
    assert "POST /v1/videos" in error.message


async def test_a_large_edit_is_refused_before_it_has_arrived(shop: Shop) -> None:
    with pytest.raises(RefusedError) as caught:
        await shop.client.edit(bytes(3_000_000))
    error = caught.value
    assert (error.status, error.param, error.code) == (400, "edits", "unsupported"), error


async def test_the_same_key_orders_once(shop: Shop) -> None:
    headers = {"Idempotency-Key": f"key of {shop.client.name}"}
    first, second = [await shop.order(headers=headers) for _ in range(2)]
    assert first["id"] == second["id"]
    await shop.client.post(f"/videos/{first['id']}/cancel")


async def test_delete_of_a_running_video_stops_it(shop: Shop) -> None:
    await shop.world.settings(video_seconds=20.0)
    try:
        video = await shop.order()
        await shop.world.until(video["id"], job="video", state="submitted", seconds=60)
        gone = await delete_until_gone(shop, video["id"])
    finally:
        await shop.world.settings(video_seconds=0.5)
    assert gone == {"id": video["id"], "object": "video.deleted", "deleted": True}
    lines = await shop.world.bill_of(video["id"])
    assert "canceled" in {line["state"] for line in lines}, lines


async def test_delete_removes_the_file_and_keeps_the_bill(shop: Shop) -> None:
    video_id = shop.videos["file"]["id"]
    address = (await shop.world.get(video_id))["result"]["videoUrl"]
    bill = await shop.world.bill_of(video_id)
    await delete_until_gone(shop, video_id)
    with pytest.raises(RefusedError) as caught:
        await shop.client.retrieve(video_id)
    assert caught.value.status == 404
    (row,) = await shop.world.rows(
        "SELECT sum(settled_nano_usd) AS settled FROM charges WHERE execution_id = $1", video_id
    )
    assert row["settled"] == sum(line["billed_nano_usd"] for line in bill) > 0

    async def file_is_gone() -> bool:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(address)
        return answer.status_code in (403, 404)

    await shop.world.until_true(file_is_gone, "the file is still served", seconds=60, every=0.3)


async def delete_until_gone(shop: Shop, video_id: str) -> dict[str, Any]:
    """Delete a video, as often as its bill or its webhook is still open."""
    async with asyncio.timeout(90):
        while True:
            deleted = await shop.client.delete(video_id)
            if deleted["deleted"]:
                return deleted
            await asyncio.sleep(0.3)
