"""Events of executions: one row for each change, numbered without gaps, in its transaction."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import asyncpg
import pytest

from core.domain.ids import ExecutionId, UserId
from core.domain.messages.jobs import JobRef
from core.domain.states import ExecutionStatus
from core.ordering.delete import delete_execution
from core.store.database import Database
from core.store.events.execution_events import (
    CHANNEL,
    EventType,
    ExecutionEvent,
    find_position,
    job_of,
    list_events,
)
from core.store.executions.executions import get_progress
from core.store.executions.views.status import find_execution
from core.store.jobs.sends import begin_send, mark_unknown, mark_waiting
from tests.api import ended
from tests.support.changes import buy, finish, send
from tests.support.rows import Accepted, accept, new_execution, new_user
from tests.support.servers import FreshDatabase, PostgresServer, new_database


@pytest.fixture(scope="module")
async def fresh(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    async with new_database(postgres_server, template_database) as made:
        yield made


@pytest.fixture(scope="module")
async def database(fresh: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh.application_dsn, max_connections=12) as opened:
        yield opened


async def accepted(database: Database) -> Accepted:
    return await accept(database, new_execution(await new_user(database)))


async def events_of(
    database: Database, user_id: UserId, execution_id: ExecutionId
) -> Sequence[ExecutionEvent]:
    async with database.reading_as(user_id) as conn:
        return await list_events(conn, user_id, execution_id, after=0, limit=1000)


async def all_events(database: Database, one: Accepted) -> Sequence[ExecutionEvent]:
    return await events_of(database, one.user_id, one.execution_id)


def names(events: Sequence[ExecutionEvent]) -> list[str]:
    return [
        f"{job_of(event).step} {job_of(event).state}" if event.type is EventType.JOB else event.type
        for event in events
    ]


async def test_each_change_of_a_whole_execution_has_its_event(database: Database) -> None:
    one = await accepted(database)
    await buy(database, one.image)
    await buy(database, one.video)
    await finish(database, one.ref, ExecutionStatus.COMPLETED)

    events = await all_events(database, one)
    assert names(events) == [
        *("cost", "progress", "progress"),
        *("image submitting", "progress", "image submitted"),
        *("image completed", "cost", "progress"),
        *("video submitting", "progress", "video submitted"),
        *("video completed", "cost", "progress"),
        *("cost", "end"),
    ]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert sorted(event.at for event in events) == [event.at for event in events]
    states = [event.data["status"] for event in events if event.type is EventType.PROGRESS]
    assert states == ["queued", *["running"] * 5]
    steps = [event.data["current_job"] for event in events if event.type is EventType.PROGRESS]
    assert steps == [None, None, "image", None, "video", None]
    assert events[-1].data == {"status": "completed", "progress": 100, "error": None}
    assert events[-2].data["final"] is True
    async with database.reading_as(one.user_id) as conn:
        position = await find_position(conn, one.user_id, one.execution_id)
    assert position is not None
    assert (position.status, position.last, position.end) == (
        ExecutionStatus.COMPLETED,
        len(events),
        len(events),
    )


async def test_event_of_a_job_has_what_its_row_has(database: Database) -> None:
    one = await accepted(database)
    await buy(database, one.image)

    last = [event for event in await all_events(database, one) if event.type is EventType.JOB][-1]
    async with database.reading_as(one.user_id) as conn:
        record = await find_execution(conn, one.user_id, one.execution_id)
    assert record is not None
    assert job_of(last) == record.jobs[0]
    assert last.data["usual_seconds"] == record.jobs[0].usual_seconds


async def test_recorded_progress_is_computed_as_the_status_does(database: Database) -> None:
    one = await accept(database, new_execution(await new_user(database), usual_seconds=1_000_000))
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE jobs SET submitted_at = now() - interval '400000 s' WHERE job_id = $1",
            one.video.job_id,
        )
    await buy(database, one.image)

    progress = [
        event for event in await all_events(database, one) if event.type is EventType.PROGRESS
    ]
    async with database.reading_as(one.user_id) as conn:
        assert progress[-1].data["progress"] == await get_progress(conn, one.execution_id) == 69


async def test_concurrent_changes_are_numbered_without_gaps(database: Database) -> None:
    one = await accepted(database)
    await send(database, one.image)

    async def flip() -> None:
        async with database.as_user(one.user_id) as conn:
            await mark_unknown(conn, one.image.job_id, 1)
        async with database.as_user(one.user_id) as conn:
            await mark_waiting(conn, one.image.job_id, 1)

    async def waver(job: JobRef, numbers: range) -> None:
        """Send a job, and return it to waiting, repeatedly."""
        for number in numbers:
            await send(database, job, number)
            async with database.as_user(one.user_id) as conn:
                assert await mark_waiting(conn, job.job_id, number)

    await flip()
    await asyncio.gather(
        waver(one.image, range(2, 12)), waver(one.video, range(1, 11)), waver_cost(database, one)
    )

    events = await all_events(database, one)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    jobs = [job_of(event) for event in events if event.type is EventType.JOB]
    for job_id, sends in ((one.image.job_id, 11), (one.video.job_id, 10)):
        tries = [job.send_number for job in jobs if job.job_id == job_id and job.state == "waiting"]
        assert tries == list(range(1, sends + 1)), "an event is missing, or out of order"


async def waver_cost(database: Database, one: Accepted) -> None:
    for held in range(10):
        async with database.as_user(one.user_id) as conn:
            await conn.execute(
                "UPDATE executions SET estimated_nano_usd = $2 WHERE execution_id = $1",
                one.execution_id,
                held,
            )


async def test_rolled_back_change_leaves_no_event_and_no_gap(database: Database) -> None:
    one = await accepted(database)
    before = await all_events(database, one)
    with pytest.raises(ZeroDivisionError):
        await send_and_fail(database, one.image)
    assert await all_events(database, one) == before
    await send(database, one.image)
    events = await all_events(database, one)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def send_and_fail(database: Database, ref: JobRef) -> None:
    async with database.as_user(ref.user_id) as conn:
        await begin_send(conn, ref, 1, {}, {})
        await conn.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the events are inserted here
        raise ZeroDivisionError


async def test_change_of_nothing_visible_has_no_event(database: Database) -> None:
    one = await accepted(database)
    before = await all_events(database, one)
    async with database.as_user(one.user_id) as conn:
        await conn.execute(
            "UPDATE jobs SET updated_at = now(), state = state WHERE job_id = $1", one.image.job_id
        )
        await conn.execute(
            "UPDATE charges SET held_nano_usd = held_nano_usd WHERE job_id = $1", one.image.job_id
        )
    assert await all_events(database, one) == before


async def test_transaction_notifies_once_with_its_last_sequence(
    fresh: FreshDatabase, database: Database
) -> None:
    user_id = await new_user(database)
    payloads = asyncio.Queue[str]()
    listener = await asyncpg.connect(fresh.application_dsn)
    try:
        await listener.add_listener(
            CHANNEL, lambda _c, _p, _ch, payload: payloads.put_nowait(str(payload))
        )
        one = await accept(database, new_execution(user_id), claimed=False)
        await send_nothing(database, one)
        async with asyncio.timeout(20):
            first, second = await payloads.get(), await payloads.get()
    finally:
        await listener.close()
    assert first == f"{one.execution_id} {user_id} 2"
    assert second == f"{one.execution_id} {user_id} 3", "one notification of each transaction"


async def send_nothing(database: Database, one: Accepted) -> None:
    async with database.as_user(one.user_id) as conn:
        await conn.execute(
            "UPDATE executions SET estimated_nano_usd = 1 WHERE execution_id = $1",
            one.execution_id,
        )


PLANS_OF_EVENTS = """
SELECT count(*) FROM pg_backend_memory_contexts
WHERE name = 'CachedPlanSource' AND ident LIKE 'WITH job AS MATERIALIZED%'
"""


async def test_triggers_of_a_connection_share_one_plan(
    fresh: FreshDatabase, database: Database
) -> None:
    one = await accepted(database)
    connection = await asyncpg.connect(fresh.owner_dsn)
    try:
        for table, change, name in (
            ("jobs", "send_number = send_number + 1", "job_id"),
            ("charges", "held_nano_usd = held_nano_usd + 1", "job_id"),
            ("executions", "estimated_nano_usd = estimated_nano_usd + 1", "execution_id"),
        ):
            changed = one.image.job_id if name == "job_id" else one.execution_id
            await connection.execute(f"UPDATE {table} SET {change} WHERE {name} = $1", changed)
        assert await connection.fetchval(PLANS_OF_EVENTS) == 1
    finally:
        await connection.close()


async def test_deletion_of_an_execution_deletes_its_events(database: Database) -> None:
    one = await ended.end(
        database, await new_user(database), ended.STORED, status=ExecutionStatus.FAILED
    )
    assert (await all_events(database, one))[-1].type is EventType.END
    async with database.as_system() as conn:
        await conn.execute("UPDATE webhooks SET state = 'delivered', ended_at = now()")
    await delete_execution(database, one.user_id, one.execution_id)

    assert await all_events(database, one) == []
    async with database.as_system() as conn:
        left = await conn.fetchval(
            "SELECT count(*) FROM event_counters WHERE execution_id = $1", one.execution_id
        )
    assert left == 0


async def test_events_of_another_user_cannot_be_read(database: Database) -> None:
    one = await accepted(database)
    bob = await new_user(database)
    assert await events_of(database, bob, one.execution_id) == []
    async with database.reading_as(bob) as conn:
        assert await find_position(conn, bob, one.execution_id) is None
