"""A listening endpoint on the stack: its listener makes the attempts and reports them."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.end_to_end.world import World

Offers = asyncio.Queue[dict[str, Any]]


async def asked(
    world: World, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    answer = await world.api.request(method, path, json=body)
    assert answer.is_success, answer.text
    result: dict[str, Any] = answer.json() if answer.content else {}
    return result


@asynccontextmanager
async def listening(world: World, endpoint: str, **query: int) -> AsyncGenerator[Offers]:
    """Yield the webhooks of a stream that is open."""
    offers: Offers = asyncio.Queue()
    opened = asyncio.Event()

    async def read() -> None:
        timeout = httpx.Timeout(60)
        async with world.api.stream(
            "GET", f"{endpoint}/stream", params=query, timeout=timeout
        ) as answer:
            assert answer.status_code == 200, await answer.aread()
            opened.set()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    offers.put_nowait(json.loads(line.removeprefix("data: ")))

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(30):
            await opened.wait()
        yield offers
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def offered(offers: Offers) -> dict[str, Any]:
    async with asyncio.timeout(60):
        return await offers.get()


async def report(world: World, endpoint: str, offer: dict[str, Any], **result: Any) -> int:
    names = ("delivery", "number")
    body = {"eventId": offer["id"], "durationMs": 12, **{name: offer[name] for name in names}}
    answer = await world.api.post(f"{endpoint}/results", json=body | result)
    return answer.status_code


async def shows(world: World, event_id: str, **members: Any) -> dict[str, Any]:
    """Wait until the delivery log shows these members of a webhook."""
    entry: dict[str, Any] = {}

    async def is_shown() -> bool:
        entry.update(await asked(world, "GET", f"/api/webhooks/{event_id}"))
        return all(entry[name] == value for name, value in members.items())

    await world.until_true(is_shown, lambda: f"{members} is not shown: {entry}", seconds=60)
    return entry


@pytest.mark.timeout(180)
async def test_listener_makes_the_attempts_of_its_endpoint(world: World) -> None:
    made = await asked(world, "POST", "/api/endpoints", {"kind": "stream", "default": True})
    endpoint = f"/api/endpoints/{made['id']}"
    assert (made["kind"], made["url"]) == ("stream", f"stream:{made['id']}")
    async with listening(world, endpoint) as offers:
        execution_id = await world.generate(webhook=None)
        first = await offered(offers)
        body = Webhook(made["secret"]).verify(first["body"], first["headers"])
        assert body["executionId"] == execution_id
        wrong = await report(world, endpoint, first | {"number": 7}, statusCode=200)
        assert wrong == 404
        assert await report(world, endpoint, first, statusCode=500, excerpt="not yet") == 204
        again = await offered(offers)
        assert (again["id"], again["delivery"], again["number"]) == (first["id"], 1, 2)
        assert await report(world, endpoint, again, statusCode=200, excerpt="thanks") == 204
        entry = await shows(world, first["id"], state="delivered", attempts=2)
        shown = [
            (each["statusCode"], each["error"], each["durationMs"], each["responseExcerpt"])
            for each in entry["attemptLog"]
        ]
        assert shown == [(500, "http_error", 12, "not yet"), (200, None, 12, "thanks")]
        assert await report(world, endpoint, again, statusCode=200) == 404, "it has its result"
    # Without a listener the attempt fails in time, and the next listener gets the webhook at once.
    await asked(world, "POST", f"/api/webhooks/{first['id']}/resend")
    await shows(world, first["id"], lastError="no_listener", attempts=3)
    async with listening(world, endpoint, latest=1) as offers:
        shown_again, resumed = await offered(offers), await offered(offers)
        assert (shown_again["id"], shown_again["number"]) == (first["id"], 0)
        Webhook(made["secret"]).verify(shown_again["body"], shown_again["headers"])
        assert (resumed["id"], resumed["delivery"], resumed["number"]) == (first["id"], 3, 1)
        assert await report(world, endpoint, resumed, statusCode=204) == 204
        await shows(world, first["id"], state="delivered", attempts=4)
        await asked(world, "DELETE", endpoint)
    assert (await world.api.get(f"{endpoint}/stream")).status_code == 404
