"""POST /api/executions/{id}/retry: the fate of a job in every state that it can be left in."""

from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest
from temporalio.client import WorkflowExecutionStatus

from core.domain.failures import FailureCode
from core.domain.messages.executions import ClaimOutcome, ExecutionRef
from core.domain.money import NanoUsd, usd_text
from core.domain.states import JOB_MOVES, RETRY_MOVES, ExecutionStatus, JobState
from core.store.executions.executions import claim_execution
from tests.api.conftest import Api, TestUser
from tests.api.ended import COST, NEVER_SENT, NOT_STORED, STORED, Left, add_orphan, end
from tests.support.rows import (
    IMAGE,
    IMAGE_PRICE,
    VIDEO,
    VIDEO_PRICE,
    Accepted,
    assert_books_balance,
)
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G2", "G6")

KEPT, CONTINUED, BOUGHT, DOUBTFUL = "kept", "continued", "bought", "doubtful"
ACCEPT = {"acceptPossibleDoubleCost": True}
NOTHING = NanoUsd(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job as it was left, and the expected result of a retry.

    fate: of the step. to: the state of its latest job before the retry, after it. error: of the
    execution.
    """

    video: Left
    fate: str
    to: JobState
    image: Left = STORED
    image_fate: str = KEPT
    status: ExecutionStatus = ExecutionStatus.FAILED
    error: FailureCode = FailureCode.TERMINATED


FAILED, CANCELLED, COMPLETED = JobState.FAILED, JobState.CANCELLED, JobState.COMPLETED
SUBMITTED, UNKNOWN = JobState.SUBMITTED, JobState.UNKNOWN
LOST = Left(state=FAILED, failure=FailureCode.SUBMISSION_UNKNOWN)
TIMED_OUT = Left(state=FAILED, failure=FailureCode.PROVIDER_TIMED_OUT, known=True, cancel_sent=True)
STOPPED = Left(state=CANCELLED, failure=FailureCode.CANCELLED, known=True, cancel_sent=True)
RUNNING = Left(state=SUBMITTED, known=True)

CASES: dict[str, Case] = {
    "never sent": Case(video=NEVER_SENT, fate=BOUGHT, to=CANCELLED),
    "refused": Case(
        video=Left(state=FAILED, failure=FailureCode.PROVIDER_REJECTED_INPUT, released=True),
        fate=BOUGHT,
        to=FAILED,
    ),
    "failed at its provider": Case(
        video=Left(
            state=FAILED,
            failure=FailureCode.PROVIDER_FAILED,
            known=True,
            report=FAILED,
            cost=NOTHING,
        ),
        fate=BOUGHT,
        to=FAILED,
    ),
    "failed, its bill open": Case(
        video=Left(state=FAILED, failure=FailureCode.PROVIDER_FAILED, known=True, report=FAILED),
        fate=BOUGHT,
        to=FAILED,
    ),
    "given up, its bill open": Case(video=LOST, fate=DOUBTFUL, to=FAILED),
    "given up, never accepted": Case(video=replace(LOST, released=True), fate=BOUGHT, to=FAILED),
    "given up, found running": Case(video=replace(LOST, known=True), fate=CONTINUED, to=SUBMITTED),
    "given up, found completed": Case(
        video=replace(LOST, known=True, report=COMPLETED, cost=COST), fate=KEPT, to=COMPLETED
    ),
    "given up, found failed": Case(
        video=replace(LOST, known=True, report=FAILED, cost=COST), fate=BOUGHT, to=FAILED
    ),
    "timed out, its bill open": Case(video=TIMED_OUT, fate=DOUBTFUL, to=FAILED),
    "timed out, then ended": Case(
        video=replace(TIMED_OUT, report=CANCELLED, cost=COST), fate=BOUGHT, to=FAILED
    ),
    "timed out, then completed": Case(
        video=replace(TIMED_OUT, report=COMPLETED, cost=COST), fate=KEPT, to=COMPLETED
    ),
    "timed out, cancel not sent": Case(
        video=replace(TIMED_OUT, cancel_sent=False), fate=CONTINUED, to=SUBMITTED
    ),
    "cancelled": Case(
        video=replace(STOPPED, report=CANCELLED, cost=COST),
        fate=BOUGHT,
        to=CANCELLED,
        status=ExecutionStatus.CANCELLED,
        error=FailureCode.CANCELLED,
    ),
    "cancelled, its bill open": Case(
        video=STOPPED, fate=DOUBTFUL, to=CANCELLED, status=ExecutionStatus.CANCELLED
    ),
    "cancelled, completed anyway": Case(
        video=replace(STOPPED, report=COMPLETED, cost=COST),
        fate=KEPT,
        to=COMPLETED,
        status=ExecutionStatus.CANCELLED,
    ),
    "cancelled, cancel not sent": Case(
        video=replace(STOPPED, cancel_sent=False), fate=CONTINUED, to=SUBMITTED
    ),
    "terminated while submitting": Case(
        video=Left(state=JobState.SUBMITTING), fate=CONTINUED, to=JobState.SUBMITTING
    ),
    "terminated while unknown": Case(video=Left(state=UNKNOWN), fate=CONTINUED, to=UNKNOWN),
    "terminated while running": Case(video=RUNNING, fate=CONTINUED, to=SUBMITTED),
    "terminated, cancel sent": Case(
        video=replace(RUNNING, cancel_sent=True), fate=DOUBTFUL, to=CANCELLED
    ),
    "terminated when completed": Case(
        video=replace(RUNNING, report=COMPLETED), fate=CONTINUED, to=SUBMITTED
    ),
    "terminated, cancel sent, completed": Case(
        video=replace(RUNNING, cancel_sent=True, report=COMPLETED), fate=CONTINUED, to=SUBMITTED
    ),
    "terminated when failed": Case(video=replace(RUNNING, report=FAILED), fate=BOUGHT, to=FAILED),
    "completed and stored": Case(video=STORED, fate=KEPT, to=COMPLETED),
    "completed, its bill open": Case(video=replace(STORED, cost=None), fate=KEPT, to=COMPLETED),
    "completed, storage unavailable": Case(
        video=NOT_STORED, fate=KEPT, to=COMPLETED, error=FailureCode.STORAGE_UNAVAILABLE
    ),
    "completed, output address refused": Case(
        video=NOT_STORED, fate=KEPT, to=COMPLETED, error=FailureCode.OUTPUT_ADDRESS_REFUSED
    ),
    "completed, expired": Case(
        video=NOT_STORED, fate=BOUGHT, to=COMPLETED, error=FailureCode.OUTPUT_EXPIRED
    ),
    "completed, not usable": Case(
        video=NOT_STORED, fate=BOUGHT, to=COMPLETED, error=FailureCode.OUTPUT_INVALID
    ),
    "completed, too large": Case(
        video=NOT_STORED, fate=BOUGHT, to=COMPLETED, error=FailureCode.OUTPUT_TOO_LARGE
    ),
    "the image is not stored yet": Case(
        video=NEVER_SENT, fate=BOUGHT, to=CANCELLED, image=NOT_STORED
    ),
    "the image is lost": Case(
        video=Left(state=FAILED, failure=FailureCode.OUTPUT_EXPIRED, sent=False, released=True),
        fate=BOUGHT,
        to=FAILED,
        image=NOT_STORED,
        image_fate=BOUGHT,
        error=FailureCode.OUTPUT_EXPIRED,
    ),
    "the image is stored, its address was too old": Case(
        video=Left(state=FAILED, failure=FailureCode.OUTPUT_EXPIRED, sent=False, released=True),
        fate=BOUGHT,
        to=FAILED,
    ),
    "the image failed": Case(
        video=NEVER_SENT,
        fate=BOUGHT,
        to=CANCELLED,
        image=Left(
            state=FAILED,
            failure=FailureCode.CONTENT_MODERATED,
            known=True,
            report=FAILED,
            cost=NOTHING,
        ),
        image_fate=BOUGHT,
    ),
}


async def _rows(api: Api, ended: Accepted) -> dict[str, Any]:
    async with api.database.as_user(ended.user_id) as conn:
        execution = await conn.fetchrow(
            "SELECT * FROM executions WHERE execution_id = $1", ended.execution_id
        )
        jobs = await conn.fetch(
            "SELECT * FROM jobs WHERE execution_id = $1 ORDER BY job_id", ended.execution_id
        )
        budget = await conn.fetchrow("SELECT * FROM budgets WHERE user_id = $1", ended.user_id)
        charges = await conn.fetch(
            "SELECT * FROM charges WHERE execution_id = $1 ORDER BY job_id", ended.execution_id
        )
        await assert_books_balance(conn, ended.user_id)
    assert execution is not None
    assert budget is not None
    return {
        "execution": dict(execution),
        "jobs": {job["job_id"]: dict(job) for job in jobs},
        "budget": dict(budget),
        "charges": {charge["job_id"]: dict(charge) for charge in charges},
    }


async def _retry(
    user: TestUser, ended: Accepted, body: dict[str, Any] | None = None, **headers: str
) -> Any:
    path = f"/api/executions/{ended.execution_id}/retry"
    return await user.http.post(path, json=body, headers=headers)


@pytest.mark.parametrize("name", CASES)
async def test_retry_buys_nothing_that_is_paid_or_open(
    shared_api: Api, api_once: TestUser, name: str
) -> None:
    case = CASES[name]
    user = await shared_api.new_user()
    ended = await end(
        shared_api.database,
        user.user_id,
        case.video,
        image=case.image,
        status=case.status,
        error=case.error,
    )
    before = await _rows(shared_api, ended)
    async with user.http:
        if case.fate == DOUBTFUL:
            refused = await _retry(user, ended)
            assert (refused.status_code, refused.json()["code"]) == (409, "possible_double_cost"), (
                refused.text
            )
            assert refused.json()["doubleCost"]["steps"][0]["atMost"] == usd_text(VIDEO_PRICE)
            assert await _rows(shared_api, ended) == before
        answer = await _retry(user, ended, ACCEPT if case.fate == DOUBTFUL else None)
    assert answer.status_code == 202, answer.text

    fates = {IMAGE: case.image_fate, VIDEO: BOUGHT if case.fate == DOUBTFUL else case.fate}
    bought = {step for step, fate in fates.items() if fate == BOUGHT}
    retried = answer.json()
    assert {item["step"] for item in retried["toPay"]} == bought
    assert {item["step"] for item in retried["kept"]} == set(fates) - bought
    after = await _rows(shared_api, ended)
    _check_queued(before, after, retried)
    for ref, step in ((ended.image, IMAGE), (ended.video, VIDEO)):
        _check_step(before, after, ref.job_id, fates[step], retried)
    left = JobState(before["jobs"][ended.video.job_id]["state"])
    assert after["jobs"][ended.video.job_id]["state"] == case.to
    assert case.to is left or case.to in (JOB_MOVES[left] | RETRY_MOVES.get(left, frozenset()))
    async with shared_api.database.as_user(user.user_id) as conn:
        ref = ExecutionRef(user_id=user.user_id, execution_id=ended.execution_id, generation=2)
        claim = await claim_execution(conn, ref)
    assert claim.outcome is ClaimOutcome.CLAIMED
    assert {job.step for job in claim.jobs if after["jobs"][job.job_id]["supersedes"]} == bought
    kept = {item["step"]: (item["jobId"], item["state"]) for item in retried["kept"]}
    assert kept == {
        job.step: (job.job_id, job.state) for job in claim.jobs if job.step not in bought
    }


def _check_queued(before: dict[str, Any], after: dict[str, Any], retried: dict[str, Any]) -> None:
    execution, ended = after["execution"], before["execution"]
    assert (execution["status"], execution["generation"], retried["generation"]) == ("queued", 2, 2)
    for cleared in (
        "result",
        "error",
        "cancel_requested_at",
        "cancel_reason",
        "started_at",
        "ended_at",
    ):
        assert execution[cleared] is None
    assert execution["progress"] == 0
    assert execution["queued_at"] > ended["queued_at"]
    assert execution["deadline_at"] - execution["queued_at"] == ended["deadline_at"] - (
        ended["started_at"] or ended["queued_at"]
    )
    assert after["budget"]["held_videos"] == before["budget"]["held_videos"] + 1 == 1
    new_money = sum(
        charge["held_nano_usd"]
        for job, charge in after["charges"].items()
        if job not in before["charges"]
    )
    assert retried["estimated"] == usd_text(new_money)
    assert after["budget"]["held_nano_usd"] == before["budget"]["held_nano_usd"] + new_money
    assert (
        execution["estimated_nano_usd"]
        == after["budget"]["held_nano_usd"] + after["budget"]["settled_nano_usd"]
    )


def _check_step(
    before: dict[str, Any], after: dict[str, Any], job_id: str, fate: str, retried: dict[str, Any]
) -> None:
    """Check that the old job's charge is unchanged and that only a bought step has a new job."""
    old, new = before["jobs"][job_id], after["jobs"][job_id]
    assert after["charges"][job_id] == before["charges"][job_id]
    successors = [job for job in after["jobs"].values() if job["supersedes"] == job_id]
    if fate == BOUGHT:
        (successor,) = successors
        assert (successor["state"], successor["send_number"], successor["generation"]) == (
            "waiting",
            0,
            2,
        )
        assert new["state"] in ("completed", "failed", "cancelled")
        return
    assert successors == []
    if fate == CONTINUED:
        assert (new["ended_at"], new["failure"]) == (None, None)
        assert new["deadline_at"] > old["deadline_at"]
    (shown,) = [item for item in retried["kept"] if item["jobId"] == job_id]
    charge = after["charges"][job_id]
    worst = charge["held_nano_usd"] if charge["state"] == "held" else charge["settled_nano_usd"]
    assert shown["cost"] == usd_text(worst)


async def test_retry_of_a_waiting_job_keeps_its_hold(api: Api, user: TestUser) -> None:
    """The send was not accepted, the execution ended, and the reconciler has not closed the job."""
    ended = await end(api.database, user.user_id, Left(state=UNKNOWN))
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE jobs SET state = 'waiting' WHERE job_id = $1", ended.video.job_id
        )
    before = await _rows(api, ended)

    retried = (await _retry(user, ended)).json()

    after = await _rows(api, ended)
    assert [item["state"] for item in retried["kept"]] == ["completed", "waiting"]
    assert (retried["toPay"], retried["estimated"]) == ([], "0")
    assert after["charges"] == before["charges"]
    assert after["jobs"][ended.video.job_id]["deadline_at"] is None


async def test_retry_uses_a_completed_orphan(api: Api, user: TestUser) -> None:
    failed = Left(
        state=FAILED, failure=FailureCode.PROVIDER_FAILED, known=True, report=FAILED, cost=NOTHING
    )
    ended = await end(api.database, user.user_id, failed)
    orphan = await add_orphan(api.database, ended, NOT_STORED)

    retried = (await _retry(user, ended)).json()

    assert retried["toPay"] == []
    assert retried["kept"][1] == {
        "step": VIDEO,
        "jobId": orphan,
        "state": "completed",
        "cost": usd_text(COST),
    }
    after = await _rows(api, ended)
    assert (after["jobs"][orphan]["orphan"], after["jobs"][orphan]["generation"]) == (False, 2)
    async with api.database.as_user(user.user_id) as conn:
        claim = await claim_execution(conn, ExecutionRef(**_ref(ended, 2)))
    assert [job.job_id for job in claim.jobs] == [ended.image.job_id, orphan]
    read = (await user.http.get(f"/api/executions/{ended.execution_id}")).json()
    assert (read["completedJobs"], read["failedJobs"]) == ([IMAGE, VIDEO], [])


async def test_retry_needs_consent_while_an_orphan_runs(api: Api, user: TestUser) -> None:
    """Nothing is held for the orphan itself: its limit is the hold of its step."""
    failed = Left(
        state=FAILED, failure=FailureCode.PROVIDER_FAILED, known=True, report=FAILED, cost=NOTHING
    )
    ended = await end(api.database, user.user_id, failed)
    orphan = await add_orphan(api.database, ended, RUNNING)

    refused = await _retry(user, ended)
    assert (refused.status_code, refused.json()["code"]) == (409, "possible_double_cost"), (
        refused.text
    )
    [named] = refused.json()["doubleCost"]["steps"]
    assert (named["step"], named["jobId"], named["atMost"]) == (
        VIDEO,
        orphan,
        usd_text(VIDEO_PRICE),
    )
    retried = (await _retry(user, ended, ACCEPT)).json()

    assert [item["step"] for item in retried["toPay"]] == [VIDEO]
    after = await _rows(api, ended)
    assert (after["jobs"][orphan]["orphan"], after["jobs"][orphan]["state"]) == (True, "submitted")


def _ref(ended: Accepted, generation: int) -> dict[str, Any]:
    return {"user_id": ended.user_id, "execution_id": ended.execution_id, "generation": generation}


async def test_retry_starts_the_next_generation(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)

    answer = await _retry(user, ended)

    retried = answer.json()
    assert answer.headers["location"] == retried["statusUrl"]
    video = {
        "step": VIDEO,
        "provider": "replicate",
        "model": "bytedance/seedance-1-pro",
        "estimated": retried["estimated"],
    }
    assert retried["toPay"] == [video]
    described = await api.services.temporal.get_workflow_handle(ended.execution_id).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
    read = (await user.http.get(f"/api/executions/{ended.execution_id}")).json()
    assert (read["status"], read["error"], read["webhook"]["eventId"]) == ("queued", None, None)
    assert read["completedJobs"] == [IMAGE]


async def test_retry_uses_the_current_price_book(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    """Today's price of the step's parameters counts, not the earlier hold."""
    ended = await end(api.database, user.user_id, NEVER_SENT, image=NEVER_SENT)
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        changed = await owner.execute(
            "UPDATE steps SET parameters = jsonb_set(parameters, '{duration_seconds}', '10') WHERE name = 'video'"
        )
    finally:
        await owner.close()
    assert changed == "UPDATE 1"

    retried = (await _retry(user, ended)).json()

    wanted = {"prompt": "A paper boat", "duration": 10, "resolution": "720p"}
    fresh = (await user.http.post("/api/generate-video", json=wanted)).json()["executionId"]
    quoted = (await user.http.get(f"/api/executions/{fresh}")).json()["cost"]["estimated"]
    assert retried["estimated"] == quoted != usd_text(NanoUsd(IMAGE_PRICE + VIDEO_PRICE))


async def test_retry_cases_cover_every_retry_transition() -> None:
    made = {
        (case.video.state, case.to) for case in CASES.values() if case.video.state in RETRY_MOVES
    }
    assert {(left, to) for left, all_to in RETRY_MOVES.items() for to in all_to} <= made
