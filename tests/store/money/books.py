"""A correct ledger of one user, in which tests plant errors or which they compare with bills."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import asyncpg
import pytest

from core.domain.ids import JobId, ProviderJobId, UserId
from core.domain.messages.jobs import JobReport, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.plans import AnyKind, StepKind
from core.domain.retries import RetryAction, decide_retry
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.store.accounts.users import UserLimits
from core.store.database import Database
from core.store.executions.ends import mark_ended
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.retries import lock_execution, lock_purchases, queue_again
from core.store.jobs.jobs import cancel_waiting_jobs, mark_reported
from core.store.jobs.orphans import record_orphan
from core.store.jobs.sends import begin_send, mark_submitted
from core.store.money.adjustments import adjust_charge
from core.store.money.budget_counters import count_video, move_budget
from core.store.money.charges import release_charge
from core.store.money.reports.ledger_check import list_findings
from core.store.money.settlement import settle_charge
from tests.support.operator_jobs import REQUEST
from tests.support.rows import (
    IMAGE_MODEL,
    IMAGE_PRICE,
    VIDEO_PRICE,
    Accepted,
    accept,
    new_execution,
    new_user,
    quote_at,
)
from tests.support.servers import FreshDatabase, PostgresServer, new_database

LIMIT = NanoUsd(10 * (IMAGE_PRICE + VIDEO_PRICE))
ORPHAN_COST = NanoUsd(77)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """A user's ledger with three executions.

    completed: the image is settled with an overage, the video below its hold. failed: the image is
    released. running: everything is held.

    orphan: a second purchase of the completed image. released: the image of the failed execution.
    """

    database: FreshDatabase
    user_id: UserId
    completed: Accepted
    failed: Accepted
    running: Accepted
    orphan: JobId

    async def as_owner(self, sql: str, *arguments: object) -> str:
        connection = await asyncpg.connect(self.database.owner_dsn)
        try:
            return await connection.execute(sql, *arguments)
        finally:
            await connection.close()

    async def findings(self) -> list[tuple[str, str, str]]:
        async with (
            Database.open(self.database.application_dsn, max_connections=1) as database,
            database.reading_all() as conn,
        ):
            return [(one.check, one.target, one.text) for one in await list_findings(conn)]


def handle(name: str) -> ProviderHandle:
    return ProviderHandle(provider="fal", model=IMAGE_MODEL, provider_job_id=ProviderJobId(name))


async def buy(database: Database, one: Accepted, name: str, cost: int) -> None:
    """Send, accept, complete and settle the image of an execution."""
    async with database.as_user(one.user_id) as conn:
        assert await begin_send(conn, one.image, 1, REQUEST, {"prompt": "A paper boat"})
        assert await mark_submitted(conn, one.image.job_id, 1, handle(name))
        report = JobReport(state=JobState.COMPLETED, outputs=(), billed_units="1")
        await mark_reported(conn, one.image.job_id, report)
        await settle_charge(conn, one.image.job_id, NanoUsd(cost), CostBasis.REPORTED)


async def end(database: Database, one: Accepted, status: ExecutionStatus) -> None:
    """End an execution like the finish activity: release unsent jobs and count the video."""
    async with database.as_user(one.user_id) as conn:
        moves = [
            await release_charge(conn, job_id)
            for job_id in await cancel_waiting_jobs(conn, one.execution_id)
        ]
        await mark_ended(conn, one.execution_id, status, progress=0, result=None, error=None)
        for move in moves:
            assert move is not None
            await move_budget(conn, move)
        await count_video(conn, one.execution_id, completed=status is ExecutionStatus.COMPLETED)


async def retry(database: Database, one: Accepted) -> None:
    """Queue the next generation of an execution that has ended."""
    async with database.as_user(one.user_id) as conn:
        execution = await lock_execution(conn, one.user_id, one.execution_id)
        assert execution is not None
        steps = decide_retry(
            execution.plan, await lock_purchases(conn, one.execution_id), execution.error
        )
        prices: dict[AnyKind, NanoUsd] = {StepKind.IMAGE: IMAGE_PRICE, StepKind.VIDEO: VIDEO_PRICE}
        quotes = {
            item.step.name: quote_at(prices[item.step.kind])
            for item in steps
            if item.action is RetryAction.BOUGHT
        }
        assert await queue_again(conn, execution, steps, quotes, ConcurrencyLimits())


async def write_books(fresh: FreshDatabase) -> Books:
    async with Database.open(fresh.application_dsn, max_connections=4) as database:
        user_id = await new_user(database, UserLimits(monthly_videos=10, monthly_nano_usd=LIMIT))
        completed, failed, running = [
            await accept(database, new_execution(user_id)) for _ in range(3)
        ]
        await buy(database, completed, "req-done", 5 * IMAGE_PRICE)
        async with database.as_system() as conn:
            orphan = await record_orphan(conn, completed.image.job_id, 1, handle("req-orphan"))
            assert orphan is not None
            await settle_charge(conn, orphan, ORPHAN_COST, CostBasis.ASSUMED)
            await adjust_charge(conn, orphan, NanoUsd(ORPHAN_COST + 3), CostBasis.REPORTED)
        await end(database, completed, ExecutionStatus.COMPLETED)
        await end(database, failed, ExecutionStatus.FAILED)
    return Books(
        database=fresh,
        user_id=user_id,
        completed=completed,
        failed=failed,
        running=running,
        orphan=orphan,
    )


@pytest.fixture(scope="module")
async def written(postgres_server: PostgresServer, template_database: str) -> AsyncGenerator[Books]:
    """Write a correct ledger that no test changes; each test gets a copy."""
    async with new_database(postgres_server, template_database) as fresh:
        yield await write_books(fresh)


@pytest.fixture
async def books(postgres_server: PostgresServer, written: Books) -> AsyncGenerator[Books]:
    async with new_database(postgres_server, written.database.name) as fresh:
        yield Books(
            database=fresh,
            user_id=written.user_id,
            completed=written.completed,
            failed=written.failed,
            running=written.running,
            orphan=written.orphan,
        )
