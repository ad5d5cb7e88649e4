"""A provider that refuses this service's key: what was accepted waits and completes, new requests
are refused.
"""

import asyncio

import pytest

from deploy.local.product import run_tool
from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G5")

MODELS = {"imageModel": "fal-ai/flux/schnell", "videoModel": "bytedance/seedance-1-pro"}
SOON = "UPDATE provider_states SET probe_at = now() + interval '2 s' WHERE tripped_at IS NOT NULL RETURNING provider"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("status", [401, 402])
async def test_refused_executions_wait_and_complete_when_the_provider_accepts(
    world: World, status: int
) -> None:
    waiting = [await world.generate(**MODELS)]
    await world.until(waiting[0], job="image", state="completed")
    ordered = await world.fault(
        "refuse", provider="fal", operation="create", times=2, params={"status": status}
    )
    waiting.append(await world.generate(**MODELS))

    async def sooner() -> bool:
        return bool(await world.rows(SOON))

    await world.until_true(sooner, "the breaker is not tripped")
    refused = await world.api.post("/api/generate-video", json={"prompt": "not now", **MODELS})
    assert (refused.status_code, refused.json()["code"]) == (503, "provider_not_accepting")
    assert int(refused.headers["retry-after"]) >= 1
    await world.until_fired(ordered, times=2, seconds=30)  # the probe was refused, too
    await world.until_true(sooner, "the breaker is not open any more")
    for execution_id in waiting:
        assert (await world.until_final(execution_id, seconds=150))["status"] == "completed"
    assert (
        await world.rows("SELECT provider FROM provider_states WHERE tripped_at IS NOT NULL") == []
    )
    waiting.append(await world.generate(**MODELS))
    assert (await world.until_final(waiting[-1]))["status"] == "completed"
    for execution_id in waiting:
        await world.check_money(execution_id)
        await world.check_one_event(execution_id)
    await world.check_bought(dict.fromkeys(waiting, 2))
    assert len(await world.creates_of(waiting[1])) == 2 + 2


async def test_operator_lets_it_go_on_at_once(world: World) -> None:
    await world.rows(
        "INSERT INTO provider_states (provider, tripped_at, tripped_code, trips, probe_at)"
        " VALUES ('fal', now(), 'provider_auth_failed', 5, now() + interval '15 min') RETURNING provider"
    )
    body = {"prompt": "now", **MODELS, "duration": 2, "resolution": "480p"}
    assert (await world.api.post("/api/generate-video", json=body)).status_code == 503
    tool = (world.stack.config, world.stack.environment, "cli")
    await asyncio.to_thread(run_tool, *tool, "providers", "reset", "fal")
    assert (await world.until_final(await world.generate(**MODELS)))["status"] == "completed"
