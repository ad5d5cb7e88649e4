"""Waits whose only try is lost with its worker, after the job has ended."""

import pytest

import core.jobs.waiting.poll_schedule
import core.jobs.waiting.poller
from tests.activities.test_poller import (
    not_pending,
    submitted,
    until_no_look,
    until_waits,
    waiting,
)
from tests.support.activity_harness import ActivityHarness, polling

pytestmark = pytest.mark.guarantee("G5")


async def test_wait_lost_with_the_end_that_it_read_is_completed(
    still: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All looks have ended before. The worker is killed before Temporal has the result."""
    monkeypatch.setattr(core.jobs.waiting.poller, "COMPLETED_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(core.jobs.waiting.poll_schedule, "NOT_WAITING_SECONDS", 0.05)
    denied = not_pending(still, 1 + core.jobs.waiting.poller.NOT_WAITING_LOOKS + 1)
    image = await submitted(still)
    async with polling(still.poller):
        await until_no_look(still, image)
        await still.run(still.jobs.wait, image, environment=waiting(image))
        await until_waits(still, 1)
        await until_no_look(still, image)
    assert len(denied) == 2 + core.jobs.waiting.poller.NOT_WAITING_LOOKS
