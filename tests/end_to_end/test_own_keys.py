"""Two users with provider keys of their own, replaced and deleted while their jobs are open: who
pays for what.

The judge is the provider: each account's lines on the bill, and every call with the key it came
with.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from deploy.local.demo.client import User
from deploy.local.product import run_tool
from tests.end_to_end.world import MODELS, World

pytestmark = pytest.mark.guarantee("G1")

ALICE, ALICE_NEW, BOB = (
    "r8_own-0123456789#alice",
    "r8_new-0123456789#alice-new",
    "id:own-9876543210#bob",
)


@asynccontextmanager
async def another_user(world: World) -> AsyncGenerator[World]:
    tool = (world.stack.config, world.stack.environment, "cli")
    user = User.model_validate_json(
        await asyncio.to_thread(run_tool, *tool, "users", "create", "another", "--json")
    )
    headers = {"authorization": f"Bearer {user.api_key}"}
    async with httpx.AsyncClient(
        base_url=world.stack.config.api_url, headers=headers, timeout=20, trust_env=False
    ) as api:
        another = replace(world, user=user, api=api, ids=[])
        yield another
        await another.leave_nothing()


async def put(world: World, provider: str, key: str) -> str:
    answer = await world.api.put(f"/api/provider-keys/{provider}", json={"key": key})
    assert answer.status_code == 200, answer.text
    name: str = answer.json()["id"]
    return name


async def order(world: World, provider: str) -> str:
    """A small video, both steps at one provider, without a webhook: each user's is signed with a
    secret of its own.
    """
    body = {"prompt": "a red kite", "duration": 2, "resolution": "480p", **MODELS[provider]}
    answer = await world.api.post("/api/generate-video", json=body)
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    return execution_id


async def accounts(world: World, execution_id: str) -> list[str]:
    return [line["account"] for line in await world.bill_of(execution_id)]


async def completed(world: World, execution_id: str) -> None:
    seen = await world.until_final(execution_id)
    assert seen["status"] == "completed", seen["error"]
    await world.check_money(execution_id)


async def calls_by_key(world: World) -> dict[str, set[str]]:
    """What each key was used for; of files, none."""
    calls: list[dict[str, Any]] = (await world.control.get("/calls")).json()["calls"]
    return {
        key: {call["operation"] for call in calls if call["key"] == key}
        for key in {c["key"] for c in calls}
    }


@pytest.mark.timeout(120)
async def test_each_purchase_is_billed_to_the_account_of_its_key(
    world: World,
) -> None:
    await world.settings(video_seconds=5.0)
    async with another_user(world) as bobs:
        old, his = await put(world, "replicate", ALICE), await put(bobs, "fal", BOB)
        first, second = await order(world, "replicate"), await order(bobs, "fal")
        await asyncio.gather(
            world.until(first, job="video", state="submitted"),
            bobs.until(second, job="video", state="submitted"),
        )
        new = await put(world, "replicate", ALICE_NEW)
        deleted = await bobs.api.delete("/api/provider-keys/fal")
        assert (deleted.status_code, deleted.json()["erased"]) == (200, False)
        assert {job["state"] for job in (await world.get(first))["jobs"]} == {
            "completed",
            "submitted",
        }
        await completed(world, first)
        await completed(bobs, second)
        assert await accounts(world, first) == ["alice", "alice"]
        assert await accounts(bobs, second) == ["bob", "bob"]

        third, fourth = await order(world, "replicate"), await order(bobs, "fal")
        await completed(world, third)
        await completed(bobs, fourth)
        assert await accounts(world, third) == ["alice-new", "alice-new"]
        assert await accounts(bobs, fourth) == ["", ""]

        bought = {line["provider_job_id"] for line in await world.bill()}
        tries: list[dict[str, Any]] = (await world.control.get("/callbacks")).json()["callbacks"]
        assert {
            one["provider_job_id"] for one in tries
        } == bought  # each verified as its account signs
        assert {one["status"] for one in tries} == {200}

        calls = await calls_by_key(world)
        assert {"create", "status"} <= calls[ALICE] & calls[BOB] & calls[ALICE_NEW]
        assert calls[""] <= {"file", "keys"}
        assert all("file" not in used for key, used in calls.items() if key)

        sql = "SELECT owner_id, sealed FROM secrets WHERE user_id = ANY($1) AND kind <> 'webhook_secret'"
        users = [world.user.user_id, bobs.user.user_id]

        async def only_the_new_one_is_kept() -> bool:
            kept = {row["owner_id"] for row in await world.rows(sql, users)}
            assert new in kept
            return kept & {old, his} == set()

        await world.until_true(
            only_the_new_one_is_kept, "a key is kept that nothing needs", seconds=40, every=0.5
        )


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_refused_own_key_fails_only_its_users_executions(
    world: World,
) -> None:
    async with another_user(world) as bobs:
        await put(world, "replicate", ALICE)
        await world.settings(revoked_keys=[ALICE])
        refused, other = await order(world, "replicate"), await order(bobs, "replicate")
        seen = await world.ended(refused)
        assert (seen["status"], seen["error"]["code"]) == ("failed", "provider_key_refused")
        assert seen["cost"]["settled"] == "0"
        await completed(bobs, other)
        again = await world.api.post(
            "/api/generate-video", json={"prompt": "again", **MODELS["replicate"]}
        )
        assert (again.status_code, again.json()["code"]) == (409, "provider_key_refused")

        await world.settings(revoked_keys=[])
        await put(world, "replicate", ALICE_NEW)
        retried = await world.api.post(f"/api/executions/{refused}/retry")
        assert retried.status_code == 202, retried.text
        await completed(world, refused)
        assert await accounts(world, refused) == ["alice-new", "alice-new"]
