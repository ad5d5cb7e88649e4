"""Jobs in the states that need an operator, and the operator's actions on them."""

from collections.abc import Awaitable
from typing import Any

import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.states import ExecutionStatus, JobState
from core.store.database import Connection, Database
from core.store.executions.ends import mark_ended
from core.store.jobs.jobs import get_job, mark_job_ended
from core.store.jobs.manual_changes import (
    AdoptionResult,
    ManualSettlement,
    adopt_by_hand,
    settle_by_hand,
)
from core.store.jobs.sends import begin_send, mark_send_answered, mark_unknown, mark_waiting
from core.store.operator import RefusedError
from tests.support.rows import (
    IMAGE_MODEL,
    Accepted,
    accept,
    assert_books_balance,
    new_execution,
    new_user,
)

REQUEST = {
    "method": "POST",
    "url": "https://queue.fal.run/fal-ai/flux/schnell",
    "body": {"prompt": "A paper boat"},
}


async def sent(database: Database, *, sends: int = 1) -> Accepted:
    """Return an execution whose image job is in its last send; earlier sends were found absent."""
    one = await accept(database, new_execution(await new_user(database)))
    async with database.as_user(one.user_id) as conn:
        for number in range(1, sends + 1):
            await begin_send(conn, one.image, number, REQUEST, {"prompt": "A paper boat"})
            await mark_unknown(conn, one.image.job_id, number)
            if number < sends:
                await mark_waiting(conn, one.image.job_id, number)
                await mark_send_answered(conn, one.image.job_id, number, "absent")
    return one


async def given_up(database: Database, *, ended: bool = True, sends: int = 1) -> Accepted:
    """Return an execution whose image job failed as submission_unknown, with its bill open.

    ended: the execution has ended too.
    """
    one = await sent(database, sends=sends)
    failure = Failure.of(FailureCode.SUBMISSION_UNKNOWN)
    async with database.as_user(one.user_id) as conn:
        await mark_job_ended(
            conn, one.image.job_id, JobState.FAILED, failure, expected=(JobState.UNKNOWN,)
        )
        if ended:
            await end(conn, one)
    return one


async def end(conn: Connection, one: Accepted) -> None:
    await mark_ended(
        conn, one.execution_id, ExecutionStatus.FAILED, progress=0, result=None, error=None
    )


def handle(provider_job_id: str) -> ProviderHandle:
    return ProviderHandle(
        provider="fal", model=IMAGE_MODEL, provider_job_id=ProviderJobId(provider_job_id)
    )


async def adopt(
    database: Database, ref: JobRef, provider_job_id: str, *, send: int | None = None
) -> AdoptionResult:
    async with database.as_system() as conn:
        return await adopt_by_hand(conn, ref.job_id, provider_job_id, send=send)


async def settle(
    database: Database, ref: JobRef, nano_usd: int, *, confirmed: bool = False
) -> ManualSettlement:
    async with database.as_system() as conn:
        return await settle_by_hand(conn, ref.job_id, NanoUsd(nano_usd), confirmed=confirmed)


async def job_of(database: Database, ref: JobRef) -> Any:
    async with database.as_system() as conn:
        return await get_job(conn, ref.job_id)


async def entries(database: Database, ref: JobRef) -> dict[str, int]:
    """Return a job's ledger entries by kind; check that its user's ledger balances."""
    async with database.as_system() as conn:
        await assert_books_balance(conn, ref.user_id)
        rows = await conn.fetch(
            "SELECT kind, amount_nano_usd FROM ledger_entries WHERE job_id = $1", ref.job_id
        )
    assert len({row["kind"] for row in rows}) == len(rows)
    return {row["kind"]: row["amount_nano_usd"] for row in rows}


async def refused(call: Awaitable[object]) -> str:
    with pytest.raises(RefusedError) as raised:
        await call
    return str(raised.value)
