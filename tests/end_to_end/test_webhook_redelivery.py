"""Webhook redelivery: an endpoint returns 410, is enabled again and receives what it missed."""

from typing import Any

from standardwebhooks.webhooks import Webhook

from tests.end_to_end.world import World
from tests.support.receiver import Receiver, reply
from tests.support.stack_ports import receiver_port


async def asked(
    world: World, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    answer = await world.api.request(method, path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def received(world: World, receiver: Receiver, count: int) -> None:
    async def came() -> bool:
        return len(receiver.received) >= count

    await world.until_true(came, lambda: f"received: {receiver.received}", seconds=40)


async def test_reenabled_endpoint_receives_missed_events_with_both_signatures(
    world: World,
) -> None:
    async with Receiver.open(
        reply(410), reply(200), port=receiver_port(world.stack.config)
    ) as receiver:
        made = await asked(world, "POST", "/api/endpoints", {"url": receiver.url, "default": True})
        endpoint = f"/api/endpoints/{made['id']}"
        execution_id = await world.generate(webhook=None)
        assert (await world.ended(execution_id))["webhook"]["url"] == receiver.url
        entry: dict[str, Any] = {}

        async def failed() -> bool:
            page = await asked(world, "GET", f"/api/webhooks?executionId={execution_id}")
            entry.update(page["data"][0])
            return entry["state"] == "failed"

        await world.until_true(failed, lambda: f"it does not fail: {entry}", seconds=40)
        assert (entry["failedReason"], entry["lastStatusCode"], entry["sequence"]) == (
            "gone",
            410,
            1,
        )
        assert (await asked(world, "GET", endpoint))["disabledReason"] == "gone"

        rotated = await asked(world, "POST", f"{endpoint}/rotate-secret", {"overlapHours": 1})
        await asked(world, "POST", f"{endpoint}/enable")
        await asked(world, "POST", f"/api/webhooks/{entry['id']}/resend")
        await received(world, receiver, 2)
        await asked(world, "POST", f"{endpoint}/test")
        await received(world, receiver, 3)
        missed, resent, test = receiver.received
    assert resent.body == missed.body
    assert resent.headers["webhook-id"] == missed.headers["webhook-id"] == entry["id"]
    for one in (resent, test):
        for secret in (rotated["secret"], world.user.webhook_secret):
            Webhook(secret).verify(one.body, one.headers)
    assert (await asked(world, "GET", f"/api/webhooks/{entry['id']}"))["body"][
        "executionId"
    ] == execution_id
    assert (await asked(world, "GET", endpoint))["state"] == "enabled"
    assert world.receiver.received == []
