"""Workers that wake too late, and what they bought: nothing twice in a row's place, nothing that no
charge stands for.

The judge is the sandbox's own bill, line by line.
"""

import asyncio
import dataclasses
from typing import Any, cast

import pytest

from activities.jobs import JobActivities
from core.domain.ids import JobId, ProviderJobId
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitOutcome
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, JobState
from core.platform.temporal.policies import SEND_WITHIN_SECONDS
from core.providers.port import CreateAnswer, CreateRequest, Provider
from core.providers.registry import Providers
from core.store.executions.views.status import find_execution
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.money.charges import get_money
from core.store.money.settlement import settle_charge
from tests.activities.test_lookup import make_send_older
from tests.support.activity_harness import ActivityHarness

pytestmark = pytest.mark.guarantee("G1")


class HeldProvider:
    """A provider that stalls its caller between intent and POST, until the event is set."""

    def __init__(self, provider: Provider, gate: asyncio.Event) -> None:
        self._provider = provider
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def submit(
        self, request: CreateRequest, *, timeout_seconds: float, not_after: float
    ) -> CreateAnswer:
        await self._gate.wait()
        return await self._provider.submit(
            request, timeout_seconds=timeout_seconds, not_after=not_after
        )


def held(harness: ActivityHarness, gate: asyncio.Event) -> JobActivities:
    provider = HeldProvider(harness.providers.provider("replicate"), gate)
    providers = Providers(
        [cast("Provider", provider)], looks_apart_seconds=harness.providers.looks_apart_seconds
    )
    return dataclasses.replace(harness.jobs, providers=providers)


async def until(harness: ActivityHarness, ref: JobRef, state: JobState) -> None:
    async with asyncio.timeout(30):
        while (await harness.job(ref)).state is not state:  # noqa: ASYNC110 - a row sets no event
            await asyncio.sleep(0.02)


async def found_absent(harness: ActivityHarness, ref: JobRef) -> None:
    """Past the horizon no list shows it, so a successor may send it again."""
    await make_send_older(harness, ref, 60)
    harness.sandbox.set(history_hidden=True)
    assert (await harness.run(harness.jobs.find, ref)).outcome is FindOutcome.ABSENT


async def answered_late(harness: ActivityHarness, ref: JobRef) -> "asyncio.Task[Any]":
    """Submit a job whose accepted answer arrives after two looks at the list."""
    order = harness.sandbox.fault("answer_late", params={"seconds": 3.0})
    zombie = asyncio.create_task(harness.run(harness.jobs.submit, ref))
    await asyncio.to_thread(harness.sandbox.wait_until, lambda: len(harness.bill()) == 1)
    assert harness.sandbox.fired(order) == 1
    return zombie


async def orphans(harness: ActivityHarness, ref: JobRef) -> list[dict[str, Any]]:
    async with harness.database.as_user(ref.user_id) as conn:
        rows = await conn.fetch(
            "SELECT j.job_id, j.provider_job_id, j.state, j.supersedes, j.cancel_sent_at, c.state AS charge,"
            " c.settled_nano_usd FROM jobs AS j JOIN charges AS c ON c.job_id = j.job_id"
            " WHERE j.execution_id = $1 AND j.orphan ORDER BY j.job_id",
            ref.execution_id,
        )
    return [dict(row) for row in rows]


async def settled_like_the_bill(harness: ActivityHarness, ref: JobRef) -> None:
    """Every line of the bill is the settled charge of exactly one job; an orphan's is booked as
    one.
    """
    async with asyncio.timeout(15):
        while any(orphan["charge"] == "held" for orphan in await orphans(harness, ref)):
            await harness.open_bills.settle()
            await asyncio.sleep(0.1)
    billed = {line["provider_job_id"]: line["billed_nano_usd"] for line in harness.bill()}
    async with harness.database.as_user(ref.user_id) as conn:
        rows = await conn.fetch(
            "SELECT j.provider_job_id, sum(l.amount_nano_usd)::bigint AS amount, j.orphan,"
            " array_agg(l.kind) AS kinds FROM ledger_entries AS l JOIN jobs AS j ON j.job_id = l.job_id"
            " WHERE j.step_name = 'image' AND l.kind IN ('settled', 'overage', 'orphan')"
            " AND j.provider_job_id IS NOT NULL GROUP BY j.job_id"
        )
    assert {row["provider_job_id"]: row["amount"] for row in rows} == billed
    assert all((row["kinds"] == ["orphan"]) is row["orphan"] for row in rows)


async def call_back(
    harness: ActivityHarness, ref: JobRef, send: int, provider_job_id: str, delivery: str = "d"
) -> CallbackOutcome:
    new = NewCallback(
        provider="replicate",
        delivery_id=f"{delivery}-{send}-{provider_job_id}",
        job_id=ref.job_id,
        send_number=send,
        provider_job_id=ProviderJobId(provider_job_id),
    )
    async with harness.database.as_system() as conn:
        return await record_callback(conn, new)


async def complete(harness: ActivityHarness, ref: JobRef) -> None:
    assert (await harness.run(harness.jobs.wait, ref)).state is JobState.COMPLETED
    assert (await harness.run(harness.jobs.settle, ref)).state is JobState.COMPLETED


async def test_zombie_stopped_before_its_post_sends_nothing_when_it_wakes(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    gate = asyncio.Event()
    zombie = asyncio.create_task(harness.run(held(harness, gate).submit, image))
    await until(harness, image, JobState.SUBMITTING)
    await found_absent(harness, image)
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    successor = await harness.job(image)
    await asyncio.sleep(SEND_WITHIN_SECONDS)
    gate.set()
    assert (await zombie).outcome is SubmitOutcome.UNKNOWN
    assert len(harness.bill()) == 1
    after = await harness.job(image)
    assert (after.send_number, after.handle) == (2, successor.handle)
    await complete(harness, image)
    await settled_like_the_bill(harness, image)


async def test_stalled_worker_without_competition_returns_its_job(
    harness: ActivityHarness,
) -> None:
    """Its send was not replaced and nothing left the socket, so it may be sent again at once."""
    image = (await harness.accepted()).image
    gate = asyncio.Event()
    zombie = asyncio.create_task(harness.run(held(harness, gate).submit, image))
    await until(harness, image, JobState.SUBMITTING)
    finding = asyncio.create_task(harness.run(harness.jobs.find, image))
    await asyncio.sleep(SEND_WITHIN_SECONDS + 0.1)
    gate.set()
    assert (await zombie).outcome is SubmitOutcome.NOT_SENT
    harness.wakeups.wake_all()
    assert (await finding).outcome is FindOutcome.ABSENT
    assert harness.bill() == []
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED


@pytest.mark.parametrize("found_in", [JobState.UNKNOWN, JobState.WAITING])
async def test_zombie_brings_the_id_of_the_current_send(
    harness: ActivityHarness, found_in: JobState
) -> None:
    image = (await harness.accepted()).image
    zombie = await answered_late(harness, image)
    if found_in is JobState.UNKNOWN:
        assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    else:
        await found_absent(harness, image)
    assert (await harness.job(image)).state is found_in
    assert (await zombie).outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    (line,) = harness.bill()
    job = await harness.job(image)
    assert job.handle is not None
    assert job.handle.provider_job_id == line["provider_job_id"]
    await complete(harness, image)
    assert await orphans(harness, image) == []
    await settled_like_the_bill(harness, image)


@pytest.mark.parametrize("brought_by", ["answer", "callback", "both"])
async def test_superseded_send_becomes_a_settled_orphan(
    harness: ActivityHarness, brought_by: str
) -> None:
    one = await harness.accepted()
    image = one.image
    harness.sandbox.set(image_seconds=6.0)
    zombie = await answered_late(harness, image)
    await found_absent(harness, image)
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    first, second = (line["provider_job_id"] for line in harness.bill())
    if brought_by != "answer":
        assert await call_back(harness, image, 1, first) is CallbackOutcome.ORPHAN
        assert await call_back(harness, image, 1, first, "again") is CallbackOutcome.RECORDED
    if brought_by != "callback":
        await zombie
    (orphan,) = await orphans(harness, image)
    assert (orphan["provider_job_id"], orphan["supersedes"], orphan["state"]) == (
        first,
        image.job_id,
        "submitted",
    )
    job = await harness.job(image)
    assert job.handle is not None
    assert (job.state, job.handle.provider_job_id) == (JobState.SUBMITTED, second)
    for _ in range(2):
        await harness.open_bills.settle()
    (orphan,) = await orphans(harness, image)
    assert orphan["cancel_sent_at"] is not None  # asked to end, although its execution runs
    await complete(harness, image)
    await settled_like_the_bill(harness, image)
    await zombie
    assert len(await orphans(harness, image)) == 1
    async with harness.database.as_user(image.user_id) as conn:
        record = await find_execution(conn, image.user_id, one.execution_id)
    assert record is not None
    assert record.settled_nano_usd == sum(line["billed_nano_usd"] for line in harness.bill())
    assert [job.state for job in record.jobs if job.step == "image" and not job.orphan] == [
        JobState.COMPLETED
    ]


async def test_second_id_of_one_send_is_an_orphan(harness: ActivityHarness) -> None:
    """A provider that made two jobs of one request bills both."""
    image, other = (await harness.accepted()).image, (await harness.accepted()).image
    await harness.run(harness.jobs.submit, image)
    await harness.run(harness.jobs.submit, other)
    job, twin = await harness.job(image), await harness.job(other)
    assert job.handle is not None
    assert twin.handle is not None
    assert (
        await call_back(harness, image, 1, twin.handle.provider_job_id) is CallbackOutcome.REFUSED
    )  # another's
    await harness.as_owner(
        "UPDATE jobs SET provider_job_id = 'elsewhere' WHERE job_id = $1", other.job_id
    )
    assert await call_back(harness, image, 1, twin.handle.provider_job_id) is CallbackOutcome.ORPHAN
    await complete(harness, image)
    await settled_like_the_bill(harness, image)
    assert (await harness.job(image)).handle == job.handle


async def test_what_was_released_and_bought_after_all_is_an_orphan(
    harness: ActivityHarness,
) -> None:
    """Held to be absent, its execution cancelled, its money given back; then it calls."""
    one = await harness.accepted()
    image = one.image
    order = harness.sandbox.fault("drop_after_accept")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    await found_absent(harness, image)
    await harness.as_owner(
        "UPDATE executions SET deadline_at = now() - interval '1 s' WHERE execution_id = $1",
        one.execution_id,
    )
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.REFUSED
    assert await harness.charge(image) == ("released", 0)
    (line,) = harness.bill()
    assert await call_back(harness, image, 1, line["provider_job_id"]) is CallbackOutcome.ORPHAN
    (orphan,) = await orphans(harness, image)
    await settled_like_the_bill(harness, image)
    assert await harness.charge(image) == ("released", 0)
    ref = dataclasses.replace(image, job_id=JobId(orphan["job_id"]))
    (line,) = harness.bill()  # final now: a settled charge has an ended job
    assert await harness.charge(ref) == ("settled", line["billed_nano_usd"])


async def test_manually_settled_send_is_billed_once(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    image = one.image
    harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, image)
    await harness.as_owner(
        "UPDATE jobs SET state = 'failed', ended_at = now(),"
        """ failure = '{"code": "submission_unknown", "message": "x"}' WHERE job_id = $1""",
        image.job_id,
    )
    async with harness.database.as_system() as conn:
        await settle_charge(conn, image.job_id, NanoUsd(1_000_000), CostBasis.ASSUMED)
    (line,) = harness.bill()
    assert await call_back(harness, image, 1, line["provider_job_id"]) is CallbackOutcome.ORPHAN
    async with asyncio.timeout(10):
        while any(orphan["charge"] == "held" for orphan in await orphans(harness, image)):
            await harness.open_bills.settle()
            await asyncio.sleep(0.1)
    assert await harness.charge(image) == ("settled", 0)
    (line,) = harness.bill()  # final now: a settled charge has an ended job
    async with harness.database.as_user(image.user_id) as conn:
        assert (await get_money(conn, one.execution_id)).settled_nano_usd == line["billed_nano_usd"]


@pytest.mark.parametrize("last_was_accepted", [True, False])
async def test_ids_of_earlier_sends_do_not_stop_the_search(
    harness: ActivityHarness, last_was_accepted: bool
) -> None:
    """Two sends without an answer, the job given up: the earlier one's id was written down
    somewhere.
    """
    one = await harness.accepted()
    image = one.image
    harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, image)
    await found_absent(harness, image)
    harness.sandbox.fault("drop_after_accept" if last_was_accepted else "drop_before_accept")
    await harness.run(harness.jobs.submit, image)
    first, *others = harness.bill()
    harness.sandbox.set(history_hidden=False)
    await harness.as_owner(
        "UPDATE jobs SET state = 'failed', ended_at = now(),"
        """ failure = '{"code": "submission_unknown", "message": "x"}' WHERE job_id = $1""",
        image.job_id,
    )
    await harness.as_owner(
        "UPDATE sends SET provider_job_id = $2 WHERE job_id = $1 AND number = 1",
        image.job_id,
        first["provider_job_id"],
    )
    if not last_was_accepted:
        await make_send_older(harness, image, 60)
    async with asyncio.timeout(10):
        while (await harness.charge(image))[0] == "held":
            await harness.open_bills.settle()
            await asyncio.sleep(0.1)
    await settled_like_the_bill(harness, image)
    job = await harness.job(image)
    found = [] if job.handle is None else [job.handle.provider_job_id]
    assert found == [line["provider_job_id"] for line in others]
    assert len(others) == last_was_accepted
    assert [orphan["provider_job_id"] for orphan in await orphans(harness, image)] == [
        first["provider_job_id"]
    ]
