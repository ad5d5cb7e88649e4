"""Recovery of sends with users' own keys: no other key is used for them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import ProviderKeyId
from core.domain.messages.jobs import FindOutcome
from core.domain.states import JobState
from core.maintenance.restores.histories import JobFate, RecordedJob
from core.maintenance.restores.recovery import Recovery
from core.store.recovery.start_memo import StartMemo
from tests.activities.test_own_keys import (
    ALICE,
    ALICE_NEW,
    accounts,
    erased,
    keys_of,
    put,
    with_key,
)
from tests.maintenance.test_recovery import FakeHistories, document, forget, recorded, recover, sent
from tests.support.activity_harness import ActivityHarness
from tests.support.rows import Accepted as AcceptedRows

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G1")]

LOST = """
WITH values_lost AS (DELETE FROM secrets WHERE kind LIKE 'provider_key/%') DELETE FROM provider_keys
"""


async def lost_answer(harness: ActivityHarness) -> tuple[AcceptedRows, ProviderKeyId, StartMemo]:
    """A send with a user's own key that was accepted, and never answered: its history names
    no key.
    """
    one, key = await with_key(harness, ALICE)
    accepted = await document(harness, one)
    order = harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(order) == 1
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    return one, key, accepted


def unanswered(accepted: StartMemo) -> RecordedJob:
    return RecordedJob(
        fate=JobFate.UNKNOWN,
        send_number=1,
        at=datetime.now(UTC),
        provider_key_id=accepted.current_key("replicate"),
    )


async def recovered(
    harness: ActivityHarness,
    monkeypatch: pytest.MonkeyPatch,
    one: AcceptedRows,
    accepted: StartMemo,
    past: RecordedJob,
) -> Recovery:
    return await recover(
        harness, monkeypatch, FakeHistories(recorded(accepted, {one.image.job_id: past}))
    )


async def test_recover_asks_with_the_key_that_the_history_names(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, key = await with_key(harness, ALICE)
    accepted = await document(harness, one)
    result = await harness.run(harness.jobs.submit, one.image)
    past = replace(
        await sent(harness, one.image), provider_key_id=result.provider_key_id, key_known=True
    )
    assert past.provider_key_id == key
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    await forget(harness)
    await put(harness, one.user_id, ALICE_NEW)
    await recovered(harness, monkeypatch, one, accepted, past)
    image = await harness.job(one.image)
    assert (image.state, image.provider_key_id) == (JobState.COMPLETED, key)
    assert set(keys_of(harness, "status")) == {ALICE}
    assert await harness.charge(one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])


async def test_recover_makes_no_call_without_the_original_key(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, key = await with_key(harness, ALICE)
    accepted = await document(harness, one)
    await harness.run(harness.jobs.submit, one.image)
    past = replace(await sent(harness, one.image), provider_key_id=key, key_known=True)
    await forget(harness)
    await harness.as_owner(LOST)
    harness.jobs.keys._cache.clear()  # pyright: ignore[reportPrivateUsage] - as in a process that has never opened it
    recovery = await recovered(harness, monkeypatch, one, accepted, past)
    image = await harness.job(one.image)
    assert (image.state, image.provider_key_id) == (JobState.SUBMITTED, key)
    assert any("settle the job by hand" in line for line in recovery.for_operator)
    await harness.as_owner(
        "UPDATE jobs SET deadline_at = now() WHERE job_id = $1", one.image.job_id
    )
    await harness.run(harness.jobs.wait, one.image)
    assert keys_of(harness, "status") == []
    assert await harness.charge(one.image) == ("held", 0)


async def test_recover_looks_up_a_send_with_its_original_key(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, key, accepted = await lost_answer(harness)
    assert accepted.current_key("replicate") == key
    await forget(harness)
    await recovered(harness, monkeypatch, one, accepted, unanswered(accepted))
    image = await harness.job(one.image)
    assert (image.state, image.provider_key_id) == (JobState.UNKNOWN, key)
    assert (await harness.run(harness.jobs.find, one.image)).outcome is FindOutcome.FOUND
    assert set(keys_of(harness, "list")) == {ALICE}
    assert accounts(harness) == ["alice"]


@pytest.mark.parametrize("how", ["replaced about then", "forgotten"])
async def test_recover_leaves_an_ambiguous_key_to_the_operator(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The list of a wrong account would show nothing, and what was bought would be bought again."""
    one, _, accepted = await lost_answer(harness)
    past = unanswered(accepted)
    await forget(harness)
    if how == "forgotten":
        await harness.as_owner(LOST)
    else:
        await put(harness, one.user_id, ALICE_NEW)
        past = replace(past, at=past.at - timedelta(minutes=1))
    recovery = await recovered(harness, monkeypatch, one, accepted, past)
    image = await harness.job(one.image)
    assert image.failure is not None
    assert (image.state, image.failure.code) == (JobState.FAILED, FailureCode.SUBMISSION_UNKNOWN)
    assert len(recovery.for_operator) == 1
    await harness.as_owner("UPDATE executions SET status = 'failed', ended_at = now()")
    await harness.as_owner("UPDATE jobs SET updated_at = now() - interval '1 hour'")
    await harness.open_bills.settle()
    assert keys_of(harness, "list") == []
    assert await harness.charge(one.image) == ("held", 0)
    await erased(harness)
