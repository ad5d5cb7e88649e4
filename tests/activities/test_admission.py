"""Admission: jobs wait while a provider refuses calls, has no free slot or limits the rate."""

import asyncio
import dataclasses
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.jobs import JobActivities
from core.domain.failures import FailureCode
from core.domain.messages.jobs import JobRef, SubmitJobResult, SubmitOutcome
from core.domain.states import JobState
from core.jobs.submission.admission import ProviderAdmission
from core.platform.temporal import policies
from core.store.executions.executions import mark_cancel_requested
from core.store.providers.capacity import (
    MIN_PAUSE_SECONDS,
    PAUSE_PROBE_SECONDS,
    PROBE_ANSWER_SECONDS,
    Admitted,
    ProviderState,
    list_states,
    pause_scope,
    reset,
)
from core.store.providers.circuit_breaker import LONGEST_PAUSE_SECONDS, admit, list_tripped, trip
from tests.support.activity_harness import ActivityHarness, polling
from tests.support.rows import Accepted, accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G7")

NAME = "replicate"


async def state(harness: ActivityHarness) -> ProviderState:
    async with harness.database.as_system() as conn:
        return next(one for one in await list_states(conn) if one.provider == NAME)


async def pause_is_over(harness: ActivityHarness) -> None:
    await harness.as_owner("UPDATE provider_states SET quiet_until = now()")
    await harness.as_owner(
        "UPDATE provider_states SET probe_at = now() WHERE tripped_at IS NOT NULL"
    )


async def tripped(harness: ActivityHarness, status: int = 401, times: int = 1) -> JobRef:
    """A job whose create call was refused, by which the breaker was tripped."""
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("refuse", params={"status": status}, times=times)
    result = await harness.run(harness.jobs.submit, image)
    assert harness.sandbox.fired(order) == 1
    assert (result.outcome, result.held_back) == (SubmitOutcome.NOT_SENT, False)
    return image


def limited(harness: ActivityHarness, slots: int) -> JobActivities:
    admission = ProviderAdmission(max_in_flight={NAME: slots})
    return dataclasses.replace(harness.jobs, admission=admission)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, FailureCode.PROVIDER_AUTH_FAILED),
        (402, FailureCode.PROVIDER_CREDIT_EXHAUSTED),
        (403, FailureCode.PROVIDER_AUTH_FAILED),
    ],
)
async def test_open_breaker_defers_every_job_without_a_call(
    harness: ActivityHarness, status: int, code: FailureCode
) -> None:
    image = await tripped(harness, status)
    other = (await harness.accepted()).image
    for job in (image, other):
        result = await harness.run(harness.jobs.submit, job)
        assert (result.outcome, result.held_back) == (SubmitOutcome.NOT_SENT, True)
        assert 0 < result.retry_after_seconds <= policies.DEFERRED_MAX_SECONDS
        assert result.failure is not None
        assert result.failure.code is FailureCode.PROVIDER_NOT_ACCEPTING
        assert (await harness.job(job)).state is JobState.WAITING
        assert await harness.charge(job) == ("held", 0)
    now = await state(harness)
    assert (now.tripped_code, now.tripped_status, now.trips) == (code, status, 1)
    assert len(creates(harness)) == 1
    assert harness.bill() == []


async def test_breaker_closes_after_one_accepted_probe(
    harness: ActivityHarness,
) -> None:
    image = await tripped(harness)
    others = [(await harness.accepted()).image for _ in range(4)]
    await pause_is_over(harness)
    harness.sandbox.set(submit_seconds=0.5)
    results = await asyncio.gather(
        *(harness.run(harness.jobs.submit, job) for job in (image, *others))
    )
    assert sorted(result.outcome for result in results) == [SubmitOutcome.NOT_SENT] * 4 + [
        SubmitOutcome.SUBMITTED
    ]
    assert len(creates(harness)) == 2
    now = await state(harness)
    assert (now.tripped_at, now.trips, now.probe_job_id) == (None, 0, None)
    for job in (image, *others):
        assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.SUBMITTED
    assert len(harness.bill()) == 5


async def test_breaker_backoff_doubles_up_to_15_minutes(
    harness: ActivityHarness,
) -> None:
    image = await tripped(harness, times=-1)
    pauses: list[int] = []
    for _ in range(6):
        await pause_is_over(harness)
        assert (await harness.run(harness.jobs.submit, image)).held_back is False
        pauses.append(await pause_seconds(harness))
        assert (await harness.run(harness.jobs.submit, image)).held_back is True
    assert pauses == [
        120,
        240,
        480,
        LONGEST_PAUSE_SECONDS,
        LONGEST_PAUSE_SECONDS,
        LONGEST_PAUSE_SECONDS,
    ]
    assert len(creates(harness)) == 7
    assert harness.bill() == []


async def pause_seconds(harness: ActivityHarness) -> int:
    async with harness.database.as_system() as conn:
        (found,) = await list_tripped(conn, [NAME])
    return round(found.seconds / 10) * 10


async def test_refusals_of_concurrent_sends_do_not_extend_the_pause(
    harness: ActivityHarness,
) -> None:
    await tripped(harness)
    other = (await harness.accepted()).image
    async with harness.database.as_system() as conn:
        again = await trip(conn, NAME, other.job_id, FailureCode.PROVIDER_CREDIT_EXHAUSTED, 402)
    assert not again.fresh
    now = await state(harness)
    assert (now.trips, now.tripped_status, await pause_seconds(harness)) == (1, 401, 60)


async def test_job_refused_until_the_deadline_fails_with_the_refusal(
    harness: ActivityHarness,
) -> None:
    image = await tripped(harness)
    never = (await harness.accepted()).image
    for job, code in (
        (image, FailureCode.PROVIDER_AUTH_FAILED),
        (never, FailureCode.PROVIDER_NOT_ACCEPTING),
    ):
        await harness.as_owner(
            "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", job.execution_id
        )
        result = await harness.run(harness.jobs.submit, job)
        assert result.outcome is SubmitOutcome.REFUSED
        assert result.failure is not None
        assert result.failure.code is code
        assert await harness.charge(job) == ("released", 0)


async def test_job_of_a_cancelled_execution_is_not_held_back(harness: ActivityHarness) -> None:
    await tripped(harness)
    one = await harness.accepted()
    async with harness.database.as_user(one.user_id) as conn:
        assert await mark_cancel_requested(conn, one.execution_id, "enough", generation=1)
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.STOPPED


async def test_probe_with_neutral_result_leaves_the_breaker_open(
    harness: ActivityHarness,
) -> None:
    image = await tripped(harness)
    await pause_is_over(harness)
    harness.sandbox.fault("refuse", params={"status": 422})
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.REFUSED
    other = (await harness.accepted()).image
    assert (await harness.run(harness.jobs.submit, other)).held_back is True
    await pause_is_over(harness)
    assert (await harness.run(harness.jobs.submit, other)).outcome is SubmitOutcome.SUBMITTED
    assert (await state(harness)).tripped_at is None


async def test_one_probe_is_admitted_after_the_pause(
    harness: ActivityHarness,
) -> None:
    await tripped(harness)

    async def admitted() -> int:
        async with harness.database.as_system() as conn:
            return sum([await admit(conn, NAME) for _ in range(5)])

    assert await admitted() == 0
    await pause_is_over(harness)
    assert await admitted() == 1
    async with harness.database.as_system() as conn:
        assert await reset(conn, NAME) is not None
        assert await reset(conn, NAME) is None
    assert await admitted() == 0


async def test_concurrency_limit_holds_for_submits_of_two_workers(
    harness: ActivityHarness,
) -> None:
    most, jobs = 3, [(await harness.accepted()).image for _ in range(10)]
    harness.sandbox.set(image_seconds=30.0)
    workers = [limited(harness, most), limited(harness, most)]
    results = await asyncio.gather(
        *(harness.run(workers[number % 2].submit, job) for number, job in enumerate(jobs))
    )
    sent = [result for result in results if result.outcome is SubmitOutcome.SUBMITTED]
    assert len(sent) == len(harness.bill()) == most
    assert {result.outcome for result in results if result.held_back} == {SubmitOutcome.NOT_SENT}
    assert len([result for result in results if result.held_back]) == len(jobs) - most
    assert (await state(harness)).in_flight == most


async def test_waiting_submit_takes_a_freed_slot(
    harness: ActivityHarness,
) -> None:
    one, two = (await harness.accepted()).image, (await harness.accepted()).image
    narrow = limited(harness, 1)
    assert (await harness.run(narrow.submit, one)).outcome is SubmitOutcome.SUBMITTED
    waiting = asyncio.create_task(harness.run(narrow.submit, two))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await harness.run(narrow.wait, one)
    await harness.run(narrow.settle, one)
    assert (await waiting).outcome is SubmitOutcome.SUBMITTED


async def test_slot_goes_to_the_user_with_fewest_jobs(
    still: ActivityHarness,
) -> None:
    big, small = await new_user(still.database), await new_user(still.database)

    async def order(user: Any) -> Accepted:
        new = new_execution(user, image_model="black-forest-labs/flux-schnell", image_provider=NAME)
        return await accept(still.database, new)

    running = [(await order(big)).image for _ in range(2)]
    narrow = limited(still, 2)
    still.sandbox.fault("stuck", times=1)
    for job in running:
        assert (await still.run(narrow.submit, job)).outcome is SubmitOutcome.SUBMITTED
    queue = [
        asyncio.create_task(still.run(narrow.submit, (await order(big)).image)) for _ in range(6)
    ]
    await asyncio.sleep(0.7)
    late = asyncio.create_task(still.run(narrow.submit, (await order(small)).image))
    await asyncio.sleep(1.5)
    async with polling(still.poller):  # no other job ends
        await still.run(narrow.wait, running[1])
    assert (await late).outcome is SubmitOutcome.SUBMITTED
    results: list[SubmitJobResult] = await asyncio.gather(*queue)
    assert {result.held_back for result in results} == {True}


async def test_retry_after_pauses_every_job_of_the_provider(
    harness: ActivityHarness,
) -> None:
    jobs = [(await harness.accepted()).image for _ in range(3)]
    harness.sandbox.fault("refuse_429", params={"retry_after": "7"})
    assert (await harness.run(harness.jobs.submit, jobs[0])).retry_after_seconds == 7.0
    for job in jobs[1:]:
        deferred = await harness.run(harness.jobs.submit, job)
        assert (deferred.outcome, deferred.held_back) == (SubmitOutcome.NOT_SENT, True)
        assert 0 < deferred.retry_after_seconds <= 7
    assert len(creates(harness)) == 1
    await pause_is_over(harness)
    for job in jobs:
        assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.SUBMITTED


async def test_longest_pause_counts_and_429_without_retry_after_pauses_too(
    harness: ActivityHarness,
) -> None:
    async with harness.database.as_system() as conn:
        pauses = [await pause_scope(conn, NAME, seconds) for seconds in (3.0, 20.0, 0.0)]
        left: float = await conn.fetchval(
            "SELECT extract(epoch FROM quiet_until - clock_timestamp())::float8 FROM provider_states"
        )
    assert pauses == [3.0, 20.0, MIN_PAUSE_SECONDS]
    assert 15 < left <= 20


ABSURD: dict[str, Any] = {"retry_after": "1000000000"}


async def pause_is_probed(harness: ActivityHarness) -> None:
    """Let the time until the next probe of a long pause pass, but not the pause."""
    assert await pause_left(harness) > PAUSE_PROBE_SECONDS
    await harness.as_owner("UPDATE provider_states SET probe_at = now()")


async def pause_left(harness: ActivityHarness) -> float:
    async with harness.database.as_system() as conn:
        return await conn.fetchval(
            "SELECT extract(epoch FROM quiet_until - clock_timestamp())::float8 FROM provider_states"
        )


async def test_absurd_retry_after_is_probed_with_a_single_send(harness: ActivityHarness) -> None:
    first, *others = [(await harness.accepted()).image for _ in range(4)]
    order = harness.sandbox.fault("refuse_429", params=ABSURD)
    refused = await harness.run(harness.jobs.submit, first)
    assert refused.retry_after_seconds == PAUSE_PROBE_SECONDS
    for job in others:
        deferred = await harness.run(harness.jobs.submit, job)
        assert deferred.held_back
        assert 0 < deferred.retry_after_seconds <= PAUSE_PROBE_SECONDS
    assert len(creates(harness)) == 1
    await pause_is_probed(harness)
    harness.sandbox.set(submit_seconds=0.5)
    results = await asyncio.gather(
        *(harness.run(harness.jobs.submit, job) for job in (first, *others))
    )
    assert [result.outcome for result in results].count(SubmitOutcome.SUBMITTED) == 1
    assert all(
        result.retry_after_seconds <= PROBE_ANSWER_SECONDS
        for result in results
        if result.outcome is SubmitOutcome.NOT_SENT
    )
    assert (len(creates(harness)), harness.sandbox.fired(order)) == (2, 1)
    now = await state(harness)
    assert (now.quiet_until, now.probe_at, now.probe_job_id) == (None, None, None)
    for job in (first, *others):
        assert (await harness.run(harness.jobs.submit, job)).outcome is SubmitOutcome.SUBMITTED


@pytest.mark.parametrize(("seconds", "probed"), [("1000000000", True), ("5", False)])
async def test_refused_probe_renews_the_pause(
    harness: ActivityHarness, seconds: str, probed: bool
) -> None:
    """The newest answer counts, even if its Retry-After is shorter."""
    first, other = [(await harness.accepted()).image for _ in range(2)]
    harness.sandbox.fault("refuse_429", params=ABSURD)
    await harness.run(harness.jobs.submit, first)
    await pause_is_probed(harness)
    order = harness.sandbox.fault("refuse_429", params={"retry_after": seconds})
    await harness.run(harness.jobs.submit, first)
    assert harness.sandbox.fired(order) == 1
    assert (await harness.run(harness.jobs.submit, other)).held_back
    now = await state(harness)
    assert (now.probe_at is not None, now.probe_job_id) == (probed, None)
    assert (await pause_left(harness) > PAUSE_PROBE_SECONDS) is probed
    assert len(creates(harness)) == 2


async def test_sends_already_out_do_not_delay_the_probe(harness: ActivityHarness) -> None:
    first, other = [(await harness.accepted()).image for _ in range(2)]
    harness.sandbox.fault("refuse_429", params=ABSURD)
    await harness.run(harness.jobs.submit, first)
    before = (await state(harness)).probe_at
    async with harness.database.as_system() as conn:
        await pause_scope(conn, NAME, 300.0, other.job_id)
    assert (await state(harness)).probe_at == before


async def test_probe_of_a_pause_that_is_refused_opens_the_breaker(
    harness: ActivityHarness,
) -> None:
    image = (await harness.accepted()).image
    harness.sandbox.fault("refuse_429", params=ABSURD)
    await harness.run(harness.jobs.submit, image)
    await pause_is_probed(harness)
    harness.sandbox.fault("refuse", params={"status": 402})
    await harness.run(harness.jobs.submit, image)
    now = await state(harness)
    assert (now.tripped_status, now.trips, now.probe_job_id) == (402, 1, None)
    await pause_is_over(harness)
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert (await state(harness)).tripped_at is None


async def test_rate_limited_probe_leaves_the_breaker_open(harness: ActivityHarness) -> None:
    image = await tripped(harness)
    await pause_is_over(harness)
    harness.sandbox.fault("refuse_429", params=ABSURD)
    await harness.run(harness.jobs.submit, image)
    now = await state(harness)
    assert (now.tripped_status, now.probe_job_id) == (401, None)
    assert now.probe_at is not None


async def test_slot_wait_ends_at_once_when_the_worker_stops(
    harness: ActivityHarness,
) -> None:
    one, two = (await harness.accepted()).image, (await harness.accepted()).image
    harness.sandbox.set(image_seconds=30.0)
    narrow = limited(harness, 1)
    await harness.run(narrow.submit, one)
    environment = ActivityEnvironment()
    waiting = asyncio.create_task(environment.run(narrow.submit, two))
    await asyncio.sleep(0.3)
    environment.worker_shutdown()
    result = await asyncio.wait_for(waiting, 2)
    assert (result.outcome, result.held_back) == (SubmitOutcome.NOT_SENT, True)


def creates(harness: ActivityHarness) -> list[dict[str, Any]]:
    calls = harness.sandbox.client.get("/__control/calls").json()["calls"]
    return [call for call in calls if call["operation"] == "create"]


async def test_stalled_worker_occupies_only_its_own_slot(
    harness: ActivityHarness,
) -> None:
    one, two, three = [(await harness.accepted()).image for _ in range(3)]
    harness.sandbox.set(image_seconds=30.0)
    narrow = limited(harness, 2)
    took, go_on = asyncio.Event(), asyncio.Event()

    async def stand_still() -> None:
        async with harness.database.as_user(one.user_id) as conn:
            assert isinstance(await narrow.admission.admit(conn, await harness.job(one)), Admitted)
            took.set()
            await go_on.wait()

    standing = asyncio.create_task(stand_still())
    await took.wait()
    assert (await harness.run(narrow.submit, two)).outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(narrow.submit, three)).held_back is True
    go_on.set()
    await standing
    assert (await harness.run(narrow.submit, three)).outcome is SubmitOutcome.SUBMITTED
    assert len(harness.bill()) == 2
