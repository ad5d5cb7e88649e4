"""`python -m tests.bench.rounds`: what a round of the reconciler costs with very much open work.

It fills a database with running executions and pending webhooks, and starts a workflow for each
execution. No worker takes their tasks, so they stay as they are. Then every task of the reconciler
runs several times in this process.
"""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Final
from unittest.mock import patch

import asyncpg
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from activities.registration import open_activities
from core.domain.ids import UserId
from core.domain.states import ExecutionStatus
from core.maintenance.open_bills import OpenBillSettler
from core.maintenance.reconciler import Reconciler, build_reconciler
from core.ordering.workflow_starts import ACCEPTED_MEMO, EXECUTION_WORKFLOW
from core.platform.settings.load import load
from core.platform.settings.processes import WorkerProcess
from core.platform.temporal.client import connect_with_retries
from core.platform.temporal.payload_encryption import payload_converter
from core.platform.temporal.policies import EXECUTIONS_QUEUE, task_queues
from core.platform.temporal.search_attributes import STATUS, USER_ID
from core.store.database import Database
from core.store.migrate import migrate
from deploy.local.servers.temporal import NAMESPACE
from tests.bench.cpu import CpuReading
from tests.bench.growth import fill, new_folder
from tests.bench.servers import Say
from tests.bench.tables import table
from tests.support.part_servers import postgres_part, running, s3_part, temporal_part
from tests.support.rows import new_user
from tests.support.servers import FreshDatabase, PostgresServer, S3Server, TemporalServer
from tests.support.worker_process import worker_environment

STARTS_AT_ONCE: Final = 32
MEMO: Final = "x" * 1000
"""As long as the memo of an image → video execution."""
NAME: Final = "rounds"
PARTS: Final = ("Reconciler", "Temporal", "PostgreSQL")

# The newest executions run and their videos render; the webhooks of all others have their next
# attempt in an hour. $1 and $2: the numbers of both.
OPEN: Final = (
    """
    UPDATE executions SET status = 'running', ended_at = NULL, result = NULL, error = NULL,
        deadline_at = now() + interval '1 hour'
    WHERE execution_id IN (SELECT execution_id FROM executions ORDER BY execution_id DESC LIMIT $1)
    """,
    """
    UPDATE jobs SET state = 'submitted', ended_at = NULL, submitted_at = now(), deadline_at = now() + interval '1 hour'
    FROM executions AS e WHERE e.execution_id = jobs.execution_id AND e.status = 'running' AND step_name = 'video'
    """,
    """
    UPDATE charges SET state = 'held', basis = NULL, settled_nano_usd = 0, ended_at = NULL
    FROM jobs AS j WHERE j.job_id = charges.job_id AND j.state = 'submitted'
    """,
    """
    UPDATE webhooks SET state = 'pending', ended_at = NULL, pending_since = now(),
        attempt_due_at = now() + interval '1 hour'
    WHERE event_id IN (SELECT event_id FROM webhooks ORDER BY event_id LIMIT $2)
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """Running executions, pending webhooks, and ended executions in addition."""

    running: int
    pending: int
    ended: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    reconciler: Reconciler
    client: Client
    owner: "asyncpg.Connection[asyncpg.Record]"
    user_id: UserId
    pids: dict[str, int]


async def measure(filling: Filling, rounds: int, say: Say) -> str:
    """Fill the servers and return the table of results."""
    async with opened(filling, say) as bench:
        return await _report(bench, rounds)


@asynccontextmanager
async def opened(filling: Filling, say: Say) -> AsyncGenerator[Bench]:
    """Start the servers and fill them."""
    async with AsyncExitStack() as stack:
        folder = new_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        s3, access = s3_part(folder)
        postgres = await stack.enter_async_context(running(postgres_part(folder)))
        temporal = await stack.enter_async_context(running(temporal_part(folder)))
        await stack.enter_async_context(running(s3))
        server = PostgresServer(port=int(postgres.part.address.rpartition(":")[2]))
        owner_dsn, dsn = server.owner_dsn(NAME), server.application_dsn(NAME)
        superuser = await asyncpg.connect(server.owner_dsn())
        await superuser.execute(f"CREATE DATABASE {NAME}")
        await superuser.close()
        await migrate(owner_dsn, dsn)
        environment = worker_environment(
            FreshDatabase(name=NAME, owner_dsn=owner_dsn, application_dsn=dsn),
            TemporalServer(address=temporal.part.address, namespace=NAMESPACE),
            S3Server(access=access),
        )
        with patch.dict(os.environ, environment):
            settings = load(WorkerProcess)
        client = await connect_with_retries(
            settings, asyncio.Event(), payloads=payload_converter(settings)
        )
        assert client is not None
        async with Database.open(dsn, max_connections=1) as database:
            user_id = await new_user(database)
        await fill(owner_dsn, user_id, filling.running + filling.pending + filling.ended, say)
        owner = await asyncpg.connect(owner_dsn)
        stack.push_async_callback(owner.close)
        await _open_work(owner, filling)
        bench = Bench(
            reconciler=await _reconciler(stack, settings, client),
            client=client,
            owner=owner,
            user_id=user_id,
            pids={
                "Reconciler": os.getpid(),
                "Temporal": temporal.process.pid,
                "PostgreSQL": postgres.process.pid,
            },
        )
        await _start_workflows(bench, say)
        yield bench


async def _open_work(owner: "asyncpg.Connection[asyncpg.Record]", filling: Filling) -> None:
    await owner.execute("SET session_replication_role = replica")
    for statement in OPEN:
        await owner.execute(
            statement.replace("$1", str(filling.running)).replace("$2", str(filling.pending))
        )
    await owner.execute("VACUUM ANALYZE")


async def _reconciler(stack: AsyncExitStack, settings: WorkerProcess, client: Client) -> Reconciler:
    activities = await stack.enter_async_context(open_activities(settings, client))
    return build_reconciler(
        client=client,
        database=activities.database,
        objects=activities.objects,
        executions=activities.executions,
        open_bills=OpenBillSettler(
            database=activities.database, providers=activities.providers, keys=activities.keys
        ),
        admission=activities.jobs.admission,
        task_queues=task_queues(activities.providers.known_names),
        user_spend_alarm_usd=settings.user_spend_alarm_usd,
    )


async def _start_workflows(bench: Bench, say: Say) -> None:
    """Start a workflow for each running execution, and wait until Temporal lists all of them."""
    rows = await bench.owner.fetch("SELECT execution_id FROM executions WHERE status = 'running'")
    left = iter(rows)

    async def start() -> None:
        for row in left:
            await bench.client.start_workflow(
                EXECUTION_WORKFLOW,
                id=row["execution_id"],
                task_queue=EXECUTIONS_QUEUE,
                run_timeout=timedelta(hours=2),
                memo={ACCEPTED_MEMO: MEMO},
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(USER_ID, bench.user_id),
                        SearchAttributePair(STATUS, ExecutionStatus.RUNNING.value),
                    ]
                ),
            )

    await asyncio.gather(*(start() for _ in range(STARTS_AT_ONCE)))
    say(f"{len(rows):,} workflows")
    query = f"WorkflowType = '{EXECUTION_WORKFLOW}'"
    async with asyncio.timeout(120):
        while (await bench.client.count_workflows(query)).count < len(rows):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(1)


async def _report(bench: Bench, rounds: int) -> str:
    rows: list[list[str]] = []
    totals = [0.0] * (1 + len(PARTS))
    for task in bench.reconciler.tasks:
        before, seconds = CpuReading.take(bench.pids), list[float]()
        for _ in range(rounds):
            began = time.perf_counter()
            await task.run()
            seconds.append(time.perf_counter() - began)
        spent = CpuReading.take(bench.pids).since(before)
        cells = [median(seconds), *(spent[part] / rounds for part in PARTS)]
        totals = [total + cell for total, cell in zip(totals, cells, strict=True)]
        rows.append([task.name, f"{task.every_seconds:.0f}", *(f"{1000 * c:.1f}" for c in cells)])
    rows.append(["all", "", *(f"{1000 * total:.0f}" for total in totals)])
    head = ("task", "every, s", "time, ms", *(f"{part}, ms" for part in PARTS))
    return table(head, rows)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rounds", description=__doc__)
    parser.add_argument("--running", type=int, default=10_000, help="running executions")
    parser.add_argument("--pending", type=int, default=10_000, help="pending webhooks")
    parser.add_argument("--ended", type=int, default=0, help="ended executions in addition")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each task")
    options = parser.parse_args()
    filling = Filling(running=options.running, pending=options.pending, ended=options.ended)
    measured = measure(filling, options.rounds, _say)
    sys.stdout.write(asyncio.run(measured) + "\n")


if __name__ == "__main__":
    main()
