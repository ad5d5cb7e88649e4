"""A cancel, from the API or from the Web UI: the provider's job is ended, its real cost settled,
the rest released.
"""

import asyncio

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from core.domain.money import nano_usd
from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G5")

LONG_SECONDS = 8.0


async def _running_video(world: World) -> str:
    await world.settings(video_seconds=LONG_SECONDS)
    execution_id = await world.generate(duration=10)
    await world.until(execution_id, job="video", state="submitted")
    await asyncio.sleep(1.5)  # so that the provider has begun to charge
    return execution_id


async def _check_cancelled(world: World, execution_id: str) -> None:
    seen = await world.ended(execution_id)
    assert seen["status"] == "cancelled", seen
    lines = {line["provider"]: line for line in await world.bill_of(execution_id)}
    assert lines["replicate"]["state"] == "canceled", lines
    assert 0 < lines["replicate"]["billed_nano_usd"] == lines["replicate"]["price_nano_usd"]
    await world.check_money(execution_id)
    body = await world.webhook(execution_id)
    assert (body["type"], body["error"]["code"]) == ("execution.cancelled", "cancelled")
    assert body["cost"] == seen["cost"]
    await asyncio.sleep(0.5)
    assert len(world.webhooks_of(execution_id)) == 1


async def test_cancel_by_api_ends_the_provider_job_and_settles_it(world: World) -> None:
    execution_id = await _running_video(world)
    answer = (await world.api.post(f"/api/executions/{execution_id}/cancel")).json()
    await _check_cancelled(world, execution_id)
    seen = await world.get(execution_id)
    assert answer["final"] is True
    assert (answer["status"], answer["spent"]) == ("cancelled", seen["cost"]["settled"])
    held = nano_usd(seen["cost"]["estimated"])
    assert nano_usd(answer["released"]) == held - nano_usd(answer["spent"])
    again = await world.api.post(f"/api/executions/{execution_id}/cancel")
    assert (again.status_code, again.json()) == (200, answer)


async def test_cancel_in_the_web_ui_does_the_same(world: World) -> None:
    execution_id = await _running_video(world)
    client = await Client.connect(world.stack.environment["TEMPORAL_ADDRESS"])
    await client.get_workflow_handle(execution_id).cancel()
    await _check_cancelled(world, execution_id)
    description = await client.get_workflow_handle(execution_id).describe()
    assert description.status is WorkflowExecutionStatus.CANCELED


async def test_cancel_twice_at_once_asks_the_provider_once(world: World) -> None:
    execution_id = await _running_video(world)
    client = await Client.connect(world.stack.environment["TEMPORAL_ADDRESS"])
    await asyncio.gather(
        world.api.post(f"/api/executions/{execution_id}/cancel"),
        world.api.post(f"/api/executions/{execution_id}/cancel"),
        client.get_workflow_handle(execution_id).cancel(),
    )
    await _check_cancelled(world, execution_id)


async def test_cancel_after_the_end_changes_nothing(world: World) -> None:
    execution_id = await world.generate()
    await world.ended(execution_id)
    await world.webhook(execution_id)
    before = await world.get(execution_id)
    answer = await world.api.post(f"/api/executions/{execution_id}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    after = await world.get(execution_id)
    assert {**after, "webhook": None} == {
        **before,
        "webhook": None,
    }  # its attempts may be noted a moment later
