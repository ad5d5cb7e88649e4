"""The poller on real parts: worker processes, PostgreSQL, Temporal behind a proxy, and a provider
that holds its answers.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from core.domain.ids import ProviderJobId
from core.ordering.workflow_starts import start_execution
from core.platform.temporal.client import ensure_search_attributes
from core.platform.temporal.policies import wait_activity_id
from core.store.executions.unfinished import get_order
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.recovery.restore_marker import MARKER_KEY
from sandbox.settings import DEFAULT_WEBHOOK_SECRET
from tests.chaos.http_taps import TemporalTap
from tests.chaos.links import Link
from tests.chaos.traps import HeldMoment, Trap, TrapSet, Verdict
from tests.sandbox.process import Sandbox
from tests.support.activity_harness import REPLICATE_FLUX, ActivityHarness, open_harness
from tests.support.receiver import Receiver
from tests.support.rows import Accepted, accept, new_execution, new_user
from tests.support.servers import (
    FreshDatabase,
    PostgresServer,
    S3Server,
    TemporalServer,
    new_database,
)
from tests.support.worker_process import WorkerProcess, running_worker, worker_environment

pytestmark = pytest.mark.guarantee("G1", "G3", "G5")

COMPLETED: Final = "RespondActivityTaskCompletedById"
FIRST, OTHER = "first", "other"
LIMIT_SECONDS: Final = 60
SLOW_SECONDS: Final = 1200
"""A usual duration for which a submit does not wait, and after which no look is due here."""
UNHURRIED: Final = {
    "core.store.jobs.sends:EARLY_SECONDS": 600.0,
    "core.jobs.waiting.poller:LEASE_SECONDS": 600.0,
    "core.jobs.waiting.poller:LOOK_SECONDS": 600.0,
}
"""Only what a test does makes a look due."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """One running worker and the means to disturb it. reachable: whether its Temporal is."""

    harness: ActivityHarness
    receiver: Receiver
    client: Client
    temporal: TemporalServer
    environment: dict[str, str]
    folder: Path
    traps: TrapSet = field(default_factory=TrapSet)
    reachable: bool = True

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncGenerator[tuple[WorkerProcess, Link]]:
        """Run a worker whose connections to Temporal lead through a link."""
        host, port = self.temporal.address.split(":")
        link = Link(name, self.traps, lambda: [int(port)] if self.reachable else [], TemporalTap)
        await link.open()
        environment = {**self.environment, "TEMPORAL_ADDRESS": f"{host}:{link.port}"}
        try:
            async with running_worker(
                environment, self.folder / f"{name}.log", **UNHURRIED
            ) as worker:
                yield worker, link
        finally:
            await link.close()

    def trap(
        self, moment: str, verdict: Verdict | None, *, process: str = FIRST, limit: int = 1000
    ) -> Trap:
        return Trap(
            name=moment,
            processes=frozenset({process}),
            moment=moment,
            limit=limit,
            at_once=verdict,
        )

    async def order(self) -> Accepted:
        """Start an execution whose image is waited for by `wait_for_job`."""
        database = self.harness.database
        new = new_execution(
            await new_user(database),
            webhook_url=self.receiver.url,
            image_model=REPLICATE_FLUX,
            image_provider="replicate",
        )
        one = await accept(database, new, claimed=False)
        await self.harness.as_owner(
            "UPDATE steps SET usual_seconds = $2 WHERE execution_id = $1 AND name = 'image'",
            one.execution_id,
            SLOW_SECONDS,
        )
        async with database.as_system() as conn:
            stored = await get_order(conn, one.execution_id)
        await start_execution(self.client, database, stored.order(), prompt=stored.prompt)
        return one

    def hold_reads(self, *, stage: str = "after_accept") -> str:
        params = {"stage": stage, "when_gone": "stay"}
        return self.harness.sandbox.fault(
            "hold", provider="replicate", model=REPLICATE_FLUX, operation="status", params=params
        )

    async def held(self, fault_id: str) -> None:
        """Wait until the sandbox holds the call."""

        def holds() -> bool:
            faults = self.harness.sandbox.client.get("/__control/faults").json()["faults"]
            return any(one["id"] == fault_id and one["parked"] == 1 for one in faults)

        await asyncio.to_thread(self.harness.sandbox.wait_until, holds, LIMIT_SECONDS)

    def release(self, *fault_ids: str) -> None:
        for fault_id in fault_ids:
            answer = self.harness.sandbox.client.post("/__control/release", json={"id": fault_id})
            assert answer.is_success, answer.text

    async def rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.harness.owner_dsn)
        try:
            return await connection.fetch(sql, *arguments)
        finally:
            await connection.close()

    async def until(self, sql: str, *arguments: Any) -> None:
        """Wait until a query has a row."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await self.rows(sql, *arguments):  # noqa: ASYNC110 - a row sets no event
                await asyncio.sleep(0.05)

    async def until_held(self, trap: Trap) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not trap.is_full:  # noqa: ASYNC110 - a trap sets no event
                await asyncio.sleep(0.02)

    async def until_settled(self, *orders: Accepted) -> None:
        """Wait until the image is settled in its row."""
        for one in orders:
            await self.until(
                "SELECT FROM jobs WHERE job_id = $1 AND state = 'completed'", one.image.job_id
            )

    async def until_delivered(self, *orders: Accepted) -> None:
        for one in orders:
            await self.until(
                "SELECT FROM webhooks WHERE execution_id = $1 AND state = 'delivered'",
                one.execution_id,
            )

    async def wait_events(self, one: Accepted) -> list[Any]:
        """Return the scheduled events of the image's wait."""
        history = await self.client.get_workflow_handle(one.execution_id).fetch_history()
        return [
            event
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
            and event.activity_task_scheduled_event_attributes.activity_id == wait_id(one)
        ]

    async def waiting_order(self) -> Accepted:
        """Start an execution and return it once its image has ended and is waited for."""
        one = await self.order()
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await self.wait_events(one):  # noqa: ASYNC110 - a history
                await asyncio.sleep(0.05)
        await self.until_made(one)
        return one

    async def until_made(self, one: Accepted) -> None:
        """Wait until the provider has ended the image."""
        await self.until(SUBMITTED, one.image.job_id)
        provider_job_id = await self.provider_job_id(one)

        def made() -> bool:
            return any(
                line["provider_job_id"] == provider_job_id and line["state"] != "open"
                for line in self.harness.bill()
            )

        await asyncio.to_thread(self.harness.sandbox.wait_until, made, LIMIT_SECONDS)

    async def provider_job_id(self, one: Accepted) -> str:
        handle = (await self.harness.job(one.image)).handle
        assert handle is not None
        return handle.provider_job_id

    async def call_back(self, one: Accepted) -> None:
        """Record a callback of the image, as the API does."""
        callback = NewCallback(
            provider="replicate",
            delivery_id=f"msg_{one.image.job_id}",
            job_id=one.image.job_id,
            send_number=1,
            provider_job_id=ProviderJobId(await self.provider_job_id(one)),
        )
        async with self.harness.database.as_system() as conn:
            assert await record_callback(conn, callback) is CallbackOutcome.RECORDED

    async def reads_of(self, one: Accepted) -> int:
        """Return how often the image was read at its provider."""
        provider_job_id = await self.provider_job_id(one)
        calls = self.harness.sandbox.client.get("/__control/calls").json()["calls"]
        return sum(
            call["operation"] == "status" and provider_job_id in call["path"] for call in calls
        )

    async def check(self, one: Accepted, *, reads: int) -> None:
        """Check the end of an execution: read, settled and reported once, and paid as billed."""
        assert await self.reads_of(one) == reads
        lines = await self.rows(
            "SELECT provider_job_id FROM jobs WHERE execution_id = $1", one.execution_id
        )
        ids = {row["provider_job_id"] for row in lines}
        billed = [
            line["billed_nano_usd"]
            for line in self.harness.bill()
            if line["provider_job_id"] in ids
        ]
        charges = [await self.harness.charge(ref) for ref in (one.image, one.video)]
        assert sorted(charges) == sorted(("settled", nano_usd) for nano_usd in billed)
        settlements = await self.rows(
            "SELECT FROM ledger_entries WHERE execution_id = $1 AND kind = 'settled'",
            one.execution_id,
        )
        assert len(settlements) == 2
        hooks = [hook for hook in self.receiver.received if one.execution_id.encode() in hook.body]
        assert len(hooks) == 1
        assert len(await self.wait_events(one)) == 1


SUBMITTED = "SELECT FROM jobs WHERE job_id = $1 AND state = 'submitted'"


def wait_id(one: Accepted) -> str:
    return wait_activity_id(one.image.job_id, 1)


def about(trap: Trap, one: Accepted) -> list[HeldMoment]:
    """Return the moments about the image of an execution."""
    return [held for held in trap.held_moments if one.image.job_id in held.tokens]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The bench with its first worker."""

    bench: Bench
    worker: WorkerProcess
    link: Link


@pytest.fixture(scope="module")
async def running(
    postgres_server: PostgresServer,
    template_database: str,
    temporal_server: TemporalServer,
    s3_server: S3Server,
    harness_sandbox: Sandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[Running]:
    """Run one worker for all tests here: its start takes seconds."""
    harness_sandbox.reset()
    async with AsyncExitStack() as stack:
        fresh = await stack.enter_async_context(new_database(postgres_server, template_database))
        harness = await stack.enter_async_context(
            open_harness(fresh, harness_sandbox, s3_server, polling=False)
        )
        receiver = await stack.enter_async_context(Receiver.open())
        await harness.objects.delete(MARKER_KEY)
        stack.push_async_callback(harness.objects.delete, MARKER_KEY)
        client = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
        await ensure_search_attributes(client)
        bench = Bench(
            harness=harness,
            receiver=receiver,
            client=client,
            temporal=temporal_server,
            environment=settings(fresh, temporal_server, s3_server, harness_sandbox, receiver),
            folder=tmp_path_factory.mktemp("poller-faults"),
        )
        worker, link = await stack.enter_async_context(bench.worker(FIRST))
        yield Running(bench=bench, worker=worker, link=link)


def settings(
    fresh: FreshDatabase,
    temporal: TemporalServer,
    s3: S3Server,
    sandbox: Sandbox,
    receiver: Receiver,
) -> dict[str, str]:
    hosts = [urlsplit(url).netloc for url in (receiver.url, sandbox.url)]
    return worker_environment(
        fresh,
        temporal,
        s3,
        FAL_QUEUE_URL=f"{sandbox.url}/fal/queue",
        FAL_API_URL=f"{sandbox.url}/fal/api/v1",
        REPLICATE_BASE_URL=f"{sandbox.url}/replicate",
        REPLICATE_WEBHOOK_SECRET=DEFAULT_WEBHOOK_SECRET,
        ALLOWED_PRIVATE_HOSTS=",".join(hosts),
    )


async def test_callback_before_the_wait_is_pending(running: Running) -> None:
    """The poller has the end before Temporal has the submit's: the wait then reads the row."""
    bench = running.bench
    submit = bench.trap("rpc:RespondActivityTaskCompleted", None)
    completion = bench.trap(f"rpc:{COMPLETED}", Verdict.GO_ON)
    bench.traps.arm([submit, completion])
    one = await bench.order()
    await bench.until_made(one)
    await bench.call_back(one)
    await bench.until_settled(one)
    async with asyncio.timeout(LIMIT_SECONDS):
        while not about(completion, one):  # noqa: ASYNC110 - a trap sets no event
            await asyncio.sleep(0.02)
    assert submit.held_moments
    assert await bench.wait_events(one) == []
    early = about(completion, one)[0]
    submit.armed = False
    bench.traps.release(submit, Verdict.GO_ON)
    await bench.until_delivered(one)
    (scheduled,) = await bench.wait_events(one)
    assert scheduled.event_time.ToDatetime(UTC) > datetime.fromtimestamp(early.at, UTC)
    await bench.check(one, reads=1)


async def test_lost_completion_is_repeated_without_another_read(running: Running) -> None:
    """One is lost before Temporal has it and one afterwards; a third report arrives while Temporal
    is unreachable.
    """
    bench = running.bench
    before, after, _ = orders = await asyncio.gather(*(bench.waiting_order() for _ in range(3)))
    holds: list[str] = []
    for one in orders:
        holds.append(bench.hold_reads())
        await bench.call_back(one)
        await bench.held(holds[-1])
    lost = bench.trap(f"rpc:{COMPLETED}", None, limit=1)
    bench.traps.arm([lost])
    bench.release(holds[0])
    await bench.until_held(lost)
    unread = bench.trap(f"done:{COMPLETED}", None, limit=1)
    bench.traps.arm([lost, unread])
    bench.release(holds[1])
    await bench.until_held(unread)
    assert [len(about(trap, one)) for trap, one in ((lost, before), (unread, after))] == [1, 1]
    bench.reachable = False
    bench.traps.release_all(Verdict.DROP)
    running.link.cut()
    bench.release(holds[2])
    await bench.until_settled(*orders)
    await running.worker.until(lambda: failed_completions(running.worker) >= ids_of(*orders))
    assert [await bench.reads_of(one) for one in orders] == [1, 1, 1]
    bench.reachable = True
    await bench.until_delivered(*orders)
    for one in orders:
        await bench.check(one, reads=1)


def failed_completions(worker: WorkerProcess) -> set[str]:
    return {event["execution_id"] for event in worker.events("wait.completion_failed")}


def ids_of(*orders: Accepted) -> set[str]:
    return {str(one.execution_id) for one in orders}


async def test_worker_stopped_for_longer_than_its_lease_changes_nothing(running: Running) -> None:
    """It has asked for the end; another worker asks too and completes the wait."""
    bench, first = running.bench, running.worker
    completions = bench.trap(f"rpc:{COMPLETED}", Verdict.GO_ON)
    others = bench.trap(f"rpc:{COMPLETED}", Verdict.GO_ON, process=OTHER)
    bench.traps.arm([completions, others])
    one = await bench.waiting_order()
    hold = bench.hold_reads()
    await bench.call_back(one)
    await bench.held(hold)
    first.send(signal.SIGSTOP)
    try:
        async with bench.worker(OTHER) as (other, _):
            await bench.harness.as_owner(  # the lease expires
                "UPDATE jobs SET next_look_at = now() WHERE job_id = $1", one.image.job_id
            )
            await bench.until_settled(one)
            await other.until(lambda: len(about(others, one)) == 1)
            assert first.is_stopped
            assert await bench.reads_of(one) == 2
            bench.release(hold)
            first.send(signal.SIGCONT)
            await bench.until_delivered(one)
    finally:
        first.send(signal.SIGCONT)
    assert about(completions, one) == []
    assert len(about(others, one)) == 1
    assert not [
        event for event in first.events("job.settled") if event["job_id"] == one.image.job_id
    ]
    await bench.check(one, reads=2)
