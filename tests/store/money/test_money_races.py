"""Concurrent late answers, callbacks, reconciler runs, cancels and manual changes.

The ledger always ends equal to the provider's bill: each bill is booked once and no hold remains.
Locks and open transactions make the critical interleavings deterministic.
"""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ProviderJobId
from core.domain.messages.executions import FinishInput
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.states import ExecutionStatus, JobState
from core.jobs.submission.submit_results import interpret, record_result
from core.providers.port import CreateAnswer, CreateOutcome
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.jobs.manual_changes import adopt_by_hand, release_by_hand, settle_by_hand
from core.store.jobs.sends import mark_send_answered, mark_submitted, mark_waiting
from tests.activities.conftest import harness, harness_sandbox
from tests.support.activity_harness import REPLICATE_FLUX, ActivityHarness
from tests.support.rows import Accepted, assert_books_balance

pytestmark = pytest.mark.guarantee("G3")

__all__ = ["harness", "harness_sandbox"]

A_MINUTE_AGO = "UPDATE sends SET sent_at = sent_at - interval '1 min' WHERE job_id = $1"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def terminated(harness: ActivityHarness, one: Accepted) -> None:
    failure = Failure.of(FailureCode.TERMINATED)
    await harness.executions.finish(
        FinishInput(execution=one.ref, status=ExecutionStatus.FAILED, failure=failure)
    )


async def given_up(harness: ActivityHarness, fault: str) -> Accepted:
    """Send with a fault, terminate the execution, and let the reconciler give the job up.

    If the provider accepted the send, its list does not show it.
    """
    harness.sandbox.set(history_hidden=fault == "drop_after_accept")
    one = await harness.accepted()
    placed = harness.sandbox.fault(fault)
    await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(placed) == 1
    await terminated(harness, one)
    await harness.open_bills.settle()
    assert (await harness.job(one.image)).state is JobState.FAILED
    assert (await harness.charge(one.image))[0] == "held"
    return one


async def provider_ended(harness: ActivityHarness) -> str:
    """Wait until the only accepted job has ended; return its provider id."""
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    [line] = harness.bill()
    return line["provider_job_id"]


def handle(name: str) -> ProviderHandle:
    return ProviderHandle(
        provider="replicate", model=REPLICATE_FLUX, provider_job_id=ProviderJobId(name)
    )


async def called_back(
    harness: ActivityHarness, ref: JobRef, name: str, *, send: int = 1
) -> CallbackOutcome:
    new = NewCallback(
        provider="replicate",
        delivery_id=f"{ref.job_id}/{send}/{name}",
        job_id=ref.job_id,
        send_number=send,
        provider_job_id=ProviderJobId(name),
    )
    async with harness.database.as_system() as conn:
        return await record_callback(conn, new)


async def answered(harness: ActivityHarness, ref: JobRef, name: str, *, send: int = 1) -> None:
    answer = CreateAnswer(outcome=CreateOutcome.ACCEPTED, handle=handle(name), status_code=201)
    async with harness.database.as_user(ref.user_id) as conn:
        await record_result(conn, ref, send, interpret(answer))


async def run_reconciler(harness: ActivityHarness, rounds: int = 3) -> None:
    for _ in range(rounds):
        await harness.as_owner("UPDATE jobs SET updated_at = now() - interval '2 min'")
        await harness.open_bills.settle()


async def booked(harness: ActivityHarness, one: Accepted) -> tuple[int, int]:
    """Return the user's settled and held sums after checking that the ledger balances."""
    async with harness.database.as_system() as conn:
        await assert_books_balance(conn, one.user_id)
        row = await conn.fetchrow(
            "SELECT sum(settled_nano_usd)::bigint AS settled,"
            " coalesce(sum(held_nano_usd) FILTER (WHERE state = 'held'), 0)::bigint AS held"
            " FROM charges WHERE user_id = $1",
            one.user_id,
        )
    assert row is not None
    return row["settled"], row["held"]


def billed(harness: ActivityHarness) -> int:
    return sum(line["billed_nano_usd"] for line in harness.bill())


Learn = Callable[[ActivityHarness, JobRef, str], Awaitable[object]]


async def by_hand(harness: ActivityHarness, ref: JobRef, name: str) -> None:
    async with harness.database.as_system() as conn:
        await adopt_by_hand(conn, ref.job_id, name)


LEARNED = pytest.mark.parametrize(
    "learn", [called_back, answered, by_hand], ids=["callback", "answer", "by hand"]
)


@LEARNED
async def test_manual_settlement_is_corrected_when_the_id_arrives(
    harness: ActivityHarness, learn: Learn
) -> None:
    one = await given_up(harness, "drop_after_accept")
    name = await provider_ended(harness)
    async with harness.database.as_system() as conn:
        await settle_by_hand(conn, one.image.job_id, NanoUsd(5 * billed(harness)))
    await learn(harness, one.image, name)
    await run_reconciler(harness)
    assert await booked(harness, one) == (billed(harness), 0)


@LEARNED
async def test_manual_release_is_paid_when_the_id_arrives(
    harness: ActivityHarness, learn: Learn
) -> None:
    one = await given_up(harness, "drop_after_accept")
    name = await provider_ended(harness)
    async with harness.database.as_system() as conn:
        await release_by_hand(conn, one.image.job_id)
    for _ in range(2):
        await learn(harness, one.image, name)
    await run_reconciler(harness)
    assert await booked(harness, one) == (billed(harness), 0)


@pytest.mark.parametrize(
    "learn",
    [pytest.param(called_back, id="callback"), pytest.param(answered, id="answer")],
)
async def test_manual_release_is_paid_when_the_id_arrives_concurrently(
    harness: ActivityHarness, learn: Learn
) -> None:
    """The late id arrives before the release commits; it must not be bound to an ended charge."""
    one = await given_up(harness, "drop_after_accept")
    name = await provider_ended(harness)
    async with harness.database.as_system() as conn:
        await release_by_hand(conn, one.image.job_id)
        late = asyncio.ensure_future(learn(harness, one.image, name))
        await blocked(harness)
    await late
    await run_reconciler(harness)
    assert await booked(harness, one) == (billed(harness), 0)


@pytest.mark.parametrize(
    "learn",
    [pytest.param(called_back, id="callback"), pytest.param(answered, id="answer")],
)
async def test_reconciler_release_is_paid_when_the_id_arrives_concurrently(
    harness: ActivityHarness, learn: Learn
) -> None:
    """The callback arrives after the reconciler has read that the send is absent."""
    one = await given_up(harness, "drop_before_accept")
    await harness.as_owner(A_MINUTE_AGO, one.image.job_id)
    other = await harness.accepted()
    harness.sandbox.set(history_hidden=True)
    await harness.run(harness.jobs.submit, other.image)
    name = await provider_ended(harness)
    # The first send was accepted although the provider's list did not show it.
    await harness.as_owner(
        "UPDATE jobs SET provider_job_id = 'gone', send_number = 1 WHERE job_id = $1",
        other.image.job_id,
    )
    harness.sandbox.set(history_hidden=False)
    connection = await asyncpg.connect(harness.owner_dsn)
    try:
        async with connection.transaction():
            await connection.execute(
                "SELECT FROM budgets WHERE user_id = $1 FOR UPDATE", one.user_id
            )
            sweep = asyncio.ensure_future(run_reconciler(harness, rounds=1))
            await blocked(harness)  # the release is written but not committed
            late = asyncio.ensure_future(learn(harness, one.image, name))
            await asyncio.sleep(0.3)
        await asyncio.gather(sweep, late)
    finally:
        await connection.close()
    await run_reconciler(harness)
    assert await booked(harness, one) == (billed(harness), 0)


async def blocked(harness: ActivityHarness) -> None:
    """Wait until a transaction waits for the lock of another."""
    connection = await asyncpg.connect(harness.owner_dsn)
    try:
        for _ in range(250):
            if await connection.fetchval(BLOCKED):
                return
            await asyncio.sleep(0.02)
    finally:
        await connection.close()
    pytest.fail("nobody waits for a lock: the race did not happen")


async def test_hold_is_released_although_an_earlier_send_was_bought(
    harness: ActivityHarness,
) -> None:
    """Send 1 appeared absent and is now an orphan; send 2 was never accepted, so its hold ends."""
    harness.sandbox.set(history_hidden=True)
    one = await harness.accepted()
    harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    async with harness.database.as_user(one.user_id) as conn:
        assert await mark_waiting(conn, one.image.job_id, 1)
    harness.sandbox.fault("drop_before_accept")
    await harness.run(harness.jobs.submit, one.image)
    name = await provider_ended(harness)
    await answered(harness, one.image, name, send=1)
    await terminated(harness, one)
    harness.sandbox.set(history_hidden=False)
    await harness.as_owner(A_MINUTE_AGO, one.image.job_id)
    await run_reconciler(harness)
    assert await booked(harness, one) == (billed(harness), 0)


async def test_hold_is_released_when_a_late_answer_is_a_refusal(
    harness: ActivityHarness,
) -> None:
    """A late but certain answer needs no lookup."""
    one = await given_up(harness, "drop_before_accept")
    harness.sandbox.set(history_hidden=True)
    refusal = Failure.of(FailureCode.PROVIDER_RATE_LIMITED)
    answer = CreateAnswer(outcome=CreateOutcome.NOT_ACCEPTED, failure=refusal, status_code=429)
    async with harness.database.as_user(one.user_id) as conn:
        await record_result(conn, one.image, 1, interpret(answer))
    await run_reconciler(harness)
    assert await booked(harness, one) == (0, 0)


async def test_bill_reported_by_all_sources_at_once_is_booked_once(
    harness: ActivityHarness,
) -> None:
    one = await given_up(harness, "drop_after_accept")
    name = await provider_ended(harness)
    await asyncio.gather(
        called_back(harness, one.image, name),
        answered(harness, one.image, name),
        by_hand(harness, one.image, name),
        *(harness.open_bills.settle() for _ in range(2)),
    )
    await run_reconciler(harness)
    assert await booked(harness, one) == (billed(harness), 0)
    async with harness.database.as_system() as conn:
        assert await conn.fetchval("SELECT count(*) FROM jobs WHERE orphan") == 0


async def test_second_id_of_a_send_is_a_paid_orphan(
    harness: ActivityHarness,
) -> None:
    one, other = await given_up(harness, "drop_after_accept"), await harness.accepted()
    await harness.run(harness.jobs.submit, other.image)
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: all(line["state"] != "open" for line in harness.bill())
    )
    names = [line["provider_job_id"] for line in harness.bill()]
    await harness.as_owner(
        "UPDATE jobs SET provider_job_id = 'gone' WHERE job_id = $1", other.image.job_id
    )
    for name in (*names, *names):
        await called_back(harness, one.image, name)
        await answered(harness, one.image, name)
    await run_reconciler(harness)
    assert await booked(harness, one) == (billed(harness), 0)


async def test_late_answer_and_lookup_do_not_deadlock(
    harness: ActivityHarness,
) -> None:
    harness.sandbox.set(history_hidden=True)
    one = await harness.accepted()
    harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    name = await provider_ended(harness)
    async with harness.database.as_user(one.user_id) as conn:  # as find does
        assert await mark_submitted(conn, one.image.job_id, 1, handle(name))
        late = asyncio.ensure_future(answered(harness, one.image, name))
        await blocked(harness)
        await mark_send_answered(conn, one.image.job_id, 1, "found", provider_job_id=name)
    await late
    assert (await harness.job(one.image)).state is JobState.SUBMITTED
