"""A restored older database is detected by every process, and nothing is sent from it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from temporalio.testing import ActivityEnvironment

from activities.jobs import JobActivities
from core.domain.messages.webhooks import DeliveryOrder
from core.domain.states import JobState
from core.maintenance.repairs.workflow_queries import CompletedRun
from core.maintenance.restores.detector import RestoreDetector, detect_restore
from core.store.database import Database
from core.store.files.object_storage import ObjectChangedError, ObjectStore
from core.store.jobs.submit_pauses import ALL, DATABASE, list_pauses, pause
from core.store.login import UnsafeLoginError
from core.store.recovery.restore_marker import (
    DATABASE_BEHIND,
    MARKER_KEY,
    DatabaseBehindError,
    MarkerUnreadableError,
    RestoreMarker,
    SerialWatch,
    read_marker,
    resume_recovered,
)
from tests.maintenance.reconciling import make_older, run_all_tasks, run_task
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.restore_marker import put_marker
from tests.support.rows import accept, new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G1")]


async def recovered(harness: ActivityHarness) -> None:
    await put_marker(harness, 0)
    async with harness.database.as_system() as conn:
        await resume_recovered(conn)


async def reasons(harness: ActivityHarness) -> list[str]:
    async with harness.database.as_system() as conn:
        return [one.reason for one in await list_pauses(conn)]


async def row(harness: ActivityHarness, sql: str, *arguments: Any) -> tuple[Any, ...] | None:
    async with harness.database.as_system() as conn:
        found = await conn.fetchrow(sql, *arguments)
    return tuple(found) if found is not None else None


async def test_submit_in_a_database_of_the_past_is_rolled_back(harness: ActivityHarness) -> None:
    one = await harness.accepted()
    known = SerialWatch(10)
    jobs = JobActivities(
        database=harness.database,
        providers=harness.providers,
        objects=harness.objects,
        tokens=harness.jobs.tokens,
        callback_urls={},
        wakeups=harness.wakeups,
        keys=harness.jobs.keys,
        serial_watch=known,
    )
    with pytest.raises(DatabaseBehindError):
        await ActivityEnvironment().run(jobs.submit, one.image)
    assert known.behind.is_set()
    assert harness.bill() == []
    assert (await harness.job(one.image)).state is JobState.WAITING
    assert await row(harness, "SELECT count(*) FROM sends") == (0,)


async def test_new_connection_to_a_database_of_the_past_is_refused(
    harness: ActivityHarness, fresh_database: Any
) -> None:
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    for known, refused in ((1, False), (2, True)):
        serial_watch = SerialWatch(known)
        async with Database.open(
            fresh_database.application_dsn, verify=serial_watch.verify
        ) as database:
            if refused:
                with pytest.raises(DatabaseBehindError):
                    async with database.as_user(one.user_id):
                        pass
            else:
                async with database.as_user(one.user_id) as conn:
                    assert await conn.fetchval("SELECT count(*) FROM sends") == 1
        assert serial_watch.behind.is_set() is refused


def keeper(harness: ActivityHarness, serial_watch: SerialWatch) -> RestoreDetector:
    return RestoreDetector(
        database=harness.database,
        objects=harness.objects,
        serial_watch=serial_watch,
        leads=lambda: True,
    )


async def test_start_waits_until_the_database_is_recovered(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.maintenance.restores.detector.RECHECK_SECONDS", 0.05)
    await put_marker(harness, 7)
    serial_watch = SerialWatch()
    starting = asyncio.create_task(
        keeper(harness, serial_watch).wait_until_current(asyncio.Event())
    )
    await asyncio.sleep(0.5)
    assert not starting.done()
    async with harness.database.as_system() as conn:
        assert [(one.scope, one.reason) for one in await list_pauses(conn)] == [
            (DATABASE, DATABASE_BEHIND)
        ]
    await recovered(harness)
    async with asyncio.timeout(30):
        assert await starting
    assert not serial_watch.behind.is_set()


async def test_start_ends_where_row_security_would_not_hold(
    harness: ActivityHarness, fresh_database: FreshDatabase
) -> None:
    """PostgreSQL was down at the first check: the first connection detects the restore."""
    async with (
        Database.open(fresh_database.owner_dsn, max_connections=1) as unsafe,
        asyncio.timeout(10),
    ):
        waiting = RestoreDetector(
            database=unsafe, objects=harness.objects, serial_watch=SerialWatch(), leads=lambda: True
        )
        with pytest.raises(UnsafeLoginError, match="superuser"):
            await waiting.wait_until_current(asyncio.Event())


async def test_start_waits_for_an_unreadable_mark(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.maintenance.restores.detector.RECHECK_SECONDS", 0.05)
    await harness.objects.write_small(MARKER_KEY, b"", content_type="text/plain", replaces=None)
    with pytest.raises(MarkerUnreadableError):
        await read_marker(harness.objects)
    stopping = asyncio.Event()
    starting = asyncio.create_task(keeper(harness, SerialWatch()).wait_until_current(stopping))
    await asyncio.sleep(0.3)
    assert not starting.done()
    stopping.set()
    assert not await starting


async def test_first_start_needs_no_mark_and_the_leader_writes_it(harness: ActivityHarness) -> None:
    one = await harness.accepted()
    serial_watch = SerialWatch()
    watcher = keeper(harness, serial_watch)
    assert await watcher.wait_until_current(asyncio.Event())
    assert await read_marker(harness.objects) is None
    watching = asyncio.create_task(watcher.watch())
    await harness.run(harness.jobs.submit, one.image)
    async with asyncio.timeout(30):
        while (found := await read_marker(harness.objects)) is None:  # noqa: ASYNC110 - storage sets no event
            await asyncio.sleep(0.1)
    assert (found.serial, serial_watch.known) == (1, 1)
    await harness.as_owner("TRUNCATE sends")  # the restore
    async with asyncio.timeout(30):
        await watching
    assert serial_watch.behind.is_set()
    async with harness.database.as_system() as conn:
        assert [one.reason for one in await list_pauses(conn)] == [DATABASE_BEHIND]
    kept = await read_marker(harness.objects)
    assert kept is not None
    assert kept.serial == 1


async def test_pause_of_a_restored_database_is_apart_from_an_operators(
    harness: ActivityHarness,
) -> None:
    async with harness.database.as_system() as conn:
        await pause(conn, ALL, "maintenance")
    await put_marker(harness, 7)
    _, _, behind = await detect_restore(harness.database, harness.objects)
    assert behind
    assert await reasons(harness) == ["maintenance", DATABASE_BEHIND]
    await recovered(harness)
    assert await reasons(harness) == ["maintenance"]


async def test_pause_of_the_first_version_counts_and_ends(harness: ActivityHarness) -> None:
    """It was a row of ALL with the reason."""
    async with harness.database.as_system() as conn:
        await pause(conn, ALL, DATABASE_BEHIND)
    _, _, behind = await detect_restore(harness.database, harness.objects)
    assert behind
    await recovered(harness)
    assert await reasons(harness) == []


@pytest.mark.parametrize("claimed", [False, True])
async def test_reconciler_finds_an_execution_that_ended_at_temporal_alone(
    harness: ActivityHarness, claimed: bool
) -> None:
    """Nothing was sent since the restore point, so the high-water mark does not show it."""
    await accept(harness.database, new_execution(await new_user(harness.database)), claimed=claimed)
    await make_older(harness)
    temporal = FakeTemporal(completed_run=CompletedRun(generation=1, started_at=datetime.now(UTC)))
    await run_all_tasks(harness, temporal)
    assert await reasons(harness) == [DATABASE_BEHIND]
    assert temporal.started == []
    assert await row(harness, "SELECT status FROM executions") == (
        "running" if claimed else "queued",
    )


async def test_reconciler_does_not_mistake_an_older_run(harness: ActivityHarness) -> None:
    """Of an earlier generation; or from before a recovery queued the same one again."""
    one = await accept(
        harness.database, new_execution(await new_user(harness.database)), claimed=False
    )
    await make_older(harness)
    for run in (
        CompletedRun(generation=7, started_at=datetime.now(UTC)),
        CompletedRun(generation=1, started_at=datetime.now(UTC) - timedelta(hours=1)),
    ):
        temporal = FakeTemporal(completed_run=run)
        await run_all_tasks(harness, temporal)
        assert temporal.started == [one.execution_id]
    assert await reasons(harness) == []


async def test_reconciler_does_not_resend_a_webhook_delivered_by_temporal(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted(webhook_url="http://receiver.test/")
    await make_older(harness)
    await run_task(harness, FakeTemporal(close_status="terminated"), "check_running")
    await harness.as_owner("UPDATE webhooks SET attempt_due_at = attempt_due_at - interval '1 min'")
    temporal = FakeTemporal()
    temporal.delivered = [
        DeliveryOrder(user_id=one.user_id, event_id=harness.deliveries[0].event_id)
    ]
    await run_task(harness, temporal, "start_deliveries")
    assert await row(harness, "SELECT state, delivery FROM webhooks") == ("delivered", 1)


async def test_new_leader_accepts_a_late_write_of_the_old(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()

    async def read_after_one_more_send(objects: ObjectStore) -> RestoreMarker | None:
        monkeypatch.undo()
        await harness.run(harness.jobs.submit, one.image)
        await put_marker(harness, 1)
        return await read_marker(objects)

    monkeypatch.setattr("core.maintenance.restores.detector.read_marker", read_after_one_more_send)
    serial_watch = SerialWatch()
    watching = asyncio.create_task(keeper(harness, serial_watch).watch())
    try:
        async with asyncio.timeout(10):
            while not serial_watch.known and not serial_watch.behind.is_set():  # noqa: ASYNC110 - set without an event
                await asyncio.sleep(0.05)
    finally:
        watching.cancel()
    assert not serial_watch.behind.is_set()
    assert await reasons(harness) == []


async def test_stopped_leader_overwrites_no_newer_marker(harness: ActivityHarness) -> None:
    """Its write of an older serial leaves the process only after the new leader has written."""
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    stopped = keeper(harness, SerialWatch())
    written = stopped.objects.write_small
    conflicts: list[str] = []

    async def write_late(key: str, content: bytes, **options: Any) -> str:
        await put_marker(harness, 2)
        await harness.as_owner("UPDATE sends SET serial = 2")  # the send that the marker is of
        try:
            return await written(key, content, **options)
        except ObjectChangedError:
            conflicts.append(key)
            raise

    objects = Mock(wraps=harness.objects)
    objects.write_small = write_late
    stopped.objects = objects
    watching = asyncio.create_task(stopped.watch())
    try:
        async with asyncio.timeout(10):
            while not conflicts:  # noqa: ASYNC110 - set without an event
                await asyncio.sleep(0.05)
            kept = await read_marker(harness.objects)
            assert kept is not None
            assert kept.serial == 2
            while stopped.serial_watch.known < 2:  # noqa: ASYNC110 - set without an event
                await asyncio.sleep(0.05)
    finally:
        watching.cancel()
    assert await reasons(harness) == [], "the conflict is no sign of a restore"


async def test_recovery_that_ends_between_the_two_readings_is_no_alarm(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_marker(harness, 7)

    async def read_before_the_end(objects: ObjectStore) -> RestoreMarker | None:
        monkeypatch.undo()
        found = await read_marker(objects)
        await recovered(harness)
        return found

    monkeypatch.setattr("core.maintenance.restores.detector.read_marker", read_before_the_end)
    _, _, behind = await detect_restore(harness.database, harness.objects)
    assert not behind
    assert await reasons(harness) == []
