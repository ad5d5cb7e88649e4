"""Bought with their users' own keys: whatever is asked about a send is asked with the key it was
made with.

The judge is the provider: every call it has had, with which key, and whose bill it wrote.
"""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from core.domain.failures import FailureCode
from core.domain.ids import ProviderKeyId, UserId
from core.domain.messages.executions import CancelInput
from core.domain.messages.jobs import CancelOutcome, FindOutcome, JobRef, SubmitOutcome, key_scope
from core.domain.states import JobState
from core.jobs.submission.admission import ProviderAdmission, measure_providers
from core.platform.temporal import policies
from core.store.jobs.callbacks import CallbackOutcome
from core.store.providers.capacity import ProviderState, list_states
from core.store.providers.user_keys import delete_key, erase_unused, put_key
from tests.activities.test_stalled_workers import (
    answered_late,
    call_back,
    complete,
    found_absent,
    orphans,
    settled_like_the_bill,
)
from tests.maintenance.test_open_bills import make_older, settled, terminated
from tests.support.activity_harness import REPLICATE_FLUX, ActivityHarness
from tests.support.rows import SEALER, Accepted, accept, new_execution

pytestmark = pytest.mark.guarantee("G1")

SERVICES = "r8_token"
ALICE, ALICE_NEW, BOB = (
    "r8_own-0123456789#alice",
    "r8_new-0123456789#alice-new",
    "r8_own-9876543210#bob",
)
"""Each of an account of its own: what one shows, no other does."""


async def put(harness: ActivityHarness, user_id: UserId, key: str) -> ProviderKeyId:
    async with harness.database.as_user(user_id) as conn:
        return (await put_key(conn, SEALER, user_id, "replicate", key)).provider_key_id


async def remove_key(harness: ActivityHarness, user_id: UserId) -> None:
    async with harness.database.as_user(user_id) as conn:
        assert await delete_key(conn, user_id, "replicate") is not None


async def erased(harness: ActivityHarness) -> list[ProviderKeyId]:
    async with harness.database.as_system() as conn:
        return await erase_unused(conn)


async def with_key(harness: ActivityHarness, key: str) -> tuple[Accepted, ProviderKeyId]:
    one = await harness.accepted()
    return one, await put(harness, one.user_id, key)


async def sent_keys(harness: ActivityHarness, ref: JobRef) -> list[ProviderKeyId | None]:
    async with harness.database.as_user(ref.user_id) as conn:
        rows = await conn.fetch(
            "SELECT provider_key_id FROM sends WHERE job_id = $1 ORDER BY number", ref.job_id
        )
    return [row["provider_key_id"] for row in rows]


def keys_of(harness: ActivityHarness, operation: str) -> list[str]:
    """The keys of all calls of a kind, in their order."""
    calls: list[dict[str, Any]] = harness.sandbox.client.get("/__control/calls").json()["calls"]
    return [call["key"] for call in calls if call["operation"] == operation]


def accounts(harness: ActivityHarness) -> list[str]:
    return [line["account"] for line in harness.bill()]


async def test_own_key_is_used_for_its_user_only(
    harness: ActivityHarness,
) -> None:
    one, key = await with_key(harness, ALICE)
    other = await harness.accepted()
    for ref in (one.image, other.image):
        assert (await harness.run(harness.jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
        await complete(harness, ref)
    assert accounts(harness) == ["alice", ""]
    assert keys_of(harness, "create") == [ALICE, SERVICES]
    assert set(keys_of(harness, "status")) == {ALICE, SERVICES}
    assert (await harness.job(one.image)).provider_key_id == key
    assert await sent_keys(harness, one.image) == [key]
    assert (await harness.job(other.image)).provider_key_id is None
    assert await harness.charge(one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])


async def test_replaced_key_is_used_for_its_own_sends(
    harness: ActivityHarness,
) -> None:
    one, first = await with_key(harness, ALICE)
    result = await harness.run(harness.jobs.submit, one.image)
    assert result.provider_key_id == first
    second = await put(harness, one.user_id, ALICE_NEW)
    assert await erased(harness) == []
    await complete(harness, one.image)
    assert await erased(harness) == []  # its file could have to be asked for again
    await harness.run(harness.assets.store, one.image)
    assert await erased(harness) == [first]
    assert set(keys_of(harness, "status")) == {ALICE}
    assert (await harness.run(harness.jobs.submit, one.video)).provider_key_id == second
    assert accounts(harness) == ["alice", "alice-new"]


async def test_deleted_key_is_used_for_its_own_sends(
    harness: ActivityHarness,
) -> None:
    one, key = await with_key(harness, ALICE)
    await harness.run(harness.jobs.submit, one.image)
    await remove_key(harness, one.user_id)
    assert await erased(harness) == []
    await complete(harness, one.image)
    await harness.run(harness.assets.store, one.image)
    assert set(keys_of(harness, "status")) == {ALICE}
    assert await erased(harness) == [key]
    await harness.run(harness.jobs.submit, one.video)
    assert accounts(harness) == ["alice", ""]
    assert (await harness.job(one.video)).provider_key_id is None


async def test_job_is_ended_at_its_provider_with_its_key(harness: ActivityHarness) -> None:
    one, _ = await with_key(harness, ALICE)
    harness.sandbox.set(image_seconds=30.0)
    await harness.run(harness.jobs.submit, one.image)
    await put(harness, one.user_id, BOB)
    await harness.run(harness.executions.cancel, CancelInput(execution=one.ref, reason="enough"))
    ended = await harness.run(harness.jobs.cancel, one.image)
    assert ended.outcome in (CancelOutcome.CANCELLED, CancelOutcome.REQUESTED)
    assert keys_of(harness, "cancel") == [ALICE]
    assert (await harness.run(harness.jobs.wait, one.image)).state is JobState.CANCELLED


async def test_unknown_send_is_looked_up_with_its_key_and_found(harness: ActivityHarness) -> None:
    one, _ = await with_key(harness, ALICE)
    order = harness.sandbox.fault("drop_after_accept")
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.UNKNOWN
    assert harness.sandbox.fired(order) == 1
    await put(harness, one.user_id, BOB)
    found = await harness.run(harness.jobs.find, one.image)
    assert found.outcome is FindOutcome.FOUND
    assert set(keys_of(harness, "list")) == {ALICE}
    await complete(harness, one.image)
    assert accounts(harness) == ["alice"]


async def test_list_of_another_account_proves_no_absence(
    harness: ActivityHarness,
) -> None:
    """The new key's complete list past the horizon lacks the send, so it must not be used."""
    one, _ = await with_key(harness, ALICE)
    order = harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(order) == 1
    await put(harness, one.user_id, BOB)
    harness.sandbox.set(revoked_keys=[ALICE])
    await make_older(harness, one.image)
    looking = asyncio.create_task(harness.run(harness.jobs.find, one.image))
    await asyncio.sleep(2.0)
    assert not looking.done()
    assert len(keys_of(harness, "list")) > 1
    harness.sandbox.set(revoked_keys=[])
    harness.wakeups.wake_all()
    assert (await looking).outcome is FindOutcome.FOUND
    assert set(keys_of(harness, "list")) == {ALICE}
    assert accounts(harness) == ["alice"]


async def test_resent_job_uses_the_present_key(
    harness: ActivityHarness,
) -> None:
    one, first = await with_key(harness, ALICE)
    zombie = await answered_late(harness, one.image)
    await found_absent(harness, one.image)
    harness.sandbox.set(history_hidden=False)
    second = await put(harness, one.user_id, BOB)
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.SUBMITTED
    assert (await harness.job(one.image)).provider_key_id == second
    assert await sent_keys(harness, one.image) == [first, second]
    assert (await zombie).outcome is SubmitOutcome.UNKNOWN
    await complete(harness, one.image)
    [orphan] = await orphans(harness, one.image)
    assert (
        await harness.job(JobRef(**{**_fields(one.image), "job_id": orphan["job_id"]}))
    ).provider_key_id == first
    assert await erased(harness) == []
    await settled_like_the_bill(harness, one.image)
    assert accounts(harness) == ["alice", "bob"]
    assert await erased(harness) == [first]


def _fields(ref: JobRef) -> dict[str, Any]:
    return {"user_id": ref.user_id, "execution_id": ref.execution_id, "generation": ref.generation}


@pytest.mark.parametrize(
    ("status", "said"), [(401, "Replace the key"), (402, "out of credit"), (403, "Replace the key")]
)
async def test_refused_own_key_fails_only_its_own_execution(
    harness: ActivityHarness, status: int, said: str
) -> None:
    one, key = await with_key(harness, ALICE)
    order = harness.sandbox.fault("refuse", params={"status": status, "account": "alice"}, times=-1)
    result = await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(order) == 1
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_KEY_REFUSED
    assert said in result.failure.message
    assert await harness.charge(one.image) == ("released", 0)
    other, bobs = await harness.accepted(), await with_key(harness, BOB)
    for ref in (other.image, bobs[0].image):
        assert (await harness.run(harness.jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
    assert accounts(harness) == ["", "bob"]
    assert (await harness.job(one.image)).provider_key_id == key


async def test_bill_with_a_refused_key_blocks_no_other_bill(
    harness: ActivityHarness,
) -> None:
    mine, _ = await with_key(harness, ALICE)
    others = [(await with_key(harness, BOB))[0], await harness.accepted()]
    for one in (mine, *others):
        await harness.run(harness.jobs.submit, one.image)
        await terminated(harness, one)
    harness.sandbox.set(revoked_keys=[ALICE])
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: all(line["state"] != "open" for line in harness.bill())
    )
    await harness.open_bills.settle()
    assert ALICE in keys_of(harness, "status")
    for one in others:
        assert (await harness.charge(one.image))[0] == "settled"
    assert await harness.charge(mine.image) == ("held", 0)
    harness.sandbox.set(revoked_keys=[])
    assert (await settled(harness, mine.image))[0] == "settled"


async def test_given_up_send_is_searched_with_its_key(harness: ActivityHarness) -> None:
    one, key = await with_key(harness, ALICE)
    harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    await terminated(harness, one)
    await remove_key(harness, one.user_id)
    assert await erased(harness) == []
    assert (await settled(harness, one.image))[0] == "settled"
    assert set(keys_of(harness, "list") + keys_of(harness, "status")) == {ALICE}
    assert await erased(harness) == [key]


async def test_file_is_asked_for_again_with_its_key(harness: ActivityHarness) -> None:
    """Before it was stored, it is gone."""
    one, _ = await with_key(harness, ALICE)
    await harness.run(harness.jobs.submit, one.image)
    await complete(harness, one.image)
    asked = len(keys_of(harness, "status"))
    order = harness.sandbox.fault("expired_file", params={"status": 410})
    await put(harness, one.user_id, BOB)
    await harness.run(harness.assets.store, one.image)
    assert harness.sandbox.fired(order) == 1
    assert keys_of(harness, "status")[asked:] == [ALICE]


async def test_callbacks_of_a_user_make_at_most_ten_orphans(
    harness: ActivityHarness,
) -> None:
    """Each would be looked up at its provider for as long as it has no bill."""
    one, _ = await with_key(harness, ALICE)
    await harness.run(harness.jobs.submit, one.image)
    outcomes = [await call_back(harness, one.image, 1, f"made-up-{number}") for number in range(13)]
    assert outcomes == [CallbackOutcome.ORPHAN] * 10 + [CallbackOutcome.REFUSED] * 3
    assert len(await orphans(harness, one.image)) == 10


async def second_job(harness: ActivityHarness, user_id: UserId) -> JobRef:
    new = new_execution(user_id, image_model=REPLICATE_FLUX, image_provider="replicate")
    return (await accept(harness.database, new)).image


async def states(harness: ActivityHarness) -> dict[str, ProviderState]:
    async with harness.database.as_system() as conn:
        return {state.provider: state for state in await list_states(conn)}


async def test_slots_are_counted_per_key(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "SLOT_WAIT_SECONDS", 0.5)
    jobs = replace(harness.jobs, admission=ProviderAdmission(max_in_flight={"replicate": 1}))
    harness.sandbox.set(image_seconds=30.0)
    one, key = await with_key(harness, ALICE)
    refs = [one.image, (await harness.accepted()).image, (await with_key(harness, BOB))[0].image]
    for ref in refs:
        assert (await harness.run(jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
    held = await harness.run(jobs.submit, await second_job(harness, one.user_id))
    assert (held.outcome, held.held_back) == (SubmitOutcome.NOT_SENT, True)
    assert {name: state.in_flight for name, state in (await states(harness)).items()} == {
        "replicate": 1,
        key_scope("replicate", key): 1,
        key_scope("replicate", (await harness.job(refs[2])).provider_key_id): 1,
    }
    assert len(harness.bill()) == 3


def own_queue() -> ActivityEnvironment:
    """Return the environment of an activity on the queue of users' own keys."""
    environment = ActivityEnvironment()
    queue = policies.submit_queue("replicate", own_key=True)
    environment.info = replace(environment.info, task_queue=queue)
    return environment


async def test_service_key_is_not_used_on_own_keys_queue(
    harness: ActivityHarness,
) -> None:
    """The key was deleted after the claim: the rate of the service's key is on its own queue."""
    one, _ = await with_key(harness, ALICE)
    await remove_key(harness, one.user_id)
    moved = await harness.run(harness.jobs.submit, one.image, environment=own_queue())
    assert (moved.outcome, moved.held_back, moved.own_key) == (SubmitOutcome.NOT_SENT, True, False)
    assert keys_of(harness, "create") == []
    assert (await harness.job(one.image)).state is JobState.WAITING
    sent = await harness.run(harness.jobs.submit, one.image)
    assert sent.outcome is SubmitOutcome.SUBMITTED
    assert accounts(harness) == [""]


async def test_rate_of_an_own_key_delays_no_other_key(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "SLOT_WAIT_SECONDS", 0.5)
    admission = ProviderAdmission(submits_per_second={"replicate": 0.1})
    jobs = replace(harness.jobs, admission=admission)
    one, key = await with_key(harness, ALICE)
    await harness.run(jobs.submit, one.image, environment=own_queue())
    second = await second_job(harness, one.user_id)
    held = await harness.run(jobs.submit, second, environment=own_queue())
    assert (held.outcome, held.held_back, held.own_key) == (SubmitOutcome.NOT_SENT, True, True)
    other = (await with_key(harness, BOB))[0].image
    sent = await harness.run(jobs.submit, other, environment=own_queue())
    assert sent.outcome is SubmitOutcome.SUBMITTED
    assert (await harness.run(jobs.submit, await services_job(harness))).send_number == 1
    monkeypatch.setattr(policies, "SLOT_WAIT_SECONDS", 10.0)
    await harness.as_owner(
        "UPDATE rate_limits SET arrival_at = now() + interval '1 s' WHERE subject = $1",
        f"provider/{key_scope('replicate', key)}",
    )
    began = time.monotonic()
    sent = await harness.run(jobs.submit, second, environment=own_queue())
    assert sent.outcome is SubmitOutcome.SUBMITTED
    assert time.monotonic() - began > 0.2
    assert accounts(harness) == ["alice", "bob", "", "alice"]


async def services_job(harness: ActivityHarness) -> JobRef:
    return (await harness.accepted()).image


async def test_key_that_is_limited_slows_down_no_other(harness: ActivityHarness) -> None:
    one, key = await with_key(harness, ALICE)
    order = harness.sandbox.fault("refuse_429", params={"account": "alice", "retry_after": "30"})
    result = await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(order) == 1
    assert (result.outcome, result.held_back) == (SubmitOutcome.NOT_SENT, False)
    assert (await harness.run(harness.jobs.submit, one.image)).held_back
    other = await harness.accepted()
    assert (await harness.run(harness.jobs.submit, other.image)).outcome is SubmitOutcome.SUBMITTED
    limited = {
        name for name, state in (await states(harness)).items() if state.quiet_until is not None
    }
    assert limited == {key_scope("replicate", key)}
    await put(harness, one.user_id, ALICE_NEW)  # of another key nothing is known
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.SUBMITTED


async def test_jobs_behind_a_refused_key_continue_with_the_next(
    harness: ActivityHarness,
) -> None:
    one, key = await with_key(harness, ALICE)
    waiting, late = await second_job(harness, one.user_id), await second_job(harness, one.user_id)
    order = harness.sandbox.fault("refuse", params={"status": 402, "account": "alice"}, times=-1)
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.REFUSED
    held = await harness.run(harness.jobs.submit, waiting)
    assert (held.outcome, held.held_back) == (SubmitOutcome.NOT_SENT, True)
    assert held.failure is not None
    assert held.failure.code is FailureCode.PROVIDER_KEY_REFUSED
    assert harness.sandbox.fired(order) == 1
    await harness.as_owner(
        "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", late.execution_id
    )
    failed = await harness.run(harness.jobs.submit, late)
    assert failed.failure is not None
    assert (failed.outcome, failed.failure.code) == (
        SubmitOutcome.REFUSED,
        FailureCode.PROVIDER_KEY_REFUSED,
    )
    await put(harness, one.user_id, ALICE_NEW)
    assert (await harness.run(harness.jobs.submit, waiting)).outcome is SubmitOutcome.SUBMITTED
    assert accounts(harness) == ["alice-new"]
    assert await erased(harness) == [key]
    async with harness.database.as_system() as conn:
        await measure_providers(conn, ["replicate"])
    assert key_scope("replicate", key) not in await states(harness)


async def test_refused_key_is_probed_after_a_pause(
    harness: ActivityHarness,
) -> None:
    one, _ = await with_key(harness, ALICE)
    waiting = [await second_job(harness, one.user_id) for _ in range(2)]
    harness.sandbox.fault("refuse", params={"status": 402, "account": "alice"})
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.REFUSED
    await harness.as_owner(
        "UPDATE provider_states SET probe_at = now() WHERE tripped_at IS NOT NULL"
    )
    for ref in waiting:
        assert (await harness.run(harness.jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
    assert accounts(harness) == ["alice", "alice"]
