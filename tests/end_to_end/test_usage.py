"""A month's usage on the whole stack: equal to the provider's bill, with budget alerts."""

import asyncio
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from core.domain.money import nano_usd
from deploy.local.product import run_tool
from tests.end_to_end.world import World
from tests.support.receiver import Receiver
from tests.support.stack_ports import receiver_port

pytestmark = pytest.mark.guarantee("G4")


async def administer(world: World, *arguments: str) -> None:
    await asyncio.to_thread(
        run_tool, world.stack.config, world.stack.environment, "cli", *arguments
    )


async def usage(world: World) -> dict[str, Any]:
    answer = await world.api.get("/api/usage")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_usage_equals_the_bill_and_each_alert_arrives_once(world: World) -> None:
    user = world.user.user_id
    async with Receiver.open(port=receiver_port(world.stack.config)) as account:
        await administer(
            world, "users", "set-limits", user, "--monthly-videos", "2", "--monthly-usd", "1000"
        )
        await administer(world, "users", "set-webhook", user, account.url)
        executions = [await world.generate() for _ in range(2)]
        refused = await world.api.post("/api/generate-video", json={"prompt": "one too many"})
        assert (refused.status_code, refused.json()["code"]) == (402, "budget_exceeded")
        for execution_id in executions:
            assert (await world.ended(execution_id))["status"] == "completed"

        async def three_alerts_arrived() -> bool:
            return len(account.received) >= 3

        await world.until_true(
            three_alerts_arrived, lambda: f"told: {account.received}", seconds=60
        )
        told = [
            Webhook(world.user.webhook_secret).verify(one.body, one.headers)
            for one in account.received
        ]

    assert {(body["type"], body["kind"]) for body in told} == {
        ("budget.threshold_reached", "videos")
    }
    assert sorted((body["percent"], body["used"]) for body in told) == [(50, 1), (80, 2), (100, 2)]
    billed = sum([await world.check_money(execution_id) for execution_id in executions])
    seen = await usage(world)
    assert (nano_usd(seen["usd"]["settled"]), seen["usd"]["held"]) == (billed, "0")
    assert sum(nano_usd(model["settled"]) for model in seen["byModel"]) == billed
    assert seen["videos"] == {"limit": 2, "held": 0, "settled": 2, "left": 0}
    assert [one["percent"] for one in seen["thresholds"]] == [50, 80, 100]
    own = [body for body in world.receiver.received if b"budget." in body.body]
    assert own == []  # the webhook URL of a request receives only its own execution
