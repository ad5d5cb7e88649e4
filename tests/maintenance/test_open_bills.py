"""Bills that outlive their execution: each closes with what the provider really billed, or goes
back.
"""

import asyncio

import asyncpg
import pytest
from prometheus_client import Counter

from core.domain.failures import Failure, FailureCode
from core.domain.messages.executions import FinishInput
from core.domain.messages.jobs import JobRef
from core.domain.states import ExecutionStatus, JobState
from core.platform.observability import metrics
from core.store.executions.unfinished import TAKE_OPEN_BILLS, take_open_bills
from tests.support.activity_harness import REPLICATE_FLUX, ActivityHarness
from tests.support.rows import Accepted

NOT_ACCEPTED = "UPDATE jobs SET state = 'waiting' WHERE job_id = $1"
OPENED_LONG_AGO = (
    "UPDATE jobs SET ended_at = now() - interval '11 min', updated_at = now() WHERE job_id = $1"
)


async def terminated(harness: ActivityHarness, one: Accepted) -> None:
    """End the execution as the reconciler does when its workflow was terminated."""
    failure = Failure.of(FailureCode.TERMINATED)
    await harness.executions.finish(
        FinishInput(execution=one.ref, status=ExecutionStatus.FAILED, failure=failure)
    )


async def sent_and_terminated(
    harness: ActivityHarness, fault: str | None = None, **more: str
) -> Accepted:
    one = await harness.accepted(**more)
    if fault is not None:
        harness.sandbox.fault(fault)
    await harness.run(harness.jobs.submit, one.image)
    await terminated(harness, one)
    return one


async def provider_ended(harness: ActivityHarness) -> None:
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )


async def settled(harness: ActivityHarness, ref: JobRef) -> tuple[str, int]:
    async with asyncio.timeout(30):
        while (await harness.charge(ref))[0] == "held":
            await harness.open_bills.settle()
            await asyncio.sleep(0.1)
    return await harness.charge(ref)


def value_of(counter: Counter) -> float:
    [sample] = [
        sample
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    ]
    return sample.value


async def make_older(harness: ActivityHarness, ref: JobRef) -> None:
    """Older than what a list may lag behind."""
    await harness.as_owner(
        "UPDATE sends SET sent_at = sent_at - interval '1 min' WHERE job_id = $1", ref.job_id
    )


async def test_open_bills_release_what_was_not_accepted_after_the_end(
    harness: ActivityHarness,
) -> None:
    one = await sent_and_terminated(harness, "drop_before_accept")
    await harness.as_owner(NOT_ACCEPTED, one.image.job_id)
    await harness.open_bills.settle()
    assert await harness.charge(one.image) == ("released", 0)
    assert (await harness.job(one.image)).state is JobState.CANCELLED


async def test_open_bills_leave_a_waiting_job_of_a_running_execution(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    harness.sandbox.fault("refuse_429")
    await harness.run(harness.jobs.submit, one.image)
    await harness.open_bills.settle()
    assert await harness.charge(one.image) == ("held", 0)
    assert (await harness.job(one.image)).state is JobState.WAITING


@pytest.mark.parametrize("known_by", ["callback", "answer"])
async def test_open_bills_settle_by_an_id_that_no_list_shows(
    harness: ActivityHarness, known_by: str
) -> None:
    harness.sandbox.set(history_hidden=True)
    one = await sent_and_terminated(harness, "drop_after_accept")
    await provider_ended(harness)
    await make_older(harness, one.image)
    line = harness.bill()[0]
    if known_by == "callback":
        await harness.as_owner(
            "INSERT INTO callbacks (provider, delivery_id, job_id, user_id, send_number, provider_job_id, adopted)"
            " VALUES ('replicate', 'd1', $1, $2, 1, $3, false)",
            one.image.job_id,
            one.user_id,
            line["provider_job_id"],
        )
    else:
        await harness.as_owner(
            "UPDATE sends SET provider_job_id = $2 WHERE job_id = $1",
            one.image.job_id,
            line["provider_job_id"],
        )
    assert await settled(harness, one.image) == ("settled", line["billed_nano_usd"])


async def test_open_bills_keep_the_hold_of_an_ambiguous_id(
    harness: ActivityHarness,
) -> None:
    """An ambiguous id is neither released nor settled twice."""
    other = await harness.accepted()
    await harness.run(harness.jobs.submit, other.image)
    owned = (await harness.job(other.image)).handle
    assert owned is not None
    one = await sent_and_terminated(harness, "drop_before_accept")
    await make_older(harness, one.image)
    await harness.as_owner(
        "UPDATE sends SET provider_job_id = $2 WHERE job_id = $1",
        one.image.job_id,
        owned.provider_job_id,
    )
    for _ in range(2):
        await harness.open_bills.settle()
    assert await harness.charge(one.image) == ("held", 0)


async def test_open_bills_release_when_every_match_is_another_jobs(
    harness: ActivityHarness,
) -> None:
    other = await harness.accepted()
    await harness.run(harness.jobs.submit, other.image)
    one = await sent_and_terminated(harness, "drop_before_accept")
    await make_older(harness, one.image)
    # The same words and the same seed: a list cannot tell them apart.
    await harness.as_owner(
        "UPDATE sends SET request = (SELECT request FROM sends WHERE job_id = $2) WHERE job_id = $1",
        one.image.job_id,
        other.image.job_id,
    )
    for _ in range(2):
        await harness.open_bills.settle()
    assert await harness.charge(one.image) == ("released", 0)


async def test_open_bills_call_an_unavailable_provider_once_per_round(
    harness: ActivityHarness,
) -> None:
    refs = [(await sent_and_terminated(harness)).image for _ in range(3)]
    fal = (
        await sent_and_terminated(harness, image_model="fal-ai/flux/schnell", image_provider="fal")
    ).image
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: all(line["state"] != "open" for line in harness.bill())
    )
    away = harness.sandbox.fault(
        "error_5xx_before_accept", provider="replicate", operation="status", times=-1
    )
    await harness.open_bills.settle()
    assert harness.sandbox.fired(away) == 1
    assert (await harness.charge(fal))[0] == "settled"
    assert [(await harness.charge(ref))[0] for ref in refs] == ["held"] * 3


async def test_open_bills_are_read_by_id_without_the_list(
    harness: ActivityHarness,
) -> None:
    """A lost job comes first, and only a list could show it."""
    lost = [(await sent_and_terminated(harness, "drop_before_accept")).image for _ in range(2)]
    known = (await sent_and_terminated(harness)).image
    await provider_ended(harness)
    for ref in lost:
        await harness.as_owner(
            "UPDATE jobs SET updated_at = now() - interval '2 min' WHERE job_id = $1", ref.job_id
        )
    away = harness.sandbox.fault(
        "error_5xx_before_accept", provider="replicate", operation="list", times=-1
    )
    await harness.open_bills.settle()
    assert harness.sandbox.fired(away) == 1
    assert [(await harness.charge(ref))[0] for ref in (*lost, known)] == ["held", "held", "settled"]


async def test_open_bills_are_shuffled_between_rounds(
    harness: ActivityHarness,
) -> None:
    """Otherwise a job without an answer would block the others in every round."""
    for _ in range(2):
        await sent_and_terminated(harness)
    first: set[str] = set()
    for _ in range(30):
        async with harness.database.as_system() as conn:
            first.add((await take_open_bills(conn, limit=50))[0].ref.job_id)
    assert len(first) == 2


async def test_job_deleted_at_its_provider_blocks_no_other_bill(
    harness: ActivityHarness,
) -> None:
    forgotten, other = [(await sent_and_terminated(harness)).image for _ in range(2)]
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: all(line["state"] != "open" for line in harness.bill())
    )
    await harness.as_owner(
        "UPDATE jobs SET provider_job_id = 'gone', provider_urls = '{}', updated_at = now() - interval '2 min' "
        "WHERE job_id = $1",
        forgotten.job_id,
    )
    await harness.open_bills.settle()
    assert (await harness.charge(forgotten))[0] == "held"
    assert (await harness.charge(other))[0] == "settled"


async def test_open_bills_look_at_an_old_one_once_a_minute(harness: ActivityHarness) -> None:
    one = await sent_and_terminated(harness)
    await provider_ended(harness)
    await harness.as_owner(OPENED_LONG_AGO, one.image.job_id)
    await harness.open_bills.settle()
    assert (await harness.charge(one.image))[0] == "held"
    await harness.as_owner("UPDATE jobs SET updated_at = now() - interval '61 s'")
    await harness.open_bills.settle()
    assert (await harness.charge(one.image))[0] == "settled"


async def test_open_bills_are_found_by_the_index_of_open_charges(harness: ActivityHarness) -> None:
    connection = await asyncpg.connect(harness.owner_dsn)
    try:
        await connection.execute("SET enable_seqscan = off")
        plan = await connection.fetch(f"EXPLAIN {TAKE_OPEN_BILLS}".replace("$1", "50"))
    finally:
        await connection.close()
    assert "charges_open" in "\n".join(row[0] for row in plan)


async def test_open_bills_raise_the_metric_by_what_the_ledger_books(
    harness: ActivityHarness,
) -> None:
    cost = metrics.COST_NANO_USD.labels("replicate", REPLICATE_FLUX)
    before = value_of(cost)
    one = await sent_and_terminated(harness)
    await provider_ended(harness)
    _, booked = await settled(harness, one.image)
    await harness.open_bills.settle()
    assert booked > 0
    assert value_of(cost) - before == booked


async def test_open_bills_cancel_an_abandoned_job_once(harness: ActivityHarness) -> None:
    harness.sandbox.set(image_seconds=120)
    one = await sent_and_terminated(harness)
    await harness.open_bills.settle()
    assert (await harness.job(one.image)).cancel_sent_at is not None
    state, cost = await settled(harness, one.image)
    assert (state, cost) == ("settled", harness.bill()[0]["billed_nano_usd"])
    assert (await harness.job(one.image)).state is JobState.CANCELLED


async def test_open_bills_do_not_repeat_a_failed_cancel(
    harness: ActivityHarness,
) -> None:
    harness.sandbox.set(image_seconds=1.5)
    lost = harness.sandbox.fault("error_5xx_before_accept", operation="cancel", times=-1)
    one = await sent_and_terminated(harness)
    for _ in range(2):
        await harness.open_bills.settle()
    assert harness.sandbox.fired(lost) == 1
    assert await settled(harness, one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])
