"""Bought with their users' own keys: whatever is asked about a send is asked with the key it was
made with.

The judge is the provider: every call it has had, with which key, and whose bill it wrote.
"""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from core.domain.failures import FailureCode
from core.domain.ids import ProviderKeyId, UserId
from core.domain.messages.executions import CancelInput
from core.domain.messages.jobs import CancelOutcome, FindOutcome, JobRef, SubmitOutcome, key_scope
from core.domain.states import JobState
from core.jobs.admission import ProviderGate, measure_providers
from core.store.jobs.callbacks import CallbackOutcome
from core.store.providers.capacity import Pace, ProviderState, list_states
from core.store.providers.user_keys import delete_key, erase_unused, put_key
from tests.activities.bench import REPLICATE_FLUX, Bench
from tests.activities.test_late_bills import make_older, settled, terminated
from tests.activities.test_zombies import (
    answered_late,
    call_back,
    complete,
    found_absent,
    orphans,
    settled_like_the_bill,
)
from tests.support.rows import SEALER, Accepted, accept, new_execution

SERVICES = "r8_token"
ALICE, ALICE_NEW, BOB = (
    "r8_own-0123456789#alice",
    "r8_new-0123456789#alice-new",
    "r8_own-9876543210#bob",
)
"""Each of an account of its own: what one shows, no other does."""


async def put(bench: Bench, user_id: UserId, key: str) -> ProviderKeyId:
    async with bench.database.as_user(user_id) as conn:
        return (await put_key(conn, SEALER, user_id, "replicate", key)).provider_key_id


async def take_away(bench: Bench, user_id: UserId) -> None:
    async with bench.database.as_user(user_id) as conn:
        assert await delete_key(conn, user_id, "replicate") is not None


async def erased(bench: Bench) -> list[ProviderKeyId]:
    async with bench.database.as_system() as conn:
        return await erase_unused(conn)


async def with_key(bench: Bench, key: str) -> tuple[Accepted, ProviderKeyId]:
    one = await bench.accepted()
    return one, await put(bench, one.user_id, key)


async def sent_keys(bench: Bench, ref: JobRef) -> list[ProviderKeyId | None]:
    async with bench.database.as_user(ref.user_id) as conn:
        rows = await conn.fetch(
            "SELECT provider_key_id FROM sends WHERE job_id = $1 ORDER BY number", ref.job_id
        )
    return [row["provider_key_id"] for row in rows]


def keys_of(bench: Bench, operation: str) -> list[str]:
    """The keys of all calls of a kind, in their order."""
    calls: list[dict[str, Any]] = bench.sandbox.client.get("/__control/calls").json()["calls"]
    return [call["key"] for call in calls if call["operation"] == operation]


def accounts(bench: Bench) -> list[str]:
    return [line["account"] for line in bench.bill()]


async def test_job_is_bought_with_its_users_own_key_and_the_job_of_another_is_not(
    bench: Bench,
) -> None:
    one, key = await with_key(bench, ALICE)
    other = await bench.accepted()
    for ref in (one.image, other.image):
        assert (await bench.run(bench.jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
        await complete(bench, ref)
    assert accounts(bench) == ["alice", ""]
    assert keys_of(bench, "create") == [ALICE, SERVICES]
    assert set(keys_of(bench, "status")) == {ALICE, SERVICES}
    assert (await bench.job(one.image)).provider_key_id == key
    assert await sent_keys(bench, one.image) == [key]
    assert (await bench.job(other.image)).provider_key_id is None
    assert await bench.charge(one.image) == ("settled", bench.bill()[0]["billed_nano_usd"])


async def test_job_goes_on_with_its_key_when_that_is_replaced_and_the_next_is_bought_with_the_new_one(
    bench: Bench,
) -> None:
    one, first = await with_key(bench, ALICE)
    result = await bench.run(bench.jobs.submit, one.image)
    assert result.provider_key_id == first
    second = await put(bench, one.user_id, ALICE_NEW)
    assert await erased(bench) == []
    await complete(bench, one.image)
    assert await erased(bench) == []  # its file could have to be asked for again
    await bench.run(bench.assets.store, one.image)
    assert await erased(bench) == [first]
    assert set(keys_of(bench, "status")) == {ALICE}
    assert (await bench.run(bench.jobs.submit, one.video)).provider_key_id == second
    assert accounts(bench) == ["alice", "alice-new"]


async def test_job_goes_on_with_its_key_when_that_is_deleted_and_the_next_is_bought_with_the_services(
    bench: Bench,
) -> None:
    one, key = await with_key(bench, ALICE)
    await bench.run(bench.jobs.submit, one.image)
    await take_away(bench, one.user_id)
    assert await erased(bench) == []
    await complete(bench, one.image)
    await bench.run(bench.assets.store, one.image)
    assert set(keys_of(bench, "status")) == {ALICE}
    assert await erased(bench) == [key]
    await bench.run(bench.jobs.submit, one.video)
    assert accounts(bench) == ["alice", ""]
    assert (await bench.job(one.video)).provider_key_id is None


async def test_job_is_ended_at_its_provider_with_its_key(bench: Bench) -> None:
    one, _ = await with_key(bench, ALICE)
    bench.sandbox.set(image_seconds=30.0)
    await bench.run(bench.jobs.submit, one.image)
    await put(bench, one.user_id, BOB)
    await bench.run(bench.executions.cancel, CancelInput(execution=one.ref, reason="enough"))
    ended = await bench.run(bench.jobs.cancel, one.image)
    assert ended.outcome in (CancelOutcome.CANCELLED, CancelOutcome.REQUESTED)
    assert keys_of(bench, "cancel") == [ALICE]
    assert (await bench.run(bench.jobs.wait, one.image)).state is JobState.CANCELLED


async def test_unknown_send_is_looked_up_with_its_key_and_found(bench: Bench) -> None:
    one, _ = await with_key(bench, ALICE)
    order = bench.sandbox.fault("drop_after_accept")
    assert (await bench.run(bench.jobs.submit, one.image)).outcome is SubmitOutcome.UNKNOWN
    assert bench.sandbox.fired(order) == 1
    await put(bench, one.user_id, BOB)
    found = await bench.run(bench.jobs.find, one.image)
    assert found.outcome is FindOutcome.FOUND
    assert set(keys_of(bench, "list")) == {ALICE}
    await complete(bench, one.image)
    assert accounts(bench) == ["alice"]


async def test_unknown_send_is_never_absent_by_the_list_of_another_account(bench: Bench) -> None:
    """The new key's list is complete, is past the horizon, and does not show it: nobody may ask
    that one.
    """
    one, _ = await with_key(bench, ALICE)
    order = bench.sandbox.fault("drop_after_accept")
    await bench.run(bench.jobs.submit, one.image)
    assert bench.sandbox.fired(order) == 1
    await put(bench, one.user_id, BOB)
    bench.sandbox.set(revoked_keys=[ALICE])
    await make_older(bench, one.image)
    looking = asyncio.create_task(bench.run(bench.jobs.find, one.image))
    await asyncio.sleep(2.0)
    assert not looking.done()
    assert len(keys_of(bench, "list")) > 1
    bench.sandbox.set(revoked_keys=[])
    bench.wakeups.wake_all()
    assert (await looking).outcome is FindOutcome.FOUND
    assert set(keys_of(bench, "list")) == {ALICE}
    assert accounts(bench) == ["alice"]


async def test_job_that_is_sent_again_takes_the_key_of_now_and_its_orphan_keeps_that_of_its_send(
    bench: Bench,
) -> None:
    one, first = await with_key(bench, ALICE)
    zombie = await answered_late(bench, one.image)
    await found_absent(bench, one.image)
    bench.sandbox.set(history_hidden=False)
    second = await put(bench, one.user_id, BOB)
    assert (await bench.run(bench.jobs.submit, one.image)).outcome is SubmitOutcome.SUBMITTED
    assert (await bench.job(one.image)).provider_key_id == second
    assert await sent_keys(bench, one.image) == [first, second]
    assert (await zombie).outcome is SubmitOutcome.UNKNOWN
    await complete(bench, one.image)
    [orphan] = await orphans(bench, one.image)
    assert (
        await bench.job(JobRef(**{**_fields(one.image), "job_id": orphan["job_id"]}))
    ).provider_key_id == first
    assert await erased(bench) == []
    await settled_like_the_bill(bench, one.image)
    assert accounts(bench) == ["alice", "bob"]
    assert await erased(bench) == [first]


def _fields(ref: JobRef) -> dict[str, Any]:
    return {"user_id": ref.user_id, "execution_id": ref.execution_id, "generation": ref.generation}


@pytest.mark.parametrize(
    ("status", "said"), [(401, "another one"), (402, "credit"), (403, "another one")]
)
async def test_own_key_that_is_refused_fails_its_execution_and_stops_nobody_else(
    bench: Bench, status: int, said: str
) -> None:
    one, key = await with_key(bench, ALICE)
    order = bench.sandbox.fault("refuse", params={"status": status, "account": "alice"}, times=-1)
    result = await bench.run(bench.jobs.submit, one.image)
    assert bench.sandbox.fired(order) == 1
    assert result.outcome is SubmitOutcome.REFUSED
    assert result.failure is not None
    assert result.failure.code is FailureCode.PROVIDER_KEY_REFUSED
    assert said in result.failure.message
    assert await bench.charge(one.image) == ("released", 0)
    other, bobs = await bench.accepted(), await with_key(bench, BOB)
    for ref in (other.image, bobs[0].image):
        assert (await bench.run(bench.jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
    assert accounts(bench) == ["", "bob"]
    assert (await bench.job(one.image)).provider_key_id == key


async def test_bill_whose_key_is_refused_keeps_no_other_from_being_settled(bench: Bench) -> None:
    mine, _ = await with_key(bench, ALICE)
    others = [(await with_key(bench, BOB))[0], await bench.accepted()]
    for one in (mine, *others):
        await bench.run(bench.jobs.submit, one.image)
        await terminated(bench, one)
    bench.sandbox.set(revoked_keys=[ALICE])
    await asyncio.to_thread(
        bench.sandbox.wait_until, lambda: all(line["state"] != "open" for line in bench.bill())
    )
    await bench.late_bills.settle()
    assert ALICE in keys_of(bench, "status")
    for one in others:
        assert (await bench.charge(one.image))[0] == "settled"
    assert await bench.charge(mine.image) == ("held", 0)
    bench.sandbox.set(revoked_keys=[])
    assert (await settled(bench, mine.image))[0] == "settled"


async def test_send_that_was_given_up_is_looked_for_with_its_key(bench: Bench) -> None:
    one, key = await with_key(bench, ALICE)
    bench.sandbox.fault("drop_after_accept")
    await bench.run(bench.jobs.submit, one.image)
    await terminated(bench, one)
    await take_away(bench, one.user_id)
    assert await erased(bench) == []
    assert (await settled(bench, one.image))[0] == "settled"
    assert set(keys_of(bench, "list") + keys_of(bench, "status")) == {ALICE}
    assert await erased(bench) == [key]


async def test_file_is_asked_for_again_with_its_key(bench: Bench) -> None:
    """Before it was stored, it is gone."""
    one, _ = await with_key(bench, ALICE)
    await bench.run(bench.jobs.submit, one.image)
    await complete(bench, one.image)
    asked = len(keys_of(bench, "status"))
    order = bench.sandbox.fault("expired_file")
    await put(bench, one.user_id, BOB)
    await bench.run(bench.assets.store, one.image)
    assert bench.sandbox.fired(order) == 1
    assert keys_of(bench, "status")[asked:] == [ALICE]


async def test_callbacks_that_their_user_could_sign_make_ten_orphans_at_most(bench: Bench) -> None:
    """Each would be looked up at its provider for as long as it has no bill."""
    one, _ = await with_key(bench, ALICE)
    await bench.run(bench.jobs.submit, one.image)
    outcomes = [await call_back(bench, one.image, 1, f"made-up-{number}") for number in range(13)]
    assert outcomes == [CallbackOutcome.ORPHAN] * 10 + [CallbackOutcome.REFUSED] * 3
    assert len(await orphans(bench, one.image)) == 10


async def second_job(bench: Bench, user_id: UserId) -> JobRef:
    new = new_execution(user_id, image_model=REPLICATE_FLUX, image_provider="replicate")
    return (await accept(bench.database, new)).image


async def states(bench: Bench) -> dict[str, ProviderState]:
    async with bench.database.as_system() as conn:
        return {state.provider: state for state in await list_states(conn)}


async def test_room_is_counted_for_each_key_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.jobs.admission.ROOM_WAIT_SECONDS", 0.5)
    jobs = replace(bench.jobs, gate=ProviderGate(paces={"replicate": Pace(max_in_flight=1)}))
    bench.sandbox.set(image_seconds=30.0)
    one, key = await with_key(bench, ALICE)
    refs = [one.image, (await bench.accepted()).image, (await with_key(bench, BOB))[0].image]
    for ref in refs:
        assert (await bench.run(jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
    held = await bench.run(jobs.submit, await second_job(bench, one.user_id))
    assert (held.outcome, held.held_back) == (SubmitOutcome.NOT_SENT, True)
    assert {name: state.in_flight for name, state in (await states(bench)).items()} == {
        "replicate": 1,
        key_scope("replicate", key): 1,
        key_scope("replicate", (await bench.job(refs[2])).provider_key_id): 1,
    }
    assert len(bench.bill()) == 3


async def test_key_that_is_limited_slows_down_no_other(bench: Bench) -> None:
    one, key = await with_key(bench, ALICE)
    order = bench.sandbox.fault("refuse_429", params={"account": "alice", "retry_after": "30"})
    result = await bench.run(bench.jobs.submit, one.image)
    assert bench.sandbox.fired(order) == 1
    assert (result.outcome, result.held_back) == (SubmitOutcome.NOT_SENT, False)
    assert (await bench.run(bench.jobs.submit, one.image)).held_back
    other = await bench.accepted()
    assert (await bench.run(bench.jobs.submit, other.image)).outcome is SubmitOutcome.SUBMITTED
    limited = {
        name for name, state in (await states(bench)).items() if state.quiet_until is not None
    }
    assert limited == {key_scope("replicate", key)}
    await put(bench, one.user_id, ALICE_NEW)  # of another key nothing is known
    assert (await bench.run(bench.jobs.submit, one.image)).outcome is SubmitOutcome.SUBMITTED


async def test_what_waits_behind_a_refused_key_goes_on_with_the_next_and_never_sends_with_that(
    bench: Bench,
) -> None:
    one, key = await with_key(bench, ALICE)
    waiting, late = await second_job(bench, one.user_id), await second_job(bench, one.user_id)
    order = bench.sandbox.fault("refuse", params={"status": 402, "account": "alice"}, times=-1)
    assert (await bench.run(bench.jobs.submit, one.image)).outcome is SubmitOutcome.REFUSED
    held = await bench.run(bench.jobs.submit, waiting)
    assert (held.outcome, held.held_back) == (SubmitOutcome.NOT_SENT, True)
    assert held.failure is not None
    assert held.failure.code is FailureCode.PROVIDER_KEY_REFUSED
    assert bench.sandbox.fired(order) == 1
    await bench.as_owner(
        "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", late.execution_id
    )
    failed = await bench.run(bench.jobs.submit, late)
    assert failed.failure is not None
    assert (failed.outcome, failed.failure.code) == (
        SubmitOutcome.REFUSED,
        FailureCode.PROVIDER_KEY_REFUSED,
    )
    await put(bench, one.user_id, ALICE_NEW)
    assert (await bench.run(bench.jobs.submit, waiting)).outcome is SubmitOutcome.SUBMITTED
    assert accounts(bench) == ["alice-new"]
    assert await erased(bench) == [key]
    async with bench.database.as_system() as conn:
        await measure_providers(conn, ["replicate"])
    assert key_scope("replicate", key) not in await states(bench)


async def test_refused_key_is_tried_again_after_a_pause_and_opens_for_all_of_its_user(
    bench: Bench,
) -> None:
    one, _ = await with_key(bench, ALICE)
    waiting = [await second_job(bench, one.user_id) for _ in range(2)]
    bench.sandbox.fault("refuse", params={"status": 402, "account": "alice"})
    assert (await bench.run(bench.jobs.submit, one.image)).outcome is SubmitOutcome.REFUSED
    await bench.as_owner("UPDATE provider_states SET probe_at = now() WHERE tripped_at IS NOT NULL")
    for ref in waiting:
        assert (await bench.run(bench.jobs.submit, ref)).outcome is SubmitOutcome.SUBMITTED
    assert accounts(bench) == ["alice", "alice"]
