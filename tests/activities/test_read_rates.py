"""Lists, cancels and reads of files' addresses pass the rate of their key's reads."""

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

import core.jobs.provider_reads
from core.domain.messages.jobs import CancelOutcome, FindOutcome, SubmitOutcome
from core.domain.states import JobState
from tests.support.activity_harness import ActivityHarness

pytestmark = pytest.mark.guarantee("G7")

USE_UP = """
INSERT INTO rate_limits (subject, class, arrival_at)
VALUES ('provider/replicate/urgent', 'reads', now() + interval '11900 ms')
ON CONFLICT (subject, class) DO UPDATE SET arrival_at = EXCLUDED.arrival_at
"""
FREE = "DELETE FROM rate_limits"
COUNT = "SELECT subject FROM rate_limits WHERE subject LIKE 'provider/%' ORDER BY subject"


def calls(harness: ActivityHarness, operation: str) -> int:
    made = harness.sandbox.client.get("/__control/calls").json()["calls"]
    return [call["operation"] for call in made].count(operation)


async def counted(harness: ActivityHarness) -> list[str]:
    async with harness.database.as_system() as conn:
        return [row["subject"] for row in await conn.fetch(COUNT)]


async def test_cancel_waits_for_the_rate(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    harness.sandbox.fault("stuck")
    await harness.run(harness.jobs.submit, image)
    await harness.as_owner(USE_UP)
    with pytest.raises(ApplicationError) as deferred:
        await harness.run(harness.jobs.cancel, image)
    assert deferred.value.next_retry_delay is not None
    assert calls(harness, "cancel") == 0
    await harness.as_owner(FREE)
    await harness.as_owner("UPDATE jobs SET cancel_sent_at = NULL")
    assert (await harness.run(harness.jobs.cancel, image)).outcome is CancelOutcome.CANCELLED
    assert calls(harness, "cancel") == 1
    assert "provider/replicate/urgent" in await counted(harness)


async def test_page_of_a_list_waits_for_the_rate(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.jobs.provider_reads, "PATIENCE_SECONDS", 60.0)
    image = (await harness.accepted()).image
    order = harness.sandbox.fault("drop_after_accept")
    assert (await harness.run(harness.jobs.submit, image)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    await harness.as_owner(USE_UP)
    looking = asyncio.create_task(harness.run(harness.jobs.find, image))
    await asyncio.sleep(1.0)
    assert (calls(harness, "list"), looking.done()) == (0, False)
    await harness.as_owner(FREE)
    assert (await looking).outcome is FindOutcome.FOUND
    assert calls(harness, "list") >= 1
    assert "provider/replicate/urgent" in await counted(harness)


async def test_address_of_a_file_waits_for_the_rate(harness: ActivityHarness) -> None:
    image = (await harness.accepted()).image
    await harness.run(harness.jobs.submit, image)
    assert (await harness.run(harness.jobs.wait, image)).state is JobState.COMPLETED
    order = harness.sandbox.fault("refuse", operation="file", params={"status": 403})
    await harness.as_owner(USE_UP)
    read = calls(harness, "status")
    with pytest.raises(ApplicationError):
        await harness.run(harness.assets.store, image)
    assert harness.sandbox.fired(order) == 1
    assert calls(harness, "status") == read
    await harness.as_owner(FREE)
    again = harness.sandbox.fault("refuse", operation="file", params={"status": 403})
    assert (await harness.run(harness.assets.store, image)).asset_id is not None
    assert harness.sandbox.fired(again) == 1
    assert calls(harness, "status") == read + 1
    assert "provider/replicate/urgent" in await counted(harness)
