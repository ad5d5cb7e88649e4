"""Event streams: what a client gets, in which order, and how it resumes."""

import asyncio

import httpx
import pytest

from core.domain.states import ExecutionStatus
from tests.api.events.conftest import Watched, path_of
from tests.api.events.sse import opened
from tests.support.changes import buy, finish, send

SECONDS = 150


async def test_stream_begins_with_a_snapshot_and_ends_with_the_end(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    async with asyncio.timeout(SECONDS), opened(http, path_of(one)) as client:
        snapshot = await client.next()
        assert snapshot is not None
        assert (snapshot.name, snapshot.id, client.retry) == ("snapshot", 3, 2000)
        document = (await http.get(f"/api/executions/{one.execution_id}")).json()
        estimated = {"queue": None, "eta": None}  # they change with time alone
        assert snapshot.data | estimated == document | estimated
        await buy(watched.database, one.image)
        await client.until("job", step="image", state="completed")
        await buy(watched.database, one.video)
        await client.until("progress", completedJobs=["image", "video"])
        await finish(watched.database, one.ref, ExecutionStatus.COMPLETED)
        await client.rest()

    ids = [event.id for event in client.seen]
    assert ids == list(range(3, 3 + len(ids))), "every number, in order"
    end = client.seen[-1]
    document = (await http.get(f"/api/executions/{one.execution_id}")).json()
    assert (end.name, end.data) == ("end", document)
    jobs = [event.data for event in client.seen if event.name == "job"]
    assert [jobs[2], jobs[-1]] == document["jobs"]
    costs = [event.data for event in client.seen if event.name == "cost"]
    assert costs[-1] == document["cost"]


async def test_headers_keep_proxies_from_buffering(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    async with opened(http, path_of(one)) as client:
        headers = client.response.headers
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers


async def test_resumed_stream_gets_the_events_after_its_last(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    await buy(watched.database, one.image)
    await finish(watched.database, one.ref, ExecutionStatus.FAILED)
    async with opened(http, path_of(one), after=0) as client:
        everything = await client.rest()
    async with opened(http, path_of(one), after=4) as client:
        later = await client.rest()
    async with opened(http, f"{path_of(one)}?after=4") as client:
        by_query = await client.rest()

    assert [event.id for event in everything] == list(range(1, len(everything) + 1))
    assert later == by_query == everything[4:]


@pytest.mark.parametrize("unusable", ["abc", "-1", "999999", "99999999999999999999"])
async def test_unusable_last_event_id_gets_a_snapshot(
    watched: Watched, http: httpx.AsyncClient, unusable: str
) -> None:
    one = await watched.execution()
    async with (
        asyncio.timeout(SECONDS),
        http.stream("GET", path_of(one), headers={"Last-Event-ID": unusable}) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                assert line == "event: snapshot"
                break


async def test_nothing_follows_the_end_but_204(watched: Watched, http: httpx.AsyncClient) -> None:
    one = await watched.execution()
    await finish(watched.database, one.ref, ExecutionStatus.FAILED)
    async with asyncio.timeout(SECONDS), opened(http, path_of(one)) as client:
        snapshot, end = await client.rest()
    assert (snapshot.name, end.name) == ("snapshot", "end")
    assert snapshot.id is not None
    assert end.id == snapshot.id + 1, "a stream that breaks between the two gets the end later"
    assert (await http.get(path_of(one), params={"after": end.id})).status_code == 204
    async with opened(http, path_of(one), after=snapshot.id) as client:
        assert await client.rest() == [end]


async def test_execution_without_events_ends_its_streams_too(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    """Executions of versions before the events have ended without any."""
    one = await watched.execution()
    await finish(watched.database, one.ref, ExecutionStatus.FAILED)
    async with watched.database.as_system() as conn:
        for table in ("execution_events", "event_counters"):
            await conn.execute(f"DELETE FROM {table} WHERE execution_id = $1", one.execution_id)
    async with asyncio.timeout(SECONDS), opened(http, path_of(one)) as client:
        names = [(event.name, event.id) for event in await client.rest()]
    assert names == [("snapshot", None), ("end", 0)]
    assert (await http.get(path_of(one), params={"after": 0})).status_code == 204


async def test_invalid_number_in_the_query_is_refused(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    answer = await http.get(path_of(one), params={"after": "-1"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_head_of_a_stream_ends_at_once(watched: Watched, http: httpx.AsyncClient) -> None:
    one = await watched.execution()
    answer = await http.head(path_of(one), timeout=SECONDS)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_stream_of_the_account_names_every_changed_execution(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    async with asyncio.timeout(SECONDS), opened(http, "/api/events") as client:
        one, other = await watched.execution(), await watched.execution()
        await client.until("changed", executionId=one.execution_id, status="running")
        await send(watched.database, other.image)
        changed = await client.until("changed", executionId=other.execution_id, sequence=5)
        assert changed.id is None
        assert changed.data.keys() == {"executionId", "sequence", "status", "progress"}
        await finish(watched.database, one.ref, ExecutionStatus.FAILED)
        await client.until("changed", executionId=one.execution_id, status="failed")
