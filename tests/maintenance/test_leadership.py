"""One process leads the reconciler, by a lease that a stopped process loses by itself."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from prometheus_client import REGISTRY

import core.maintenance.reconciler
from core.maintenance.reconciler import Reconciler, ReconcilerTask, attempt
from core.store.database import Database
from core.store.leases import take_lease
from core.store.measures.reconciler_runs import is_led, list_runs, record_runs
from tests.maintenance.reconciling import make_reconciler
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.servers import FreshDatabase
from tests.support.stalled_session import stalled_session

pytestmark = pytest.mark.guarantee("G5")


def quick_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.maintenance.reconciler, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(core.maintenance.reconciler, "STOP_BEFORE_SECONDS", 0.3)
    monkeypatch.setattr(core.maintenance.reconciler, "RENEW_SECONDS", 0.1)


def leadership_probe(
    harness: ActivityHarness,
) -> tuple[Reconciler, asyncio.Event, asyncio.Event]:
    """Return a reconciler with one task, and events of the start and the end of that task."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    reconciler = make_reconciler(harness, FakeTemporal())
    reconciler.tasks = (ReconcilerTask(name="probe", run=work),)
    return reconciler, started, ended


@asynccontextmanager
async def running(reconciler: Reconciler) -> AsyncGenerator[asyncio.Task[None]]:
    task = asyncio.create_task(reconciler.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def silenced_proxy(dsn: str) -> AsyncGenerator[tuple[str, asyncio.Event]]:
    """Yield an address that leads to the database, and an event: cleared, no byte passes.

    The connections stay open meanwhile, as after a network partition.
    """
    parts = urlsplit(dsn)
    passing = asyncio.Event()
    passing.set()

    serving: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await passing.wait()
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        upstream, server = await asyncio.open_connection(parts.hostname, parts.port)
        copies = [
            asyncio.create_task(copy(reader, server)),
            asyncio.create_task(copy(upstream, writer)),
        ]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in copies:
                one.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            for end in (server, writer):
                end.close()
                await asyncio.gather(end.wait_closed(), return_exceptions=True)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    netloc = f"{parts.netloc.rsplit(':', 1)[0]}:{port}"
    try:
        yield urlunsplit(parts._replace(netloc=netloc)), passing
    finally:
        passing.set()
        listener.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def test_partitioned_leader_stops_before_another_one_leads(
    harness: ActivityHarness, fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_lease(monkeypatch)
    first, first_started, first_ended = leadership_probe(harness)
    second, second_started, _ = leadership_probe(harness)
    async with (
        asyncio.timeout(40),
        silenced_proxy(fresh_database.application_dsn) as (address, passing),
        Database.open(address) as through_proxy,
    ):
        first.database = through_proxy
        async with running(first):
            await first_started.wait()
            async with running(second):
                passing.clear()
                await second_started.wait()
                assert first_ended.is_set()
                assert not first.leads
                assert second.leads
            passing.set()


async def test_leader_competes_again_after_a_task_that_swallowed_its_cancel(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_lease(monkeypatch)
    starts: asyncio.Queue[None] = asyncio.Queue()

    async def work() -> None:
        starts.put_nowait(None)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("the connection is closed") from None

    reconciler = make_reconciler(harness, FakeTemporal())
    reconciler.tasks = (ReconcilerTask(name="probe", run=work, every_seconds=3600),)
    async with asyncio.timeout(20), running(reconciler):
        await starts.get()
        await harness.as_owner(
            "UPDATE leases SET token = 'another', expires_at = now() + interval '1 s'"
        )
        await starts.get()


async def test_stopped_reconciler_releases_its_lease(harness: ActivityHarness) -> None:
    first, first_started, _ = leadership_probe(harness)
    second, second_started, _ = leadership_probe(harness)
    async with asyncio.timeout(10):
        async with running(first):
            await first_started.wait()
        async with running(second):  # waits for no lease to expire
            await second_started.wait()


@pytest.mark.guarantee("G1")
async def test_stopped_process_with_the_lock_of_the_lease_is_followed(
    harness: ActivityHarness, fresh_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped between two messages of the statement that renews the lease."""
    quick_lease(monkeypatch)
    monkeypatch.setattr("core.store.stalled.IDLE_TRANSACTION_SECONDS", 1)
    reconciler, started, _ = leadership_probe(harness)
    renewal = (
        "SET LOCAL ROLE takeone_system; INSERT INTO leases (name, token, expires_at)"
        " VALUES ('reconciler', 'stopped', now())"
    )
    async with stalled_session(fresh_database.application_dsn, renewal), running(reconciler):
        await asyncio.wait_for(started.wait(), 30)


async def test_reconciler_that_was_suspended_does_not_lead(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock alone shows it, before any of its tasks could notice."""
    first, started, _ = leadership_probe(harness)
    async with running(first):
        await started.wait()
        assert first.leads
        later = time.monotonic() + core.maintenance.reconciler.LEASE_SECONDS
        monkeypatch.setattr(core.maintenance.reconciler.time, "monotonic", lambda: later)
        assert not first.leads
        monkeypatch.undo()


async def test_reconciler_ends_by_an_error_that_is_no_outage(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defective(*_arguments: object, **_options: object) -> bool:
        raise LookupError("a defect")

    reconciler = make_reconciler(harness, FakeTemporal())
    monkeypatch.setattr(core.maintenance.reconciler, "take_lease", defective)
    with pytest.raises(LookupError):
        await reconciler.run()


async def test_reconciler_survives_a_closed_idle_connection(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_lease(monkeypatch)
    errors: list[Exception] = [asyncpg.InternalClientError("closed"), OSError("down")]

    async def failing(*arguments: Any, **options: Any) -> bool:
        if errors:
            raise errors.pop()
        return await take_lease(*arguments, **options)

    monkeypatch.setattr(core.maintenance.reconciler, "take_lease", failing)
    reconciler, started, _ = leadership_probe(harness)
    async with asyncio.timeout(10), running(reconciler):
        await started.wait()
    assert not errors


async def test_reconciler_shows_when_each_task_last_succeeded(harness: ActivityHarness) -> None:
    def seen(task: str) -> float | None:
        return REGISTRY.get_sample_value(
            "takeone_reconciler_last_success_timestamp_seconds", {"task": task}
        )

    async def succeed() -> None:
        pass

    async def fail() -> None:
        raise OSError

    await attempt(ReconcilerTask(name="good", run=succeed))
    await attempt(ReconcilerTask(name="bad", run=fail))
    assert seen("good") == pytest.approx(time.time(), abs=60)
    assert seen("bad") is None


async def test_leader_stores_when_its_tasks_last_succeeded(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.maintenance.reconciler, "EVERY_SECONDS", 0.1)

    async def succeed() -> None:
        pass

    async def fail() -> None:
        raise OSError

    reconciler = make_reconciler(harness, FakeTemporal())
    reconciler.tasks = tuple(
        ReconcilerTask(name=name, run=run, every_seconds=0.1)
        for name, run in (("good", succeed), ("bad", fail))
    )
    async with harness.database.as_system() as conn:
        await record_runs(conn, {"gone": 10.0}, {"gone": 5.0})
        assert [run.task for run in await list_runs(conn)] == ["gone"]
        assert not await is_led(conn)
    async with asyncio.timeout(30), running(reconciler):
        while True:
            async with harness.database.as_system() as conn:
                runs, led = await list_runs(conn), await is_led(conn)
            if [run.task for run in runs] == ["good"]:
                break
            await asyncio.sleep(0.1)
    assert led
    assert runs[0].age_seconds < 60
