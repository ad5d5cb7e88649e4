"""The high-water mark: a database of the past is noticed, by whomever, and nothing is sent
in it.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.jobs import JobActivities
from core.domain.messages.webhooks import DeliveryOrder
from core.domain.states import JobState
from core.maintenance.reconciler import Walked
from core.maintenance.restore_detector import MarkKeeper, find_behind
from core.store.database import Database
from core.store.files.object_storage import ObjectStore
from core.store.jobs.submit_pauses import ALL, list_pauses, pause, resume
from core.store.login import UnsafeLoginError
from core.store.recovery.restore_marker import (
    DATABASE_BEHIND,
    MARK_KEY,
    DatabaseBehindError,
    HighWater,
    Mark,
    MarkUnreadableError,
    read_mark,
)
from tests.activities.bench import Bench
from tests.activities.marks import mark
from tests.activities.test_sweep import Orders, age, sweep
from tests.support.rows import accept, new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.usefixtures("no_mark")


async def recovered(bench: Bench) -> None:
    await mark(bench, 0)
    async with bench.database.as_system() as conn:
        await resume(conn, ALL)


async def reasons(bench: Bench) -> list[str]:
    async with bench.database.as_system() as conn:
        return [one.reason for one in await list_pauses(conn)]


async def row(bench: Bench, sql: str, *arguments: Any) -> tuple[Any, ...] | None:
    async with bench.database.as_system() as conn:
        found = await conn.fetchrow(sql, *arguments)
    return tuple(found) if found is not None else None


async def test_submit_in_a_database_of_the_past_is_rolled_back(bench: Bench) -> None:
    one = await bench.accepted()
    known = HighWater(10)
    jobs = JobActivities(
        database=bench.database,
        providers=bench.providers,
        objects=bench.objects,
        tokens=bench.jobs.tokens,
        callback_urls={},
        wakeups=bench.wakeups,
        keys=bench.jobs.keys,
        high_water=known,
    )
    with pytest.raises(DatabaseBehindError):
        await ActivityEnvironment().run(jobs.submit, one.image)
    assert known.behind.is_set()
    assert bench.bill() == []
    assert (await bench.job(one.image)).state is JobState.WAITING
    assert await row(bench, "SELECT count(*) FROM sends") == (0,)


async def test_new_connection_to_a_database_of_the_past_is_refused(
    bench: Bench, fresh_database: Any
) -> None:
    one = await bench.accepted()
    await bench.run(bench.jobs.submit, one.image)
    for known, refused in ((1, False), (2, True)):
        high_water = HighWater(known)
        async with Database.open(
            fresh_database.application_dsn, verify=high_water.verify
        ) as database:
            if refused:
                with pytest.raises(DatabaseBehindError):
                    async with database.as_user(one.user_id):
                        pass
            else:
                async with database.as_user(one.user_id) as conn:
                    assert await conn.fetchval("SELECT count(*) FROM sends") == 1
        assert high_water.behind.is_set() is refused


def keeper(bench: Bench, high_water: HighWater) -> MarkKeeper:
    return MarkKeeper(
        database=bench.database, objects=bench.objects, high_water=high_water, leads=lambda: True
    )


async def test_start_waits_while_the_database_is_behind_and_goes_on_when_recovered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.maintenance.restore_detector.LOOK_AGAIN_SECONDS", 0.05)
    await mark(bench, 7)
    high_water = HighWater()
    starting = asyncio.create_task(keeper(bench, high_water).wait_until_current(asyncio.Event()))
    await asyncio.sleep(0.5)
    assert not starting.done()
    async with bench.database.as_system() as conn:
        assert [(one.scope, one.reason) for one in await list_pauses(conn)] == [
            (ALL, DATABASE_BEHIND)
        ]
    await recovered(bench)
    async with asyncio.timeout(5):
        assert await starting
    assert not high_water.behind.is_set()


async def test_start_ends_where_row_security_would_not_hold(
    bench: Bench, fresh_database: FreshDatabase
) -> None:
    """PostgreSQL was away when the process looked first: it is found out with the
    first connection.
    """
    async with (
        Database.open(fresh_database.owner_dsn, max_connections=1) as unsafe,
        asyncio.timeout(10),
    ):
        waiting = MarkKeeper(
            database=unsafe, objects=bench.objects, high_water=HighWater(), leads=lambda: True
        )
        with pytest.raises(UnsafeLoginError, match="superuser"):
            await waiting.wait_until_current(asyncio.Event())


async def test_start_waits_for_an_unreadable_mark(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.maintenance.restore_detector.LOOK_AGAIN_SECONDS", 0.05)
    await bench.objects.write_small(MARK_KEY, b"", content_type="application/json")
    with pytest.raises(MarkUnreadableError):
        await read_mark(bench.objects)
    stopping = asyncio.Event()
    starting = asyncio.create_task(keeper(bench, HighWater()).wait_until_current(stopping))
    await asyncio.sleep(0.3)
    assert not starting.done()
    stopping.set()
    assert not await starting


async def test_first_start_needs_no_mark_and_the_leader_writes_it(bench: Bench) -> None:
    one = await bench.accepted()
    high_water = HighWater()
    watcher = keeper(bench, high_water)
    assert await watcher.wait_until_current(asyncio.Event())
    assert await read_mark(bench.objects) is None
    watching = asyncio.create_task(watcher.watch())
    await bench.run(bench.jobs.submit, one.image)
    async with asyncio.timeout(5):
        while (found := await read_mark(bench.objects)) is None:  # noqa: ASYNC110 - storage sets no event
            await asyncio.sleep(0.1)
    assert (found.serial, high_water.known) == (1, 1)
    await bench.as_owner("TRUNCATE sends")  # the past
    async with asyncio.timeout(5):
        await watching
    assert high_water.behind.is_set()
    async with bench.database.as_system() as conn:
        assert [one.reason for one in await list_pauses(conn)] == [DATABASE_BEHIND]
    kept = await read_mark(bench.objects)
    assert kept is not None
    assert kept.serial == 1


async def test_pause_of_a_database_behind_outranks_one_by_hand(bench: Bench) -> None:
    async with bench.database.as_system() as conn:
        await pause(conn, ALL, "maintenance")
    await mark(bench, 7)
    _, _, behind = await find_behind(bench.database, bench.objects)
    async with bench.database.as_system() as conn:
        (found,) = await list_pauses(conn)
    assert (behind, found.reason) == (True, DATABASE_BEHIND)


@pytest.mark.parametrize("claimed", [False, True])
async def test_sweep_finds_an_execution_that_ended_at_temporal_alone(
    bench: Bench, claimed: bool
) -> None:
    """Nothing was sent since the restore point, so the mark does not show it."""
    await accept(bench.database, new_execution(await new_user(bench.database)), claimed=claimed)
    await age(bench)
    orders = Orders(how_closed="completed")
    orders.walk = Walked(generation=1, started_at=datetime.now(UTC))
    await sweep(bench, orders).sweep()
    assert await reasons(bench) == [DATABASE_BEHIND]
    assert orders.started == []
    assert await row(bench, "SELECT status FROM executions") == (
        "running" if claimed else "queued",
    )


async def test_sweep_does_not_mistake_an_older_run(bench: Bench) -> None:
    """Of an earlier generation; or from before a recovery queued the same one again."""
    one = await accept(bench.database, new_execution(await new_user(bench.database)), claimed=False)
    await age(bench)
    for walk in (
        Walked(generation=7, started_at=datetime.now(UTC)),
        Walked(generation=1, started_at=datetime.now(UTC) - timedelta(hours=1)),
    ):
        orders = Orders()
        orders.walk = walk
        await sweep(bench, orders).sweep()
        assert orders.started == [one.execution_id]
    assert await reasons(bench) == []


async def test_sweep_does_not_send_a_webhook_again_that_temporal_knows_as_delivered(
    bench: Bench,
) -> None:
    one = await bench.accepted(webhook_url="http://receiver.test/")
    await age(bench)
    await sweep(bench, Orders(how_closed="terminated")).look_after_running()
    await bench.as_owner("UPDATE webhooks SET created_at = created_at - interval '1 min'")
    orders = Orders()
    orders.said_yes = [DeliveryOrder(user_id=one.user_id, event_id=bench.deliveries[0].event_id)]
    await sweep(bench, orders).start_deliveries()
    assert await row(bench, "SELECT state, delivery FROM webhooks") == ("delivered", 1)


async def test_taking_over_from_a_leader_that_still_writes_is_no_alarm(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await bench.accepted()

    async def read_after_one_more_send(objects: ObjectStore) -> Mark | None:
        monkeypatch.undo()
        await bench.run(bench.jobs.submit, one.image)
        await mark(bench, 1)
        return await read_mark(objects)

    monkeypatch.setattr("core.maintenance.restore_detector.read_mark", read_after_one_more_send)
    high_water = HighWater()
    watching = asyncio.create_task(keeper(bench, high_water).watch())
    try:
        async with asyncio.timeout(10):
            while not high_water.known and not high_water.behind.is_set():  # noqa: ASYNC110 - set without an event
                await asyncio.sleep(0.05)
    finally:
        watching.cancel()
    assert not high_water.behind.is_set()
    assert await reasons(bench) == []


async def test_recovery_that_ends_between_the_two_readings_is_no_alarm(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mark(bench, 7)

    async def read_before_the_end(objects: ObjectStore) -> Mark | None:
        monkeypatch.undo()
        found = await read_mark(objects)
        await recovered(bench)
        return found

    monkeypatch.setattr("core.maintenance.restore_detector.read_mark", read_before_the_end)
    _, _, behind = await find_behind(bench.database, bench.objects)
    assert not behind
    assert await reasons(bench) == []
