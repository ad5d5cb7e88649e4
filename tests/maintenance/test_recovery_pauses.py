"""Recovery alongside an operator's pause, and alongside a send that began before its own."""

import asyncio

import pytest

from core.domain.messages.jobs import SubmitOutcome
from core.maintenance.restores.recovery import Recovery
from core.store.jobs.sends import begin_send, mark_waiting
from core.store.jobs.submit_pauses import ALL, list_pauses, pause
from tests.maintenance.test_recovery import FakeHistories, recover
from tests.support.activity_harness import ActivityHarness

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G1")]


async def test_recover_keeps_the_pause_of_an_operator(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    async with harness.database.as_system() as conn:
        await pause(conn, ALL, "maintenance")
    await recover(harness, monkeypatch, FakeHistories())
    async with harness.database.as_system() as conn:
        assert [found.reason for found in await list_pauses(conn)] == ["maintenance"]
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.NOT_SENT
    assert harness.bill() == []


async def test_recover_waits_for_a_send_that_began_before(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker committed its intent before the pause; recover waits for its answer."""
    one = await harness.accepted()
    waiting = asyncio.Event()
    monkeypatch.setattr("core.maintenance.restores.recovery.SETTLE_SECONDS", 0)
    monkeypatch.setattr("core.maintenance.restores.recovery.IN_FLIGHT_POLL_SECONDS", 0.02)
    past = FakeHistories()
    recovery = Recovery(
        database=harness.database,
        files=harness.assets.files,
        submitter=harness.jobs.submitter,
        histories=past,
        show=lambda line: waiting.set() if "began before the pause" in line else None,
    )
    async with harness.database.as_user(one.user_id) as conn:
        assert await begin_send(conn, one.image, 1, {}, {})
    task = asyncio.create_task(recovery.run(None, "a test"))
    async with asyncio.timeout(10):
        await waiting.wait()
        assert past.since is None, "nothing is read yet"
        async with harness.database.as_user(one.user_id) as conn:
            assert await mark_waiting(conn, one.image.job_id, 1)
        await task
    assert past.since is not None
