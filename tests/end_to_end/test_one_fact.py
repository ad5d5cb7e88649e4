"""Database and Temporal agree: one execution, one end and one event after any crash or repeat."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from temporalio.client import Client

from tests.end_to_end.world import MODELS, PROMPT, World
from tests.support.receiver import Answer, reply

pytestmark = pytest.mark.guarantee("G5")

Stage = Callable[[World, str], Awaitable[str]]


@asynccontextmanager
async def _end_is_locked(world: World, execution_id: str) -> AsyncGenerator[None]:
    """Lock what an end alone needs until a transaction waits for the lock: its user's counters."""
    connection = await asyncpg.connect(world.owner_dsn)
    try:
        async with connection.transaction():
            sql = """SELECT 1 FROM concurrency_counters WHERE user_id = (
                         SELECT user_id FROM executions WHERE execution_id = $1) FOR NO KEY UPDATE"""
            assert await connection.fetchval(sql, execution_id)
            yield

            async def has_waiter() -> bool:
                return bool(
                    await world.rows(
                        """SELECT 1 FROM pg_stat_activity
                           WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE concurrency_counters%'"""
                    )
                )

            await world.until_true(has_waiter, "nobody has tried to end it")
            os.kill(world.stack.pid_of("Temporal"), signal.SIGSTOP)
    finally:
        await connection.close()


@pytest.mark.timeout(150)
async def test_worker_killed_before_a_delivery_sends_one_event(world: World) -> None:
    """The worker dies before the delivery of one execution is started, and during another's."""
    answered = asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        await reply(200)(writer)

    answers: list[Answer] = [wait, reply(200)]
    world.receiver.answers = answers
    heard = await world.generate()
    ended = await world.ended(heard)
    await world.webhook(heard)
    slow = {"chunk_bytes": 512, "seconds_per_chunk": 0.3}
    unheard = await world.caught("slow_file", provider="replicate", params=slow)
    try:
        async with _end_is_locked(world, unheard):
            pass

        async def has_ended() -> bool:
            return (await world.get(unheard))["status"] == "completed"

        await world.until_true(has_ended, "the end is not committed", every=0.01)
        assert [ended["webhook"]["state"], (await world.get(unheard))["webhook"]["state"]] == [
            "pending"
        ] * 2
        assert (len(world.webhooks_of(heard)), len(world.webhooks_of(unheard))) == (1, 0)
        pid = world.stack.pid_of("Worker")
        os.kill(pid, signal.SIGKILL)
    finally:
        os.kill(world.stack.pid_of("Temporal"), signal.SIGCONT)
    answered.set()

    async def delivered() -> bool:
        seen = [await world.get(execution_id) for execution_id in (heard, unheard)]
        return all(one["webhook"]["state"] == "delivered" for one in seen)

    await world.until_true(delivered, "a webhook is not delivered", seconds=60, every=0.3)
    assert world.stack.pid_of("Worker") != pid
    for execution_id in (heard, unheard):
        await world.check_one_event(execution_id)
        await world.check_money(execution_id)
    assert len(world.webhooks_of(unheard)) == 1
    await world.check_bought({heard: 2, unheard: 2})
    await world.check_budget()


async def test_idempotency_key_repeated_after_a_dropped_connection_is_one_execution(
    world: World,
) -> None:
    request = {"prompt": PROMPT, "duration": 2, "resolution": "480p", "webhook": world.receiver.url}

    async def kept(key: str) -> bool:
        return bool(await world.rows("SELECT 1 FROM idempotency_keys WHERE key = $1", key))

    async def order(key: str, *, accepted: bool) -> tuple[str, bool]:
        """Sent twice, each time the connection is reset before the answer is read; then sent again.
        Was it known?

        accepted: the first is reset only when it has been accepted.
        """
        for last in (False, True):
            async with _sent(world, key, request):
                if accepted and not last:
                    await world.until_true(lambda: kept(key), "the request was not accepted")
        answer = await _answered(world, key, request)
        assert answer.status_code == 202, answer.text
        return answer.json()["executionId"], answer.headers.get("idempotent-replayed") == "true"

    orders = await asyncio.gather(
        *(order(f"order-{number}", accepted=number % 2 == 0) for number in range(6))
    )
    ids = [execution_id for execution_id, _ in orders]
    assert all(replayed for _, replayed in orders[::2])
    assert len(set(ids)) == len(ids)
    listed = (await world.api.get("/api/executions")).json()["data"]
    assert {one["id"] for one in listed} == set(ids)
    for execution_id in ids:
        assert (await world.until_final(execution_id))["status"] == "completed"
        await world.check_one_event(execution_id)
    await world.check_bought(dict.fromkeys(ids, 2))
    await world.check_budget()


async def _answered(world: World, key: str, request: Mapping[str, object]) -> httpx.Response:
    """Once more, until no earlier one is still being answered."""
    while True:
        answer = await world.api.post(
            "/api/generate-video", json=request, headers={"Idempotency-Key": key}
        )
        if answer.status_code != 409:
            return answer
        assert answer.json()["code"] == "idempotency_in_progress"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _sent(world: World, key: str, request: Mapping[str, object]) -> AsyncGenerator[None]:
    """Send a request and reset the connection without reading the response."""
    address = urlsplit(world.stack.config.api_url)
    body = json.dumps(request).encode()
    head = (
        f"POST /api/generate-video HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {world.user.api_key}\r\n"
        f"Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head.encode() + body)
    await writer.drain()
    try:
        yield
    finally:
        writer.transport.abort()


async def _waiting(world: World, provider: str) -> str:
    """Refused for now: it waits to be sent again."""
    image = {
        "provider": provider,
        "model": MODELS[provider]["imageModel"],
        "params": {"retry_after": "120"},
    }
    execution_id = await world.caught("refuse_429", **image, body=MODELS[provider])
    await world.until(execution_id, job="image", state="waiting")
    # The provider asked everybody for quiet; the next ones are not to wait for its end.
    await world.rows("DELETE FROM provider_states WHERE provider = $1 RETURNING provider", provider)
    return execution_id


async def _submitting(world: World, provider: str) -> str:
    """Its create call is on the wire, and will be answered when the workflow is gone."""
    image = {
        "provider": provider,
        "model": MODELS[provider]["imageModel"],
        "params": {"stage": "before_accept"},
    }
    return await world.caught("hold", **image, body=MODELS[provider])


async def _unknown(world: World, provider: str) -> str:
    # No callback at all: that of an earlier stage's job could use up a fault for one.
    await world.settings(callbacks=False)
    image = {"provider": provider, "model": MODELS[provider]["imageModel"]}
    execution_id = await world.caught("drop_after_accept", **image, body=MODELS[provider])
    await world.until(execution_id, job="image", state="unknown")
    return execution_id


async def _running(world: World, provider: str) -> str:
    await world.settings(callbacks=True)
    execution_id = await world.generate(duration=10, **MODELS[provider])
    await world.until(execution_id, job="video", state="submitted")
    return execution_id


TERMINATED: dict[Stage, int] = {_waiting: 0, _submitting: 1, _unknown: 1, _running: 2}
"""How much each has bought."""


@pytest.mark.guarantee("G3")
@pytest.mark.timeout(180)
async def test_terminated_workflow_is_closed_paid_and_reported_within_a_minute(
    world: World,
) -> None:
    client = await Client.connect(world.stack.environment["TEMPORAL_ADDRESS"])
    await world.settings(video_seconds=60.0, history_lag_seconds=4.0)
    bought: dict[str, int] = {}
    for stage, lines in TERMINATED.items():
        for execution_id in await asyncio.gather(*(stage(world, provider) for provider in MODELS)):
            await client.get_workflow_handle(execution_id).terminate("by hand")
            bought[execution_id] = lines
    for provider in MODELS:
        await world.release_held(provider)
    # As if they had run for a while: what has just begun is left alone for some seconds.
    await world.rows(
        """UPDATE executions SET started_at = started_at - interval '30 seconds'
           WHERE execution_id = ANY($1) RETURNING execution_id""",
        list(bought),
    )
    loop = asyncio.get_running_loop()
    until = loop.time() + 60
    for execution_id in bought:
        seen = await world.ended(execution_id, seconds=max(0.1, until - loop.time()))
        assert (seen["status"], seen["error"]["code"]) == ("failed", "terminated"), seen
        assert (await world.check_one_event(execution_id))["type"] == "execution.failed"
    for execution_id in bought:
        await world.until_final(execution_id, seconds=60)
        await world.check_money(execution_id)
    await world.check_bought(bought)
    await world.check_budget()
