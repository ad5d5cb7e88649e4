"""The ledger of a recovered database is consistent, whichever state the backup contains."""

from contextlib import AsyncExitStack

import pytest

from core.domain.money import NanoUsd
from core.domain.plans import StepKind
from core.domain.retries import RetryAction, decide_retry
from core.domain.states import ExecutionStatus
from core.store.database import Database
from core.store.executions.concurrency_counters import ConcurrencyLimits
from core.store.executions.executions import NewExecution, claim_execution
from core.store.executions.retries import lock_execution, lock_purchases, queue_again
from core.store.money.refunds import refund_by_hand
from core.store.money.reports.ledger_check import list_findings
from core.store.recovery.start_memo import Rebuilt, StartMemo, get_accepted, rebuild
from tests.store.money.books import buy, end
from tests.support.rows import (
    IMAGE_PRICE,
    VIDEO_PRICE,
    Accepted,
    accept,
    new_execution,
    new_user,
    quote_at,
)
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G3")

COST = 3 * IMAGE_PRICE


async def retried(database: Database, one: Accepted) -> StartMemo:
    """Retry a failed execution and return the document that its workflow carries."""
    async with database.as_user(one.user_id) as conn:
        execution = await lock_execution(conn, one.user_id, one.execution_id)
        assert execution is not None
        steps = decide_retry(
            execution.plan, await lock_purchases(conn, one.execution_id), execution.error
        )
        prices = {StepKind.IMAGE: IMAGE_PRICE, StepKind.VIDEO: VIDEO_PRICE}
        quotes = {
            item.step.name: quote_at(prices[item.step.kind])
            for item in steps
            if item.action is RetryAction.BOUGHT
        }
        assert await queue_again(conn, execution, steps, quotes, ConcurrencyLimits())
        return StartMemo(document=await get_accepted(conn, one.execution_id))


async def recovered(fresh: FreshDatabase, document: StartMemo, expected: Rebuilt) -> list[str]:
    """Return the findings of the ledger check after two recoveries.

    The second recovery repeats the first one, as after a recovery that was killed.
    """
    async with Database.open(fresh.application_dsn, max_connections=2) as database:
        for _ in range(2):
            async with database.as_system() as conn:
                assert await rebuild(conn, document) in (expected, Rebuilt.OPEN)
        async with database.reading_all() as conn:
            return [f"{finding.check}: {finding.text}" for finding in await list_findings(conn)]


async def advance(
    database: Database, state: str, new: NewExecution, one: Accepted | None
) -> Accepted | None:
    if state == "queued":
        return await accept(database, new, claimed=False)
    assert one is not None
    if state == "running":
        async with database.as_user(one.user_id) as conn:
            await claim_execution(conn, one.ref)
    elif state == "bought":
        await buy(database, one, "req-bought", COST)
    elif state == "refunded":
        async with database.as_system() as conn:
            await refund_by_hand(conn, one.image.job_id, NanoUsd(5))
    else:
        await end(database, one, ExecutionStatus.FAILED)
    return one


STATES = ("nothing", "queued", "running", "bought", "refunded", "failed")


@pytest.mark.parametrize("backed_up", STATES)
async def test_ledger_is_consistent_after_a_recovery_of_a_retry(
    postgres_server: PostgresServer, fresh_database: FreshDatabase, backed_up: str
) -> None:
    """After the backup, the execution buys, is refunded in part, fails and is retried."""
    url = fresh_database.application_dsn
    async with AsyncExitStack() as stack:
        async with Database.open(url, max_connections=4) as database:
            new, one, backup = new_execution(await new_user(database)), None, None
        for state in STATES:
            if state != "nothing":
                async with Database.open(url, max_connections=4) as database:
                    one = await advance(database, state, new, one)
            if state == backed_up:  # PostgreSQL copies a database only without connections
                backup = await stack.enter_async_context(
                    new_database(postgres_server, fresh_database.name)
                )
        assert one is not None
        assert backup is not None
        async with Database.open(url, max_connections=4) as database:
            document = await retried(database, one)
        expected = Rebuilt.MADE if backed_up == "nothing" else Rebuilt.RAISED
        assert await recovered(backup, document, expected) == []
