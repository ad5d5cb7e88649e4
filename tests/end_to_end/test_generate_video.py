"""Prompt in, finished video on the CDN, signed webhook out; as processes, through the HTTP API."""

import asyncio
import hashlib
import hmac
import json
from io import BytesIO
from itertools import pairwise

import av
import httpx
import pytest
from temporalio.service import RPCError

from tests.end_to_end.world import MODELS, PROMPT, World
from tests.support.statement_log import logged_statements, transactions_of

MAX_EVENTS = 47
MAX_TRANSACTIONS, MAX_STATEMENTS = 15, 100
"""Of the user; those of pollers and callbacks may serve several executions at once."""


@pytest.mark.guarantee("G7")
async def test_generate_video_delivers_a_video_that_moves(world: World) -> None:
    """The provider's file has its index at the end; the delivered one starts at once."""
    await world.settings(tiny_media=False)
    models = MODELS["fal"]
    late = await world.fault("late_index", model=models["videoModel"], times=-1)
    execution_id = await world.generate(**models, duration=3, metadata={"order": 7})
    seen_progress = [0]
    while (seen := await world.get(execution_id))["status"] in ("queued", "running"):
        seen_progress.append(seen["progress"])
    assert seen["status"] == "completed", seen
    assert seen_progress == sorted(seen_progress)
    assert max(seen_progress) < 100 == seen["progress"]
    assert (seen["completedJobs"], seen["failedJobs"], seen["currentJob"]) == (
        ["image", "video"],
        [],
        None,
    )
    assert seen["metadata"] == {"order": 7}
    async with httpx.AsyncClient(trust_env=False) as cdn:
        film = await cdn.get(seen["result"]["videoUrl"])
        picture = await cdn.get(seen["result"]["imageUrl"])
        part = await cdn.get(seen["result"]["videoUrl"], headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert film.headers["content-type"] == "video/mp4"
    assert picture.headers["content-type"] in ("image/jpeg", "image/png")
    (video,) = [asset for asset in seen["result"]["assets"] if asset["kind"] == "video"]
    assert video["sha256"] == hashlib.sha256(film.content).hexdigest()
    assert video["sizeBytes"] == len(film.content)
    assert (video["media"]["durationSeconds"], video["media"]["frameRate"]) == (3.0, 24.0)
    assert (video["media"]["codec"], video["media"]["hasAudio"]) == ("h264", False)
    assert await world.fired(late) >= 1
    assert video["media"]["faststart"] is True
    assert film.content.index(b"moov") < film.content.index(b"mdat")
    with av.open(BytesIO(film.content), "r") as container:
        stream = container.streams.video[0]
        frames = [
            bytes(frame.reformat(width=64, height=36, format="gray").planes[0])
            for frame in container.decode(stream)
        ]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.height == 480
    assert len(frames) == 3 * 24
    assert sum(one != other for one, other in pairwise(frames)) > 60, "the picture does not move"


async def test_generate_video_webhook_is_signed_and_equals_the_status(world: World) -> None:
    execution_id = await world.generate()
    seen = await world.ended(execution_id)
    body = await world.webhook(execution_id)
    assert (body["type"], body["status"], body["executionId"]) == (
        "execution.completed",
        "completed",
        execution_id,
    )
    assert (body["result"], body["error"]) == (seen["result"], None)
    assert body["cost"] == seen["cost"]
    (received,) = [one for one in world.receiver.received if execution_id.encode() in one.body]
    digest = hmac.new(world.user.webhook_secret.encode(), received.body, hashlib.sha256).hexdigest()
    assert received.headers["x-webhook-signature"] == f"sha256={digest}"
    assert received.headers["webhook-id"] == body["id"]
    assert world.user.webhook_secret not in json.dumps(seen)


async def test_generate_video_costs_what_the_provider_billed(world: World) -> None:
    default = await world.generate(duration=5, resolution="720p")
    on_fal = await world.generate(
        videoModel="fal-ai/bytedance/seedance/v1/pro/image-to-video", duration=3
    )
    for execution_id in (default, on_fal):
        seen = await world.ended(execution_id)
        assert seen["status"] == "completed", seen
        assert len(await world.bill_of(execution_id)) == 2
        assert await world.check_money(execution_id) > 0
    assert (await world.get(default))["cost"]["settled"] == "0.303"


@pytest.mark.guarantee("G5")
async def test_generate_video_without_callbacks_arrives_by_polling(world: World) -> None:
    lost = await world.fault("callback_lost", times=-1)
    execution_id = await world.generate()
    seen = await world.ended(execution_id)
    assert seen["status"] == "completed"
    assert await world.fired(lost) >= 2
    await world.check_money(execution_id)


async def test_generate_video_asset_has_a_stable_address(world: World) -> None:
    execution_id = await world.generate()
    seen = await world.ended(execution_id)
    asset = seen["result"]["assets"][-1]
    answer = await world.api.get(f"/api/assets/{asset['id']}/content")
    assert (answer.status_code, answer.headers["location"]) == (302, asset["url"])


async def test_generate_video_takes_few_events_and_statements(world: World) -> None:
    client = await world.temporal()
    log = world.stack.config.logs / "postgres.log"
    async with logged_statements(world.owner_dsn, log) as statements:
        before = len(statements())
        execution_id = await world.generate()
        handle = client.get_workflow_handle(execution_id)
        assert (await handle.result())["webhook"] == "delivered"
        transactions = transactions_of(statements()[before:])
    assert len((await handle.fetch_history()).events) <= MAX_EVENTS
    event_id = (await world.webhook(execution_id))["id"]
    with pytest.raises(RPCError, match="not found"):
        await client.get_workflow_handle(f"deliver/{event_id}/1").describe()
    begin = f"BEGIN; SELECT set_config('takeone.user_id', '{world.user.user_id}', true)"
    of_user = [one for one in transactions if one[0] == begin]
    explained = "\n\n".join("\n".join(one) for one in of_user)
    assert 0 < len(of_user) <= MAX_TRANSACTIONS, explained
    assert sum(len(one) for one in of_user) <= MAX_STATEMENTS, explained
    assert not any("typeinfo" in text for one in transactions for text in one), explained


async def test_execution_is_readable_and_findable_for_an_operator(world: World) -> None:
    execution_id = await world.generate()
    await world.ended(execution_id)
    client = await world.temporal()
    description = await client.get_workflow_handle(execution_id).describe()
    assert await description.static_summary() == f"generate-video: {PROMPT}"
    query = f"UserId = '{world.user.user_id}' AND TakeoneStatus = 'completed' AND Provider = 'fal' AND CostUsd > 0.01"
    found: list[str] = []
    async with asyncio.timeout(10):  # visibility follows within a second or so
        while not found:
            found = [
                workflow.id
                async for workflow in client.list_workflows(
                    f"{query} AND PlanType = 'generate-video'"
                )
            ]
    assert found == [execution_id]
