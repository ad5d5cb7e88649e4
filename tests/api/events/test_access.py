"""Who may open a stream: limits, tickets of browsers, and other users."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import httpx
import pytest

from api.events.limits import OpenStreams, StreamLimits, TooManyStreamsError
from core.domain.ids import UserId
from core.domain.scopes import Scope
from core.domain.states import ExecutionStatus
from core.store.accounts.users import insert_api_key
from core.store.database import Database
from tests.api import ended
from tests.api.events.conftest import SETTINGS, Watched, path_of
from tests.api.events.sse import opened
from tests.api.processes import Served
from tests.support.changes import buy, finish
from tests.support.rows import accept, new_execution, new_user

SECONDS = 150


async def test_stream_beyond_the_limit_of_a_key_gets_429(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    limit = int(SETTINGS["STREAMS_PER_KEY"])
    async with asyncio.timeout(SECONDS), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(opened(http, path_of(one))) for _ in range(limit)
        ]
        for path in (path_of(one), "/api/events"):
            refused = await http.get(path)
            problem = refused.json()
            assert (refused.status_code, problem["code"]) == (429, "too_many_streams")
            assert refused.headers["retry-after"] == "5"
            assert f"limit {limit}" in problem["detail"]
        await clients[0].response.aclose()
        while (await http.head(path_of(one))).status_code == 429:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("limits", "subject"),
    [
        (StreamLimits(per_key=1, per_user=9, per_process=9), "this credential"),
        (StreamLimits(per_key=9, per_user=1, per_process=9), "this account"),
        (StreamLimits(per_key=9, per_user=9, per_process=1), "this server"),
    ],
)
def test_each_limit_of_streams_is_counted(limits: StreamLimits, subject: str) -> None:
    streams, ada = OpenStreams(limits), UserId("usr_a")
    with streams.counting(ada, "key"):
        with pytest.raises(TooManyStreamsError, match=subject):
            streams.check(ada, "key")
        if subject != "this server":
            streams.check(UserId("usr_b"), "key")
    streams.check(ada, "key")


async def ticket(http: httpx.AsyncClient, path: str) -> dict[str, str]:
    answer = await http.post(path)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_ticket_opens_one_stream_without_a_key(
    watched: Watched, process: Served, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    made = await ticket(http, path_of(one, "stream-tickets"))
    assert made["url"] == f"{process.url}{path_of(one)}?ticket={made['ticket']}"
    async with httpx.AsyncClient(base_url=process.url, timeout=30) as browser:
        async with asyncio.timeout(SECONDS), opened(browser, made["url"]) as client:
            assert (await client.next()) is not None
        used = await browser.get(made["url"])
        assert (used.status_code, used.json()["code"]) == (401, "unauthenticated")
        assert (await browser.get(path_of(one))).status_code == 401


async def test_ticket_opens_nothing_else(
    watched: Watched, process: Served, http: httpx.AsyncClient
) -> None:
    one, other = await watched.execution(), await watched.execution()
    made = await ticket(http, path_of(one, "stream-tickets"))
    async with httpx.AsyncClient(base_url=process.url, timeout=30) as browser:
        for path in (path_of(other), "/api/events", path_of(one, "timeline")):
            answer = await browser.get(path, params={"ticket": made["ticket"]})
            assert answer.status_code == 401, path
        again = await ticket(http, path_of(one, "stream-tickets"))
        async with watched.superuser() as owner:
            await owner.execute("UPDATE stream_tickets SET expires_at = now()")
        assert (await browser.get(again["url"])).status_code == 401, "expired"


@pytest.mark.parametrize("name", ["exec_1", "exec_%00"])
async def test_ticket_for_what_is_no_id_is_refused(process: Served, name: str) -> None:
    async with httpx.AsyncClient(base_url=process.url, timeout=30) as browser:
        answer = await browser.get(f"/api/executions/{name}/events?ticket=a-ticket")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_tickets_are_stored_as_hashes(watched: Watched, http: httpx.AsyncClient) -> None:
    one = await watched.execution()
    made = await ticket(http, path_of(one, "stream-tickets"))
    async with watched.superuser() as owner:
        rows = await owner.fetch("SELECT t::text AS row FROM stream_tickets AS t")
    assert rows
    assert not [row for row in rows if made["ticket"] in row["row"]]


async def test_key_that_only_reads_makes_tickets(watched: Watched, process: Served) -> None:
    one = await watched.execution()
    async with watched.database.as_system() as conn:
        key = await insert_api_key(conn, watched.user_id, "reader", scopes=frozenset({Scope.READ}))
    headers = {"Authorization": f"Bearer {key.key.text}"}
    async with httpx.AsyncClient(base_url=process.url, headers=headers) as reader:
        await ticket(reader, path_of(one, "stream-tickets"))


async def test_stream_of_another_user_is_not_found(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    theirs = await accept(watched.database, new_execution(await new_user(watched.database)))
    for path in (path_of(theirs), path_of(theirs, "timeline")):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await http.post(path_of(theirs, "stream-tickets"))).status_code == 404


async def test_account_stream_shows_own_changes_and_webhooks(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    async with asyncio.timeout(SECONDS), opened(http, "/api/events") as client:
        await accept(watched.database, new_execution(await new_user(watched.database)))
        one = await end_with_webhook(watched.database, watched.user_id)
        await client.until("changed", executionId=one, status="failed")
        async with watched.database.as_system() as conn:
            await conn.execute(
                "UPDATE webhooks SET state = 'delivered', ended_at = now() WHERE execution_id = $1",
                one,
            )
        webhook = await client.until("webhook", executionId=one)
        assert (webhook.data["state"], webhook.data["attempts"]) == ("delivered", 0)
        assert webhook.data.keys() == {"eventId", "executionId", "state", "attempts"}
    assert {event.data["executionId"] for event in client.seen} == {one}, "another user's change"


async def end_with_webhook(database: Database, user_id: UserId) -> str:
    return (await ended.end(database, user_id, ended.STORED)).execution_id


async def test_timeline_has_the_events_of_the_stream(
    watched: Watched, http: httpx.AsyncClient
) -> None:
    one = await watched.execution()
    await buy(watched.database, one.image)
    await finish(watched.database, one.ref, ExecutionStatus.FAILED)
    async with asyncio.timeout(SECONDS), opened(http, path_of(one), after=0) as client:
        await client.rest()
    timeline = (await http.get(path_of(one, "timeline"))).json()

    assert (timeline["executionId"], timeline["nextAfter"]) == (one.execution_id, None)
    shown = [(each["sequence"], each["type"], each["data"]) for each in timeline["data"]]
    streamed = [(event.id, event.name, event.data) for event in client.seen]
    assert shown[:-1] == streamed[:-1]
    assert shown[-1][2] == {"status": "failed", "progress": 100, "error": None}
    assert all(before["at"] <= after["at"] for before, after in pairwise(timeline["data"]))
    rest = (await http.get(path_of(one, "timeline"), params={"after": 4})).json()
    assert rest["data"] == timeline["data"][4:]
