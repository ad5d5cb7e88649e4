"""A retry over HTTP: what is paid for is used, what failed is bought once more, each end has its
own event.
"""

import asyncio
from typing import Any

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G2")


async def _retry(
    world: World, execution_id: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    answer = await world.api.post(f"/api/executions/{execution_id}/retry", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def _events(world: World, execution_id: str, number: int) -> set[bytes]:
    async with asyncio.timeout(20):
        while len(world.webhooks_of(execution_id)) < number:  # noqa: ASYNC110 - another process, no event
            await asyncio.sleep(0.05)
    return set(world.webhooks_of(execution_id))


@pytest.mark.timeout(120)
async def test_retry_after_a_failure_buys_only_what_failed(world: World) -> None:
    ordered = await world.fault("fail_after", provider="replicate", params={"seconds": 0.2})
    execution_id = await world.generate()
    failed = await world.ended(execution_id)
    assert (failed["status"], await world.fired(ordered)) == ("failed", 1)
    image = failed["jobs"][0]

    said = await _retry(world, execution_id)

    assert [(item["step"], item["jobId"]) for item in said["kept"]] == [("image", image["id"])]
    assert said["kept"][0]["cost"] == image["cost"]["settled"]
    assert [item["step"] for item in said["toPay"]] == ["video"]
    seen = await world.ended(execution_id)
    assert (seen["status"], seen["progress"]) == ("completed", 100)
    assert [(job["step"], job["state"]) for job in seen["jobs"]] == [
        ("image", "completed"),
        ("video", "failed"),
        ("video", "completed"),
    ]
    assert seen["result"]["videoUrl"]
    assert len(seen["result"]["assets"]) == 2
    lines = await world.bill_of(execution_id)
    assert sorted(line["provider"] for line in lines) == ["fal", "replicate", "replicate"]
    await world.check_money(execution_id)
    assert len(await _events(world, execution_id, 2)) == 2
