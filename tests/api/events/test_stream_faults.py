"""Streams through faults: killed and stopped processes, a lost LISTEN connection, slow clients."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import count

import asyncpg
import httpx
import pytest
from starlette.types import Message

from api.events.frames import HEARTBEAT
from api.events.hub import Hub
from api.events.limits import StreamLimits, TooManyStreamsError
from api.events.offers import Offers
from api.events.stream import BLOCKED_SECONDS, LIFE_SECONDS, Stream
from api.executions.outlook import Outlooks
from api.http.server import DRAIN_SECONDS
from core.domain.ids import UserId
from core.domain.states import ExecutionStatus
from core.store.database import Database
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.retries import QUEUE_AGAIN
from core.store.jobs.sends import mark_waiting
from core.webhooks.asset_links import AssetLinks
from tests.api import ended
from tests.api.events.conftest import NO_TEMPORAL, SETTINGS, Watched, path_of
from tests.api.events.sse import opened
from tests.api.processes import Served, served
from tests.api.test_proxy import TIMEOUT_SECONDS, Proxy, proxied
from tests.support.changes import buy, finish, send
from tests.support.rows import SEALER, Accepted

SECONDS = 100
END_LISTENERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'takeone-listen' AND datname = current_database()
"""
COUNT_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database() AND pid <> pg_backend_pid()
"""
OUTLOOKS = Outlooks(limits=ConcurrencyLimits())


def offers(watched: Watched) -> Offers:
    return Offers(database=watched.database, sealer=SEALER)


LINKS = AssetLinks(public_base_url="http://api.test", cdn_base_url=None)
MANY = StreamLimits(per_key=100, per_user=100, per_process=100)


@asynccontextmanager
async def another(watched: Watched) -> AsyncGenerator[Served]:
    async with served(watched.fresh, NO_TEMPORAL, watched.api_key, **SETTINGS) as running:
        yield running


async def test_stream_resumes_at_another_process_after_a_kill(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    async with asyncio.timeout(SECONDS), another(watched) as doomed:
        async with opened(doomed.http, path_of(one)) as client:
            await send(watched.database, one.image)
            await client.until("job", state="submitting")
            doomed.process.kill()
            with suppress(httpx.TransportError):
                await client.rest()
        assert await doomed.process.wait() == -9
    async with watched.database.as_user(one.user_id) as conn:
        assert await mark_waiting(conn, one.image.job_id, 1)
    await finish(watched.database, one.ref, ExecutionStatus.FAILED)
    async with asyncio.timeout(SECONDS), opened(http, path_of(one), after=client.last_id) as later:
        await later.rest()

    ids = [event.id for event in (*client.seen, *later.seen)]
    assert ids == list(range(3, 3 + len(ids))), "an event is missing or repeated"
    assert later.seen[-1].name == "end"


async def test_sigterm_ends_streams_at_once(watched: Watched) -> None:
    one = await watched.execution()
    async with asyncio.timeout(SECONDS), another(watched) as stopping:
        async with (
            opened(stopping.http, path_of(one)) as client,
            opened(stopping.http, "/api/events") as account,
        ):
            await client.next()
            started = time.monotonic()
            stopping.process.terminate()
            assert await client.rest() == await account.rest() == []
            assert await stopping.process.wait() == 0
        assert time.monotonic() - started < DRAIN_SECONDS / 2, "it waited for the streams"
    assert client.retry is not None
    assert 1000 <= client.retry <= 5000, "clients reconnect at different times"


async def test_changes_during_a_lost_listener_arrive(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    async with (
        asyncio.timeout(SECONDS),
        opened(http, path_of(one)) as client,
        opened(http, "/api/events") as account,
    ):
        await send(watched.database, one.image)
        await client.until("job", state="submitting")  # it listens
        async with watched.superuser() as conn:
            assert await conn.fetchval(END_LISTENERS) >= 1
        async with watched.database.as_user(one.user_id) as conn:
            assert await mark_waiting(conn, one.image.job_id, 1)
        await client.until("job", state="waiting")
        await account.rest()  # ends: its notifications are lost, so its client reads the list again
        await finish(watched.database, one.ref, ExecutionStatus.FAILED)
        await client.until("end", status="failed")


async def test_retry_supersedes_the_end_before_it(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    await finish(watched.database, one.ref, ExecutionStatus.FAILED)
    async with watched.database.as_user(one.user_id) as conn:
        assert await conn.fetchval(QUEUE_AGAIN, one.execution_id, 1, None) == 2
    async with asyncio.timeout(SECONDS), opened(http, path_of(one), after=2) as client:
        snapshot = await client.next()
        assert snapshot is not None
        assert (snapshot.name, snapshot.data["generation"]) == ("snapshot", 2)
        assert snapshot.data["status"] == "queued", "the end of generation 1 is not an end"
        await send_again(watched, one)
        await client.until("cost", estimated="0.000000007")


async def send_again(watched: Watched, one: Accepted) -> None:
    async with watched.database.as_user(one.user_id) as conn:
        await conn.execute(
            "UPDATE executions SET estimated_nano_usd = 7 WHERE execution_id = $1", one.execution_id
        )


@pytest.fixture(scope="module")
async def proxy(process: Served, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Proxy]:
    """Yield a proxy with the configuration of production."""
    async with proxied(process, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


async def test_stream_lives_longer_than_the_proxys_time_limits(
    watched: Watched, proxy: Proxy
) -> None:
    """Through the configuration of production: not buffered, and not cut off."""
    one = await watched.execution()
    async with (
        asyncio.timeout(SECONDS),
        opened(proxy.http, path_of(one)) as client,
    ):
        opened_at = time.monotonic()
        await client.next()
        await buy(watched.database, one.image)
        await client.until("job", step="image", state="completed")
        while time.monotonic() - opened_at < TIMEOUT_SECONDS + 1:  # noqa: ASYNC110 - time itself
            await asyncio.sleep(0.2)
        await finish(watched.database, one.ref, ExecutionStatus.FAILED)
        assert (await client.until("end")).data["status"] == "failed"
        assert await client.rest() == []


async def test_listener_behind_the_proxy_gets_webhooks_at_once(
    watched: Watched, proxy: Proxy
) -> None:
    one = await ended.end(watched.database, watched.user_id, ended.STORED)
    made = (await proxy.http.post("/api/endpoints", json={"kind": "stream"})).json()
    path = f"/api/endpoints/{made['id']}/stream"
    async with asyncio.timeout(SECONDS), opened(proxy.http, path, latest="1") as client:
        webhook = await client.next()
    assert webhook is not None
    assert webhook.data["number"] == 0
    assert one.execution_id in webhook.data["body"]


class SlowClient:
    """An ASGI client that takes what is sent only while `reads` is set."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.taken: list[bytes] = []
        self.left = asyncio.Event()

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if message.get("body"):
            self.taken.append(message["body"])

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def until(self, text: bytes, serving: "asyncio.Task[None] | None" = None) -> None:
        while text not in b"".join(self.taken):
            assert serving is None or not serving.done(), serving
            await asyncio.sleep(0.01)


async def test_client_too_slow_for_events_gets_a_snapshot(watched: Watched) -> None:
    one = await watched.execution()
    client = SlowClient()
    async with (
        asyncio.timeout(SECONDS),
        Hub(watched.database, LINKS, MANY, OUTLOOKS, offers(watched)).running() as hub,
    ):
        stream = Stream(
            user_id=one.user_id, credential="key", execution_id=one.execution_id, last=3
        )
        serving = asyncio.create_task(
            hub.open(stream)({"type": "http"}, client.receive, client.send)
        )
        client.reads.set()
        await client.until(b"retry: ")
        client.reads.clear()
        numbers = count(1)
        while not stream.stale:  # the first of the events may be on their way together
            number = next(numbers)
            await send(watched.database, one.image, number)
            async with watched.database.as_user(one.user_id) as conn:
                assert await mark_waiting(conn, one.image.job_id, number)
        assert not stream.buffer, "the buffer is bounded"
        client.reads.set()
        await client.until(b"event: snapshot", serving)
        await finish(watched.database, one.ref, ExecutionStatus.FAILED)
        await client.until(b"event: end", serving)
        await serving
    shown = [
        int(line.removeprefix(b"id: "))
        for line in b"".join(client.taken).splitlines()
        if line.startswith(b"id: ")
    ]
    assert shown == sorted(set(shown))


@pytest.mark.parametrize("left", [True, False], ids=["client leaves", "process stops"])
async def test_stream_ends_although_a_snapshot_is_read(watched: Watched, *, left: bool) -> None:
    one = await watched.execution()
    client = SlowClient()
    client.reads.set()
    async with (
        asyncio.timeout(SECONDS),
        Hub(watched.database, LINKS, MANY, OUTLOOKS, offers(watched)).running() as hub,
    ):
        stream = Stream(
            user_id=one.user_id, credential="key", execution_id=one.execution_id, stale=True
        )
        async with watched.superuser() as owner, owner.transaction():
            await owner.execute("LOCK TABLE executions")
            serving = asyncio.create_task(
                hub.open(stream)({"type": "http"}, client.receive, client.send)
            )
            while not await owner.fetchval(COUNT_WAITING):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
            if left:
                client.left.set()
            else:
                hub.close()
            while not stream.ended:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        await serving
        hub.counts.check(one.user_id, "key")
    assert left or client.taken[-1].startswith(b"retry: "), "clients reconnect at different times"


class LateListener(Database):
    """Connects for LISTEN only after `may_listen` is set."""

    may_listen: asyncio.Event

    @asynccontextmanager
    async def listening_connection(self) -> "AsyncGenerator[asyncpg.Connection[asyncpg.Record]]":
        await self.may_listen.wait()
        async with super().listening_connection() as connection:
            yield connection


async def test_account_stream_opens_once_changes_are_notified(watched: Watched) -> None:
    client = SlowClient()
    client.reads.set()
    async with (
        asyncio.timeout(SECONDS),
        LateListener.open(watched.fresh.application_dsn, max_connections=2) as database,
        Hub(database, LINKS, MANY, OUTLOOKS, offers(watched)).running() as hub,
    ):
        database.may_listen = asyncio.Event()
        stream = Stream(user_id=watched.user_id, credential="key")

        async def open_and_change() -> None:
            response = await hub.open_account(stream)
            serving = asyncio.create_task(response({"type": "http"}, client.receive, client.send))
            await client.until(b"retry: ")
            one = await watched.execution()
            opened.set()
            await client.until(one.execution_id.encode(), serving)
            client.left.set()
            await serving

        opened = asyncio.Event()
        changing = asyncio.create_task(open_and_change())
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await opened.wait()
        database.may_listen.set()
        await changing


async def test_client_that_leaves_frees_its_place(watched: Watched) -> None:
    client = SlowClient()
    client.reads.set()
    limits = StreamLimits(per_key=1, per_user=9, per_process=9)
    async with (
        asyncio.timeout(SECONDS),
        Hub(watched.database, LINKS, limits, OUTLOOKS, offers(watched)).running() as hub,
    ):
        stream = Stream(user_id=watched.user_id, credential="key")
        serving = asyncio.create_task(
            hub.open(stream)({"type": "http"}, client.receive, client.send)
        )
        await client.until(b"retry: ")
        with pytest.raises(TooManyStreamsError):
            hub.counts.check(watched.user_id, "key")
        client.left.set()
        await serving
        hub.counts.check(watched.user_id, "key")


def test_idle_stream_gets_heartbeats_and_ends_after_its_life() -> None:
    stream = Stream(user_id=UserId("usr_1"), credential="key", expires_at=LIFE_SECONDS)
    stream.heartbeat_at = 15
    stream.tend(14)
    assert not stream.buffer
    stream.tend(15)
    stream.tend(16)
    assert list(stream.buffer) == [HEARTBEAT]
    assert not stream.ended
    stream.tend(LIFE_SECONDS)
    assert stream.ended


def test_client_that_takes_nothing_is_disconnected() -> None:
    aborted: list[bool] = []
    stream = Stream(user_id=UserId("usr_1"), credential="key", expires_at=LIFE_SECONDS)
    stream.abort = lambda: aborted.append(True)
    stream.blocked_since = 0
    stream.tend(BLOCKED_SECONDS)
    assert not aborted
    stream.tend(BLOCKED_SECONDS + 1)
    assert aborted
