"""A step continues at its next model in one execution, and is paid for once."""

from typing import Any

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G1", "G3")

AT_REPLICATE, AT_FAL = "black-forest-labs/flux-schnell", "fal-ai/flux/schnell"


async def _order(world: World) -> str:
    step = {
        "name": "picture",
        "kind": "image",
        "models": [AT_REPLICATE, AT_FAL],
        "params": {"prompt": "a kite"},
    }
    body = {"plan": {"version": 1, "steps": [step]}, "webhook": world.receiver.url}
    answer = await world.api.post("/api/executions", json=body)
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    world.ids.append(execution_id)
    return execution_id


@pytest.mark.parametrize(
    ("fault", "order"),
    [
        ("refuse", {"operation": "create", "params": {"status": 422}}),
        ("moderated", {}),
    ],
)
async def test_execution_completes_at_the_next_model(
    world: World, fault: str, order: dict[str, Any]
) -> None:
    ordered = await world.fault(fault, provider="replicate", **order)
    execution_id = await _order(world)
    seen = await world.ended(execution_id)
    assert await world.fired(ordered) == 1
    assert seen["status"] == "completed", seen
    assert [(job["model"], job["state"]) for job in seen["jobs"]] == [
        (AT_REPLICATE, "failed"),
        (AT_FAL, "completed"),
    ]
    paid = [line for line in await world.bill_of(execution_id) if line["billed_nano_usd"]]
    assert [line["model"] for line in paid] == [AT_FAL]
    await world.check_money(execution_id)


async def test_unknown_outcome_is_looked_up_and_has_no_next_model(world: World) -> None:
    ordered = await world.fault("drop_after_accept", provider="replicate", operation="create")
    execution_id = await _order(world)
    seen = await world.ended(execution_id)
    assert await world.fired(ordered) == 1
    assert [(job["model"], job["state"]) for job in seen["jobs"]] == [(AT_REPLICATE, "completed")]
    assert len(await world.bill_of(execution_id)) == 1
    await world.check_money(execution_id)
