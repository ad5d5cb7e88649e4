"""A database that forgot with whose key something was bought: nobody is asked with another."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import ProviderKeyId
from core.domain.messages.jobs import FindOutcome
from core.domain.states import JobState
from core.maintenance.recovery import JobFate, JobPast, Recovery
from core.store.recovery.start_memo import Accepted
from tests.activities.bench import Bench
from tests.activities.test_own_keys import (
    ALICE,
    ALICE_NEW,
    accounts,
    erased,
    keys_of,
    put,
    with_key,
)
from tests.activities.test_recovery import Past, document, forget, past_of, recover, sent
from tests.support.rows import Accepted as AcceptedRows

pytestmark = pytest.mark.usefixtures("no_mark")

LOST = "DELETE FROM provider_keys"


async def lost_answer(bench: Bench) -> tuple[AcceptedRows, ProviderKeyId, Accepted]:
    """A send with a user's own key that was accepted, and never answered: its history names
    no key.
    """
    one, key = await with_key(bench, ALICE)
    accepted = await document(bench, one)
    order = bench.sandbox.fault("drop_after_accept")
    await bench.run(bench.jobs.submit, one.image)
    assert bench.sandbox.fired(order) == 1
    await asyncio.to_thread(bench.sandbox.wait_until, lambda: bench.bill()[0]["state"] != "open")
    return one, key, accepted


def unanswered(accepted: Accepted) -> JobPast:
    return JobPast(
        fate=JobFate.UNKNOWN,
        send_number=1,
        at=datetime.now(UTC),
        provider_key_id=accepted.current_key("replicate"),
    )


async def recovered(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    one: AcceptedRows,
    accepted: Accepted,
    past: JobPast,
) -> Recovery:
    return await recover(bench, monkeypatch, Past(past_of(accepted, {one.image.job_id: past})))


async def test_recover_asks_with_the_key_that_the_history_names(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, key = await with_key(bench, ALICE)
    accepted = await document(bench, one)
    result = await bench.run(bench.jobs.submit, one.image)
    past = replace(
        await sent(bench, one.image), provider_key_id=result.provider_key_id, key_known=True
    )
    assert past.provider_key_id == key
    await asyncio.to_thread(bench.sandbox.wait_until, lambda: bench.bill()[0]["state"] != "open")
    await forget(bench)
    await put(bench, one.user_id, ALICE_NEW)
    await recovered(bench, monkeypatch, one, accepted, past)
    image = await bench.job(one.image)
    assert (image.state, image.provider_key_id) == (JobState.COMPLETED, key)
    assert set(keys_of(bench, "status")) == {ALICE}
    assert await bench.charge(one.image) == ("settled", bench.bill()[0]["billed_nano_usd"])


async def test_recover_asks_nobody_about_what_was_bought_with_a_key_that_is_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, key = await with_key(bench, ALICE)
    accepted = await document(bench, one)
    await bench.run(bench.jobs.submit, one.image)
    past = replace(await sent(bench, one.image), provider_key_id=key, key_known=True)
    await forget(bench)
    await bench.as_owner(LOST)
    bench.jobs.keys._kept.clear()  # pyright: ignore[reportPrivateUsage] - as in a process that has never opened it
    recovery = await recovered(bench, monkeypatch, one, accepted, past)
    image = await bench.job(one.image)
    assert (image.state, image.provider_key_id) == (JobState.SUBMITTED, key)
    assert any("settle it by hand" in line for line in recovery.for_a_person)
    await bench.as_owner("UPDATE jobs SET deadline_at = now() WHERE job_id = $1", one.image.job_id)
    await bench.run(bench.jobs.wait, one.image)
    assert keys_of(bench, "status") == []
    assert await bench.charge(one.image) == ("held", 0)


async def test_recover_looks_up_a_send_that_was_never_answered_with_the_key_of_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, key, accepted = await lost_answer(bench)
    assert accepted.current_key("replicate") == key
    await forget(bench)
    await recovered(bench, monkeypatch, one, accepted, unanswered(accepted))
    image = await bench.job(one.image)
    assert (image.state, image.provider_key_id) == (JobState.UNKNOWN, key)
    assert (await bench.run(bench.jobs.find, one.image)).outcome is FindOutcome.FOUND
    assert set(keys_of(bench, "list")) == {ALICE}
    assert accounts(bench) == ["alice"]


@pytest.mark.parametrize("how", ["replaced about then", "forgotten"])
async def test_recover_leaves_a_send_to_a_person_if_several_keys_could_be_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The list of a wrong account would show nothing, and what was bought would be bought again."""
    one, _, accepted = await lost_answer(bench)
    past = unanswered(accepted)
    await forget(bench)
    if how == "forgotten":
        await bench.as_owner(LOST)
    else:
        await put(bench, one.user_id, ALICE_NEW)
        past = replace(past, at=past.at - timedelta(minutes=1))
    recovery = await recovered(bench, monkeypatch, one, accepted, past)
    image = await bench.job(one.image)
    assert image.failure is not None
    assert (image.state, image.failure.code) == (JobState.FAILED, FailureCode.SUBMISSION_UNKNOWN)
    assert len(recovery.for_a_person) == 1
    await bench.as_owner("UPDATE executions SET status = 'failed', ended_at = now()")
    await bench.as_owner("UPDATE jobs SET updated_at = now() - interval '1 hour'")
    await bench.late_bills.settle()
    assert keys_of(bench, "list") == []
    assert await bench.charge(one.image) == ("held", 0)
    await erased(bench)
