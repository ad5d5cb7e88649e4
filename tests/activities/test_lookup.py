"""Looking for a send of unknown fate: how long, and what a cancel changes."""

import asyncio
import dataclasses
import json
import time

import pytest
from temporalio.testing import ActivityEnvironment

from core.domain.failures import FailureCode
from core.domain.messages.executions import CancelInput
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitOutcome
from core.domain.states import JobState
from core.platform.temporal.policies import CANCEL_GRACE
from core.providers.registry import Providers
from tests.support.activity_harness import FLUX, REPLICATE_FLUX, ActivityHarness, provider_settings
from tests.support.rows import Accepted

pytestmark = pytest.mark.guarantee("G1")

WOKEN_SECONDS = 1.5
HORIZON_SECONDS = 6.0
OLDER = "UPDATE sends SET sent_at = sent_at - make_interval(secs => $2) WHERE job_id = $1"
LATE = "UPDATE jobs SET deadline_at = now() - interval '1 s' WHERE job_id = $1"
CANCELLED_BEFORE = """
UPDATE executions SET cancel_requested_at = now() - make_interval(secs => $2), cancel_reason = 'enough'
WHERE execution_id = $1
"""


async def unknown(harness: ActivityHarness, fault: str = "drop_before_accept") -> Accepted:
    """An image whose send no list shows."""
    one = await harness.accepted()
    harness.sandbox.set(history_hidden=True)
    order = harness.sandbox.fault(fault)
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    return one


async def make_send_older(harness: ActivityHarness, image: JobRef, seconds: float) -> None:
    await harness.as_owner(OLDER, image.job_id, seconds)


async def test_find_continues_past_the_deadline_until_the_horizon(
    harness: ActivityHarness,
) -> None:
    """A worker killed between intent and POST: its execution completes, whatever the horizon is."""
    image = (await unknown(harness)).image
    await harness.as_owner(LATE, image.job_id)
    looking = asyncio.create_task(harness.run(harness.jobs.find, image))
    await asyncio.sleep(2.5)
    assert not looking.done(), "it was given up, or held to be absent, before its horizon"
    await make_send_older(harness, image, 60)
    assert (await looking).outcome is FindOutcome.ABSENT
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    assert len(harness.bill()) == 1


@pytest.mark.parametrize("behind_seconds", [45.0, 600.0])
@pytest.mark.parametrize("provider", ["replicate", "fal"])
async def test_send_is_found_at_a_provider_whose_clock_is_behind(
    harness: ActivityHarness, provider: str, behind_seconds: float
) -> None:
    """The answer is lost and no callback arrives: it is listed minutes before its own send."""
    model = REPLICATE_FLUX if provider == "replicate" else FLUX
    image = (await harness.accepted(image_model=model, image_provider=provider)).image
    harness.sandbox.set(clock_behind_seconds=behind_seconds)
    order = harness.sandbox.fault("drop_after_accept")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    await harness.as_owner(OLDER, image.job_id, HORIZON_SECONDS)
    assert (await harness.run(harness.jobs.find, image)).outcome is FindOutcome.FOUND
    assert len(harness.bill()) == 1


async def test_list_with_another_clock_proves_no_absence(harness: ActivityHarness) -> None:
    image = (await unknown(harness)).image
    harness.sandbox.set(clock_behind_seconds=45.0)
    await make_send_older(harness, image, 60)
    looking = asyncio.create_task(harness.run(harness.jobs.find, image))
    await asyncio.to_thread(harness.sandbox.wait_until, lambda: lists(harness) >= 3)
    assert not looking.done()
    looking.cancel()


async def test_rebuilt_send_is_found_at_the_end_of_its_interval(harness: ActivityHarness) -> None:
    """Its activity was scheduled 25 minutes before its worker could send."""
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("drop_after_accept")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    await harness.as_owner(
        "UPDATE sends SET sent_until = sent_at, sent_at = sent_at - interval '25 min'"
        " WHERE job_id = $1",
        image.job_id,
    )
    assert (await harness.run(harness.jobs.find, image)).outcome is FindOutcome.FOUND
    assert len(harness.bill()) == 1


async def test_later_job_in_the_list_shortens_the_wait(harness: ActivityHarness) -> None:
    """fal's history has caught up once it shows a later send that ended later."""
    usual = provider_settings(harness.sandbox.url)
    settings = usual.model_copy(update={"fal_image_horizon_seconds": 1080})
    async with Providers.open(settings) as providers:
        jobs = dataclasses.replace(harness.jobs, providers=providers)
        first, later = [
            (await harness.accepted(image_model=FLUX, image_provider="fal")).image for _ in range(2)
        ]
        order = harness.sandbox.fault("drop_before_accept")
        assert (await harness.run(jobs.submit, first)).outcome is SubmitOutcome.UNKNOWN
        assert harness.sandbox.fired(order) == 1
        await make_send_older(harness, first, 200)
        looking = asyncio.create_task(harness.run(jobs.find, first))
        await asyncio.to_thread(harness.sandbox.wait_until, lambda: lists(harness) >= 3)
        assert not looking.done()
        assert (await harness.run(jobs.submit, later)).outcome is SubmitOutcome.SUBMITTED
        assert (await harness.run(jobs.wait, later)).state is JobState.COMPLETED
        harness.wakeups.wake_all()
        assert (await looking).outcome is FindOutcome.ABSENT


def lists(harness: ActivityHarness) -> int:
    """Return how many list calls the sandbox has received."""
    calls = harness.sandbox.client.get("/__control/calls").json()["calls"]
    return sum(call["operation"] == "list" for call in calls)


@pytest.mark.parametrize("unread", [0, 2])
async def test_late_find_ends_with_the_proof_that_is_under_way(
    harness: ActivityHarness, unread: int
) -> None:
    """A look-up that an outage held up for longer than the deadline: one look proves nothing."""
    image = (await unknown(harness)).image
    await harness.as_owner(LATE, image.job_id)
    await make_send_older(harness, image, 600)
    faults = [
        harness.sandbox.fault("error_5xx_before_accept", operation="list", params={"status": 503})
        for _ in range(unread)
    ]
    assert (await harness.run(harness.jobs.find, image)).outcome is FindOutcome.ABSENT
    assert [harness.sandbox.fired(fault) for fault in faults] == [1] * unread


async def test_lost_try_of_find_leaves_its_look(harness: ActivityHarness) -> None:
    """Otherwise workers that are killed often would never prove an absence."""
    usual = provider_settings(harness.sandbox.url)
    settings = usual.model_copy(update={"lookup_confirm_seconds": 3600})
    async with Providers.open(settings) as providers:
        jobs = dataclasses.replace(harness.jobs, providers=providers)
        image = (await unknown(harness)).image
        await make_send_older(harness, image, 60)
        first, looked, kept = ActivityEnvironment(), asyncio.Event(), list[str]()

        def keep(*details: object) -> None:
            if details:
                kept.append(json.dumps(details))
                looked.set()

        first.on_heartbeat = keep
        looking = asyncio.create_task(harness.run(jobs.find, image, environment=first))
        await asyncio.wait_for(looked.wait(), 20)
        looking.cancel()
        (look,) = json.loads(kept[-1])
        second = ActivityEnvironment()
        second.info = dataclasses.replace(
            second.info, heartbeat_details=[look | {"absent_at": look["absent_at"] - 3600}]
        )
        found = await harness.run(jobs.find, image, environment=second)
    assert found.outcome is FindOutcome.ABSENT


async def test_cancel_wakes_find_which_looks_for_the_grace(
    harness: ActivityHarness,
) -> None:
    """What was accepted all the same is found then, and can be cancelled."""
    one = await unknown(harness, "drop_after_accept")
    looking = asyncio.create_task(harness.run(harness.jobs.find, one.image))
    await asyncio.sleep(2.0)  # the next look is due in two seconds or more
    assert not looking.done()
    harness.sandbox.set(history_hidden=False)
    cancelled = time.monotonic()
    await harness.run(harness.executions.cancel, CancelInput(execution=one.ref, reason="enough"))
    assert (await looking).outcome is FindOutcome.FOUND
    assert time.monotonic() - cancelled < WOKEN_SECONDS


async def test_cancelled_find_gives_up_after_the_grace(
    harness: ActivityHarness,
) -> None:
    one = await unknown(harness, "drop_after_accept")
    await harness.as_owner(CANCELLED_BEFORE, one.execution_id, CANCEL_GRACE.total_seconds() + 1)
    found = await harness.run(harness.jobs.find, one.image)
    assert found.outcome is FindOutcome.GIVEN_UP
    assert found.failure is not None
    assert found.failure.code is FailureCode.SUBMISSION_UNKNOWN
    assert await harness.charge(one.image) == ("held", 0)


async def test_wait_is_woken_by_a_cancel(harness: ActivityHarness) -> None:
    """The end of a cancelled job is read long before the next look is due."""
    one = await harness.accepted()
    harness.sandbox.set(image_seconds=1.0)
    await harness.run(harness.jobs.submit, one.image)
    await harness.as_owner(
        "UPDATE jobs SET next_look_at = now() + interval '1 h' WHERE job_id = $1",
        one.image.job_id,
    )
    waiting = asyncio.create_task(harness.run(harness.jobs.wait, one.image))
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    await asyncio.sleep(0.3)
    assert not waiting.done()
    cancelled = time.monotonic()
    await harness.run(harness.executions.cancel, CancelInput(execution=one.ref, reason="enough"))
    assert (await waiting).state is JobState.COMPLETED
    assert time.monotonic() - cancelled < WOKEN_SECONDS
