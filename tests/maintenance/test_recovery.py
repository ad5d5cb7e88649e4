"""A database that forgot: its rows are made again from what was accepted, its jobs from what was
bought.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId
from core.domain.messages.jobs import FindOutcome, JobRef, SubmitOutcome
from core.domain.states import JobState
from core.maintenance.restores.detector import detect_restore
from core.maintenance.restores.histories import (
    ExecutionHistories,
    JobFate,
    RecordedExecution,
    RecordedJob,
)
from core.maintenance.restores.recovery import Recovery, RecoveryError
from core.store.executions.executions import insert_execution
from core.store.executions.idempotency import StoredAnswer, find_answer, insert_answer
from core.store.jobs.submit_pauses import DATABASE, list_pauses
from core.store.recovery.restore_marker import (
    DATABASE_BEHIND,
    read_marker,
)
from core.store.recovery.start_memo import StartMemo, get_accepted, packed, unpacked
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.restore_marker import put_marker
from tests.support.rows import Accepted as AcceptedRows
from tests.support.rows import accept, assert_books_balance, new_execution, new_user

pytestmark = [pytest.mark.usefixtures("no_restore_marker"), pytest.mark.guarantee("G1", "G4")]


async def document(harness: ActivityHarness, rows: AcceptedRows) -> StartMemo:
    async with harness.database.as_user(rows.user_id) as conn:
        return StartMemo(document=(await get_accepted(conn, rows.execution_id)).document)


async def forget(harness: ActivityHarness) -> None:
    """Everything but the users."""
    await harness.as_owner(
        "TRUNCATE executions, execution_events, budgets, idempotency_keys CASCADE"
    )


async def test_accepted_document_fits_into_a_memo(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    kept = dict((await document(harness, one)).document)
    assert unpacked(packed(kept)) == kept
    assert len(packed(kept)) < 1900, "Temporal's client warns from 2 kB on"
    with pytest.raises(ValueError, match="not a start memo"):
        unpacked("bm90IHppcHBlZA==")


class FakeHistories(ExecutionHistories):
    """Histories that a test describes."""

    def __init__(self, *executions: RecordedExecution) -> None:
        super().__init__(FakeTemporal().client())
        self.executions = {one.accepted.execution_id: one for one in executions}
        self.terminated: list[ExecutionId] = []
        self.since: datetime | None = None

    async def list_executions(self, since: datetime | None) -> list[ExecutionId]:
        self.since = since
        return list(self.executions)

    async def read(self, execution_id: ExecutionId) -> RecordedExecution:
        return self.executions[execution_id]

    async def terminate(self, execution_id: ExecutionId) -> None:
        self.terminated.append(execution_id)


def recorded(
    accepted: StartMemo,
    jobs: dict[JobId, RecordedJob],
    *,
    is_open: bool = False,
    cancel_reason: str | None = None,
) -> RecordedExecution:
    return RecordedExecution(
        accepted=accepted, jobs=jobs, is_open=is_open, cancel_reason=cancel_reason
    )


async def recover(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch, histories: FakeHistories
) -> Recovery:
    monkeypatch.setattr("core.maintenance.restores.recovery.SETTLE_SECONDS", 0)
    recovery = Recovery(
        database=harness.database,
        files=harness.assets.files,
        submitter=harness.jobs.submitter,
        histories=histories,
        show=lambda _line: None,
    )
    await recovery.run(None, "a test")
    return recovery


async def row(harness: ActivityHarness, sql: str, *arguments: Any) -> tuple[Any, ...] | None:
    async with harness.database.as_system() as conn:
        found = await conn.fetchrow(sql, *arguments)
    return tuple(found) if found is not None else None


async def sent(harness: ActivityHarness, ref: JobRef) -> RecordedJob:
    """Return the record of a job that is at its provider, or may be."""
    job = await harness.job(ref)
    return RecordedJob(
        fate=JobFate.SUBMITTED if job.handle is not None else JobFate.UNKNOWN,
        send_number=job.send_number,
        at=datetime.now(UTC),
        provider_job_id=job.handle.provider_job_id if job.handle is not None else None,
    )


async def test_recover_makes_the_rows_of_an_execution_again(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await new_user(harness.database)
    new = new_execution(user_id, webhook_url="http://receiver.test/", image_provider="replicate")
    kept = StoredAnswer(
        request_sha256=b"r" * 32, answer=f'{{"executionId":"{new.execution_id}"}}'.encode()
    )
    columns = "generation, plan, request, metadata, webhook_url, estimated_nano_usd, created_at, budget_month"
    async with harness.database.as_user(user_id) as conn:  # as the API does it, in one transaction
        await insert_answer(conn, user_id, "key", kept)
        await insert_execution(conn, new)
    before = await row(harness, f"SELECT {columns} FROM executions")
    async with harness.database.as_user(user_id) as conn:
        accepted = StartMemo(document=(await get_accepted(conn, new.execution_id)).document)
    await forget(harness)
    past = FakeHistories(recorded(accepted, {}, is_open=True))
    recovery = await recover(harness, monkeypatch, past)
    assert (past.terminated, recovery.for_operator) == ([new.execution_id], [])
    assert await row(harness, f"SELECT {columns} FROM executions") == before
    assert await row(harness, "SELECT status FROM executions") == ("queued",)
    async with harness.database.as_user(user_id) as conn:
        assert await find_answer(conn, user_id, "key") == kept
        jobs = {
            item["job_id"]
            for item in await conn.fetch("SELECT job_id FROM jobs WHERE state = 'waiting'")
        }
        await assert_books_balance(conn, user_id)
    assert jobs == {item["job_id"] for item in accepted.jobs}
    assert await row(harness, "SELECT held_videos FROM budgets") == (1,)
    await recover(harness, monkeypatch, past)  # once more changes nothing
    assert await row(harness, "SELECT held_videos, held_nano_usd FROM budgets") == (1, 303_000_000)
    assert await row(harness, "SELECT count(*) FROM ledger_entries") == (2,)
    async with harness.database.as_system() as conn:
        assert await list_pauses(conn) == []


async def test_recover_settles_what_was_bought_and_buys_nothing(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    accepted = await document(harness, one)
    await harness.run(harness.jobs.submit, one.image)
    past = await sent(harness, one.image)
    await asyncio.to_thread(
        harness.sandbox.wait_until, lambda: harness.bill()[0]["state"] != "open"
    )
    await forget(harness)
    await recover(harness, monkeypatch, FakeHistories(recorded(accepted, {one.image.job_id: past})))
    image = await harness.job(one.image)
    assert (image.state, image.send_number) == (JobState.COMPLETED, 1)
    assert await harness.charge(one.image) == ("settled", harness.bill()[0]["billed_nano_usd"])
    assert await harness.charge(one.video) == ("held", 0)
    assert len(harness.bill()) == 1


async def test_recover_leaves_an_unknown_send_to_find(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is computed as it was, its seed too, so that the provider's list matches it."""
    one = await harness.accepted()
    accepted = await document(harness, one)
    lost = harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(lost) == 1
    past = await sent(harness, one.image)
    before = await row(harness, "SELECT request, inputs FROM sends")
    await forget(harness)
    await recover(harness, monkeypatch, FakeHistories(recorded(accepted, {one.image.job_id: past})))
    assert (await harness.job(one.image)).state is JobState.UNKNOWN
    assert await row(harness, "SELECT request, inputs FROM sends") == before
    assert (await harness.run(harness.jobs.find, one.image)).outcome is FindOutcome.FOUND
    assert len(harness.bill()) == 1


async def test_recovered_send_may_have_been_made_until_now(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its activity was scheduled long before a worker could send, and recorded no result."""
    one = await harness.accepted()
    accepted = await document(harness, one)
    lost = harness.sandbox.fault("drop_after_accept")
    await harness.run(harness.jobs.submit, one.image)
    assert harness.sandbox.fired(lost) == 1
    past = await sent(harness, one.image)
    past = replace(past, at=past.at - timedelta(minutes=25))
    await forget(harness)
    await recover(harness, monkeypatch, FakeHistories(recorded(accepted, {one.image.job_id: past})))
    interval = await row(
        harness, "SELECT sent_at, sent_until > now() - interval '1 min' FROM sends"
    )
    assert interval == (past.at, True)
    assert (await harness.run(harness.jobs.find, one.image)).outcome is FindOutcome.FOUND
    assert len(harness.bill()) == 1


async def test_recover_does_not_buy_what_was_refused(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    accepted = await document(harness, one)
    await forget(harness)
    failure = Failure.of(FailureCode.CONTENT_MODERATED)
    refused = RecordedJob(fate=JobFate.FAILED, send_number=1, at=datetime.now(UTC), failure=failure)
    await recover(
        harness, monkeypatch, FakeHistories(recorded(accepted, {one.image.job_id: refused}))
    )
    image = await harness.job(one.image)
    assert (image.state, image.failure) == (JobState.FAILED, failure)
    assert await harness.charge(one.image) == ("released", 0)
    await harness.as_owner("UPDATE executions SET status = 'running', started_at = now()")
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.ENDED
    assert harness.bill() == []


async def test_recover_keeps_the_number_of_what_was_not_accepted(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    accepted = await document(harness, one)
    await forget(harness)
    waiting = RecordedJob(fate=JobFate.WAITING, send_number=3, at=datetime.now(UTC))
    await recover(
        harness, monkeypatch, FakeHistories(recorded(accepted, {one.image.job_id: waiting}))
    )
    image = await harness.job(one.image)
    assert (image.state, image.send_number, image.deadline_at) == (JobState.WAITING, 3, None)


async def test_recover_without_the_picture_does_not_buy_again(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The video's request cannot be computed, so it is left to the operator."""
    one = await harness.accepted()
    accepted = await document(harness, one)
    await forget(harness)
    doubtful = RecordedJob(fate=JobFate.UNKNOWN, send_number=1, at=datetime.now(UTC))
    recovery = await recover(
        harness, monkeypatch, FakeHistories(recorded(accepted, {one.video.job_id: doubtful}))
    )
    video = await harness.job(one.video)
    assert (video.state, video.failure) == (
        JobState.FAILED,
        Failure.of(FailureCode.SUBMISSION_UNKNOWN),
    )
    assert await harness.charge(one.video) == ("held", 0)
    assert len(recovery.for_operator) == 1
    assert one.video.job_id in recovery.for_operator[0]


async def test_recover_orders_the_cancel_again(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    accepted = await document(harness, one)
    await forget(harness)
    await recover(
        harness,
        monkeypatch,
        FakeHistories(recorded(accepted, {}, cancel_reason="asked for by the user")),
    )
    found = await row(
        harness, "SELECT status, cancel_reason, cancel_requested_at IS NOT NULL FROM executions"
    )
    assert found == ("queued", "asked for by the user", True)


async def test_recover_reports_users_that_are_gone_and_leaves_newer_rows(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, newer = await harness.accepted(), await harness.accepted()
    accepted = [await document(harness, one) for one in (gone, newer)]
    await harness.as_owner(
        "UPDATE executions SET generation = 2 WHERE execution_id = $1", newer.execution_id
    )
    for table in (
        "ledger_entries",
        "charges",
        "jobs",
        "steps",
        "budgets",
        "metadata_terms",
        "execution_events",
        "event_counters",
        "executions",
        "usage_money",
        "usage_videos",
        "key_spending",
        "secrets",
        "users",
    ):
        await harness.as_owner(f"DELETE FROM {table} WHERE user_id = $1", gone.user_id)
    before = await row(harness, "SELECT e.* FROM executions AS e")
    recovery = await recover(
        harness, monkeypatch, FakeHistories(*(recorded(one, {}) for one in accepted))
    )
    assert [line.partition(":")[0] for line in recovery.for_operator] == [gone.execution_id]
    assert await row(harness, "SELECT e.* FROM executions AS e") == before


async def test_recover_numbers_the_next_send_above_the_mark(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    await put_marker(harness, 500)
    _, _, behind = await detect_restore(harness.database, harness.objects)
    assert behind
    assert (await harness.run(harness.jobs.submit, one.image)).outcome is SubmitOutcome.NOT_SENT
    assert harness.bill() == []
    await recover(harness, monkeypatch, FakeHistories())
    _, _, behind = await detect_restore(harness.database, harness.objects)
    assert not behind
    await harness.run(harness.jobs.submit, one.image)
    serial = await row(harness, "SELECT serial FROM sends")
    assert serial is not None
    assert serial[0] > 500
    assert await row(harness, "SELECT actor, action FROM audit_log") == ("a test", "recover")


async def test_recovered_database_is_not_taken_for_one_of_the_past(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that did not run meanwhile has seen the number of a send that no longer exists."""
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    await put_marker(harness, 9)
    await recover(harness, monkeypatch, FakeHistories())
    found = await row(harness, "SELECT max(serial) FROM sends")
    kept = await read_marker(harness.objects)
    assert found is not None
    assert kept is not None
    assert (
        found[0] == kept.serial > 9 + 100
    )  # the high-water mark is written once a second: more had been sent by then


async def test_recover_that_cannot_go_on_leaves_everything_paused(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await harness.accepted()
    accepted = await document(harness, one)
    await forget(harness)
    broken = StartMemo(
        document={**accepted.document, "jobs": [{**accepted.jobs[0], "state": "no such state"}]}
    )
    with pytest.raises(RecoveryError, match=one.execution_id):
        await recover(harness, monkeypatch, FakeHistories(recorded(broken, {})))
    async with harness.database.as_system() as conn:
        assert [(found.scope, found.reason) for found in await list_pauses(conn)] == [
            (DATABASE, DATABASE_BEHIND)
        ]
    await recover(harness, monkeypatch, FakeHistories(recorded(accepted, {})))
    async with harness.database.as_system() as conn:
        assert await list_pauses(conn) == []


async def test_stored_file_is_recorded_again_after_deletion_at_the_provider(
    harness: ActivityHarness,
) -> None:
    one = await harness.accepted()
    await harness.run(harness.jobs.submit, one.image)
    await harness.run(harness.jobs.wait, one.image)
    await harness.run(harness.jobs.settle, one.image)
    await harness.run(harness.assets.store, one.image)
    before = await row(harness, "SELECT asset_id, object_key, sha256, size_bytes FROM assets")
    await harness.as_owner("DELETE FROM assets")
    gone = harness.sandbox.fault("expired_file", times=-1)
    assert (await harness.run(harness.assets.store, one.image)).failure is None
    assert harness.sandbox.fired(gone) >= 1
    assert (
        await row(harness, "SELECT asset_id, object_key, sha256, size_bytes FROM assets") == before
    )


async def test_accepted_execution_of_a_retry_is_raised_to_its_generation(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restored rows are of the generation before: its job ends as it did, the next one is there
    with its hold.
    """
    one = await accept(harness.database, new_execution(await new_user(harness.database)))
    old = await document(harness, one)
    first = dict(next(item for item in old.jobs if item["step_name"] == "image"))
    second = {**first, "job_id": "job_second", "generation": 2, "supersedes": first["job_id"]}
    failure = {"code": "provider_failed", "message": "It failed."}
    first |= {"state": "failed", "failure": failure, "ended_at": datetime.now(UTC).isoformat()}
    charge = dict(old.charges[first["job_id"]])
    released = {**charge, "state": "released", "ended_at": datetime.now(UTC).isoformat()}
    held = {**charge, "job_id": "job_second", "charge_id": "chg_second"}
    rest = [item for item in old.jobs if item["job_id"] != first["job_id"]]
    charges = [item for item in old.charges.values() if item["job_id"] != first["job_id"]]
    retried = StartMemo(
        document={
            **old.document,
            "execution": {**old.document["execution"], "generation": 2},
            "jobs": [first, second, *rest],
            "charges": [released, held, *charges],
        }
    )
    await recover(harness, monkeypatch, FakeHistories(recorded(retried, {})))
    assert await row(harness, "SELECT generation, status FROM executions") == (2, "queued")
    assert await row(harness, "SELECT state FROM jobs WHERE job_id = $1", first["job_id"]) == (
        "failed",
    )
    assert await row(harness, "SELECT state, supersedes FROM jobs WHERE job_id = 'job_second'") == (
        "waiting",
        first["job_id"],
    )
    assert await harness.charge(one.image) == ("released", 0)
    assert await row(harness, "SELECT state FROM charges WHERE job_id = 'job_second'") == ("held",)
