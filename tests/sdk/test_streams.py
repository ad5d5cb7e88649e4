"""Both Python clients over real connections: streams that are cut, stall, or are refused."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from takeone import AsyncTakeone, Takeone, errors
from takeone._core import streams, watching
from takeone.models import ExecutionData
from tests.sdk.stream_server import HEARTBEAT, Stream, StreamServer, frame

ID = "exec_1"
COST = {"estimated": "1", "held": "1", "settled": "0", "final": False}
EVENTS, READ, ALL = f"/api/executions/{ID}/events", f"/api/executions/{ID}", "/api/events"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and a second without a byte instead of 45."""
    monkeypatch.setattr(streams, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(streams, "LOST_SECONDS", 1.0)
    monkeypatch.setattr(watching, "FIRST_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watching, "FAILED_STREAM_SECONDS", 0.05)


def document(status: str = "running", progress: int = 5) -> dict[str, Any]:
    return {
        "id": ID, "type": "video", "status": status, "generation": 1, "progress": progress,
        "currentJob": "clip", "completedJobs": [], "failedJobs": [], "jobs": [], "waitingFor": [],
        "result": None, "error": None, "webhook": None, "metadata": {}, "cost": COST,
        "createdAt": "2026-11-30T00:00:00Z", "updatedAt": "2026-11-30T00:00:00Z",
    }  # fmt: skip


def progress(number: int) -> dict[str, Any]:
    return {
        "status": "running", "progress": number, "currentJob": "clip", "completedJobs": [],
        "failedJobs": [], "updatedAt": "2026-11-30T00:00:00Z",
    }  # fmt: skip


SNAPSHOT = frame("snapshot", document(), 3)
PROGRESS = frame("progress", progress(40), 4)
END = frame("end", document("completed", 100), 6)


class Client:
    """One of the two clients, with blocking calls run in a thread."""

    def __init__(self, url: str, *, asynchronous: bool) -> None:
        self._url = url
        self._asynchronous = asynchronous

    async def events(self, after: int | None = None) -> list[Any]:
        if self._asynchronous:
            async with AsyncTakeone("tko_key", self._url) as client:
                return [event async for event in client.executions.events(ID, after)]

        def blocking() -> list[Any]:
            with Takeone("tko_key", self._url) as client:
                return list(client.executions.events(ID, after))

        return await asyncio.to_thread(blocking)

    async def account_events(self, count: int) -> list[Any]:
        if self._asynchronous:
            async with AsyncTakeone("tko_key", self._url) as client:
                events = client.events()
                return [await anext(events) for _ in range(count)]

        def blocking() -> list[Any]:
            with Takeone("tko_key", self._url) as client:
                return list(itertools.islice(client.events(), count))

        return await asyncio.to_thread(blocking)

    async def wait(self, **options: Any) -> Any:
        if self._asynchronous:
            async with AsyncTakeone("tko_key", self._url) as client:
                return await client.executions.wait(ID, **options)

        def blocking() -> Any:
            with Takeone("tko_key", self._url) as client:
                return client.executions.wait(ID, **options)

        return await asyncio.to_thread(blocking)


@pytest.fixture(params=[False, True], ids=["blocking", "asyncio"])
def client_of(request: pytest.FixtureRequest) -> Callable[[str], Client]:
    return lambda url: Client(url, asynchronous=request.param)


ClientOf = Callable[[str], Client]


async def test_cut_stream_continues_after_its_last_event(client_of: ClientOf) -> None:
    half = frame("job", {}, 5)[:20]
    server = StreamServer([Stream([SNAPSHOT, PROGRESS + half], "cut"), Stream([END])])
    async with server.serving() as url:
        events = await client_of(url).events()
    assert [event.type for event in events] == ["snapshot", "progress", "end"]
    assert [event.sequence for event in events] == [3, 4, 6]
    assert server.requests == [(EVENTS, None), (EVENTS, "4")]
    assert events[0].execution.status == "running"
    assert events[1].progress.progress == 40
    assert events[2].execution.ended


async def test_stalled_stream_is_opened_again(client_of: ClientOf) -> None:
    server = StreamServer([Stream([SNAPSHOT, HEARTBEAT], "stall"), Stream([END])])
    async with server.serving() as url:
        events = await client_of(url).events()
    assert [event.type for event in events] == ["snapshot", "end"]


async def test_refused_streams_are_opened_again_until_they_succeed(client_of: ClientOf) -> None:
    server = StreamServer([Stream(status=503), Stream(status=429), Stream([END])])
    async with server.serving() as url:
        assert [event.type for event in await client_of(url).events(5)] == ["end"]
    assert server.requests == [(EVENTS, "5")] * 3


async def test_iteration_ends_when_nothing_follows(client_of: ClientOf) -> None:
    server = StreamServer([])
    async with server.serving() as url:
        assert await client_of(url).events(6) == []


async def test_new_kinds_of_events_are_passed_on(client_of: ClientOf) -> None:
    server = StreamServer([Stream([frame("new-kind", {"a": 1}, 5), END])])
    async with server.serving() as url:
        (event, _) = await client_of(url).events()
    assert (event.type, event.data, event.job) == ("new-kind", {"a": 1}, None)


async def test_streams_of_the_account_announce_each_connection(client_of: ClientOf) -> None:
    change = {"executionId": ID, "sequence": 4, "status": "running", "progress": 40}
    opened = [HEARTBEAT, frame("changed", change)]
    server = StreamServer([Stream(opened, "cut"), Stream(opened, "stall")])
    async with server.serving() as url:
        events = await client_of(url).account_events(4)
    assert [event.type for event in events] == ["connected", "changed"] * 2
    assert (events[1].execution_id, events[1].progress) == (ID, 40)


async def test_wait_follows_streams_without_reading(client_of: ClientOf) -> None:
    server = StreamServer([Stream([SNAPSHOT, PROGRESS], "cut"), Stream([HEARTBEAT, END])])
    async with server.serving() as url:
        assert (await client_of(url).wait()).progress == 100
    assert server.requests == [(EVENTS, None), (EVENTS, "4")]


async def test_each_event_brings_progress_of_the_whole_execution(client_of: ClientOf) -> None:
    server = StreamServer([Stream([SNAPSHOT, PROGRESS, END])], [document(progress=40)])
    seen: list[int] = []

    def note(execution: ExecutionData) -> None:
        seen.append(execution.progress)

    async with server.serving() as url:
        await client_of(url).wait(on_progress=note)
    assert seen == [5, 40, 100] or seen == [5, 100], "parts may arrive together"


async def test_wait_looks_where_streams_are_refused(client_of: ClientOf) -> None:
    server = StreamServer(
        [Stream(status=404)], [document(), document(progress=50), document("completed")]
    )
    async with server.serving() as url:
        assert (await client_of(url).wait()).ended
    assert server.requests == [(EVENTS, None)] + [(READ, None)] * 3


async def test_wait_returns_to_the_stream_of_a_restarted_service(client_of: ClientOf) -> None:
    streams = [Stream(status=503), Stream(status=503), Stream([SNAPSHOT, END])]
    server = StreamServer(streams, [document()], refusals=[503, 429])
    async with server.serving() as url:
        assert (await client_of(url).wait()).ended
    paths = [path for path, _ in server.requests]
    assert (paths[:3], paths[-1]) == ([EVENTS, EVENTS, READ], EVENTS)
    assert paths.count(EVENTS) == 3


async def test_read_that_fails_does_not_end_the_stream(client_of: ClientOf) -> None:
    server = StreamServer([Stream([SNAPSHOT, PROGRESS, END])], [document()], refusals=[503] * 9)
    async with server.serving() as url:
        await client_of(url).wait(on_progress=print)
    assert [path for path, _ in server.requests].count(EVENTS) == 1


async def test_wait_looks_where_a_proxy_keeps_streams_back(client_of: ClientOf) -> None:
    server = StreamServer([Stream(end="withhold")], [document("completed")])
    async with server.serving() as url:
        assert (await client_of(url).wait()).ended
    assert server.requests == [(EVENTS, None), (READ, None)]


async def test_wait_reads_the_end_when_nothing_follows(client_of: ClientOf) -> None:
    server = StreamServer([Stream([SNAPSHOT], "cut")], [document("completed")])
    async with server.serving() as url:
        assert (await client_of(url).wait()).ended
    assert server.requests == [(EVENTS, None), (EVENTS, "3"), (READ, None)]


async def test_what_on_progress_raises_ends_the_wait(client_of: ClientOf) -> None:
    """Also an error of a call, which would otherwise be a lost stream."""

    def refuse(_: Any) -> None:
        raise errors.ConnectionLostError("from the callback")

    server = StreamServer([Stream([SNAPSHOT], "stall")])
    async with server.serving() as url:
        with pytest.raises(errors.ConnectionLostError, match="callback"):
            await client_of(url).wait(on_progress=refuse)


async def test_time_out_ends_the_wait_alone(client_of: ClientOf) -> None:
    server = StreamServer([], [document()])
    async with server.serving() as url:
        with pytest.raises(errors.WaitTimeoutError, match=ID):
            await client_of(url).wait(timeout=0.3)
    assert {path for path, _ in server.requests} == {READ}


async def test_failed_execution_raises_its_failure(client_of: ClientOf) -> None:
    server = StreamServer([Stream([frame("end", document("cancelled"), 6)])])
    async with server.serving() as url:
        with pytest.raises(errors.ExecutionFailedError, match="cancelled"):
            await client_of(url).wait()
