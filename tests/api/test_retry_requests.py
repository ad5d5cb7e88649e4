"""POST /api/executions/{id}/retry: refusals, idempotency and concurrency."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from core.domain.failures import FailureCode
from core.domain.ids import new_execution_id
from core.domain.money import NanoUsd, usd_text
from core.domain.states import ExecutionStatus, JobState
from core.store.accounts.users import UserLimits
from core.store.executions.executions import mark_cancel_requested
from core.store.executions.retries import lock_purchases
from core.store.executions.unfinished import lock_ended, take_open_bills
from core.store.jobs.manual_changes import Adoption, adopt_by_hand, release_by_hand
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.api.ended import COST, NEVER_SENT, NOT_STORED, Left, end, finish_again
from tests.support.rows import (
    VIDEO,
    VIDEO_PRICE,
    Accepted,
    accept,
    assert_books_balance,
    new_execution,
)
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G2")

ACCEPT = {"acceptPossibleDoubleCost": True}
LOST = Left(state=JobState.FAILED, failure=FailureCode.SUBMISSION_UNKNOWN)


async def _retry(
    user: TestUser, execution_id: str, body: Any = None, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await user.http.post(f"/api/executions/{execution_id}/retry", json=body, headers=named)


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def _count_jobs(api: Api, ended: Accepted) -> int:
    async with api.database.as_user(ended.user_id) as conn:
        number: int = await conn.fetchval(
            "SELECT count(*) FROM jobs WHERE execution_id = $1", ended.execution_id
        )
    return number


@pytest.mark.parametrize("claimed", [False, True])
async def test_retry_of_an_open_execution_is_refused(
    shared_api: Api, api_once: TestUser, claimed: bool
) -> None:
    ended = await accept(shared_api.database, new_execution(api_once.user_id), claimed=claimed)
    assert _code(await _retry(api_once, ended.execution_id)) == (409, "execution_not_ended")


async def test_retry_of_a_completed_execution_is_refused(
    shared_api: Api, api_once: TestUser
) -> None:
    ended = await end(
        shared_api.database, api_once.user_id, NEVER_SENT, status=ExecutionStatus.COMPLETED
    )
    assert _code(await _retry(api_once, ended.execution_id)) == (409, "nothing_to_retry")


async def test_retry_of_another_users_execution_is_an_identical_404(
    shared_api: Api, api_once: TestUser
) -> None:
    other = await shared_api.new_user()
    async with other.http:
        ended = await end(shared_api.database, other.user_id, NEVER_SENT)
        answers = [
            await _retry(api_once, execution_id)
            for execution_id in (
                ended.execution_id,
                new_execution_id(),
                "exec_1",
                "usr_" + "0" * 32,
            )
        ]
        assert (await _retry(other, ended.execution_id)).status_code == 202
    read = await api_once.http.get(f"/api/executions/{ended.execution_id}")
    assert {answer.status_code for answer in answers} == {404}
    assert {_without_request_id(answer) for answer in answers} == {_without_request_id(read)}


def _without_request_id(answer: httpx.Response) -> bytes:
    """Return the body without the request id, which differs for every request."""
    return answer.content.replace(answer.headers["X-Request-Id"].encode(), b"")


async def test_retry_of_a_disabled_user_is_refused(shared_api: Api) -> None:
    user = await shared_api.new_user()
    ended = await end(shared_api.database, user.user_id, NEVER_SENT)
    async with shared_api.database.as_system() as conn:
        await conn.execute("UPDATE users SET disabled_at = now() WHERE user_id = $1", user.user_id)
    async with user.http:
        assert _code(await _retry(user, ended.execution_id)) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "body",
    [
        {"acceptPossibleDoubleCost": "yes"},
        {"acceptPossibleDoubleCost": 1},
        {"accept_possible_double_cost": True},
        {"other": 1},
        {"maxCost": 1},
        {"maxCost": "-1"},
        [],
    ],
)
async def test_retry_with_an_invalid_body_is_refused(
    shared_api: Api, api_once: TestUser, body: Any
) -> None:
    ended = await end(shared_api.database, api_once.user_id, LOST)
    assert _code(await _retry(api_once, ended.execution_id, body)) == (422, "invalid_request")


async def test_retry_whose_body_is_not_json_is_refused(shared_api: Api, api_once: TestUser) -> None:
    ended = await end(shared_api.database, api_once.user_id, NEVER_SENT)
    path = f"/api/executions/{ended.execution_id}/retry"
    answer = await api_once.http.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert _code(answer) == (415, "unsupported_media_type")


async def test_retry_above_its_maximum_cost_changes_nothing(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    before = await _count_jobs(api, ended)
    refused = await _retry(user, ended.execution_id, {"maxCost": "0.01"})
    assert _code(refused) == (402, "max_cost_exceeded")
    cost = refused.json()["cost"]
    assert (cost["maxCost"], cost["before"], [step["step"] for step in cost["steps"]]) == (
        "0.01",
        "0",
        [VIDEO],
    )
    assert await _count_jobs(api, ended) == before
    accepted = await _retry(user, ended.execution_id, {"maxCost": cost["needed"]})
    assert (accepted.status_code, accepted.json()["estimated"]) == (202, cost["needed"])


async def test_retry_above_the_budget_changes_nothing(api: Api) -> None:
    user = await api.new_user(
        UserLimits(monthly_videos=None, monthly_nano_usd=NanoUsd(500_000_000))
    )
    async with user.http:
        ended = await end(api.database, user.user_id, replace(LOST, known=False))
        answer = await _retry(
            user, ended.execution_id, ACCEPT, Idempotency_Key="once"
        )  # the old hold stays
        assert _code(answer) == (402, "budget_exceeded")
        assert answer.json()["budget"]["needed"] == usd_text(VIDEO_PRICE)
        read = (await user.http.get(f"/api/executions/{ended.execution_id}")).json()
        assert (read["status"], len(read["jobs"])) == ("failed", 2)
        async with api.database.as_system() as conn:
            await conn.execute(
                "UPDATE users SET monthly_nano_usd_limit = NULL WHERE user_id = $1", user.user_id
            )
        assert (
            await _retry(user, ended.execution_id, ACCEPT, Idempotency_Key="once")
        ).status_code == 202


async def test_retry_that_buys_nothing_ignores_the_budget(api: Api) -> None:
    """A paid output is stored even if the limits were lowered in the meantime."""
    user = await api.new_user()
    ended = await end(api.database, user.user_id, NOT_STORED, error=FailureCode.STORAGE_UNAVAILABLE)
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE users SET monthly_nano_usd_limit = 0, monthly_videos_limit = 0 WHERE user_id = $1",
            user.user_id,
        )
    async with user.http:
        answer = await _retry(user, ended.execution_id)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["toPay"], answer.json()["estimated"]) == ([], "0")


async def test_retry_of_a_model_no_longer_offered_is_refused(
    api: Api, fresh_database: FreshDatabase, temporal_address: str
) -> None:
    user = await api.new_user()
    async with user.http:
        ended = await end(api.database, user.user_id, NEVER_SENT)
        kept = await end(
            api.database, user.user_id, NOT_STORED, error=FailureCode.STORAGE_UNAVAILABLE
        )
        settings = api_settings(fresh_database, temporal_address).model_copy(
            update={"replicate_api_token": None}
        )
        async with running_api(settings) as without:
            user.http._transport = without.transport  # pyright: ignore[reportPrivateUsage] - the key stays
            answer = await _retry(user, ended.execution_id)
            assert _code(answer) == (409, "provider_model_unavailable")
            assert "seedance" in answer.json()["detail"]
            assert (
                await _retry(user, kept.execution_id)
            ).status_code == 202  # it buys nothing of that model
    assert await _count_jobs(api, ended) == 2


async def test_retry_under_one_key_is_done_once(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    other = await end(api.database, user.user_id, NEVER_SENT)

    answers = await asyncio.gather(
        *(_retry(user, ended.execution_id, Idempotency_Key="key") for _ in range(8))
    )

    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.content for answer in accepted}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in accepted) == 1
    assert {_code(answer) for answer in answers if answer not in accepted} <= {
        (409, "idempotency_in_progress")
    }
    assert await _count_jobs(api, ended) == 3
    assert _code(await _retry(user, other.execution_id, Idempotency_Key="key")) == (
        422,
        "idempotency_conflict",
    )
    assert _code(await _retry(user, ended.execution_id, ACCEPT, Idempotency_Key="key")) == (
        422,
        "idempotency_conflict",
    )
    generated = await user.http.post(
        "/api/generate-video", json={"prompt": "x"}, headers={"Idempotency-Key": "key"}
    )
    assert _code(generated) == (422, "idempotency_conflict")
    assert await _count_jobs(api, other) == 2


async def test_retry_twice_at_once_without_a_key_is_done_once(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    answers = await asyncio.gather(*(_retry(user, ended.execution_id) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    assert await _count_jobs(api, ended) == 3
    async with api.database.as_user(user.user_id) as conn:
        await assert_books_balance(conn, user.user_id)


async def test_retry_of_a_retry_supersedes_its_job(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    supersedes = ended.video.job_id
    for generation in (2, 3, 4):
        answer = await _retry(user, ended.execution_id)
        assert answer.json()["generation"] == generation
        async with api.database.as_user(user.user_id) as conn:
            row = await conn.fetchrow(
                "SELECT job_id, supersedes FROM jobs WHERE execution_id = $1 AND generation = $2",
                ended.execution_id,
                generation,
            )
            assert row is not None
            assert row["supersedes"] == supersedes
            supersedes = row["job_id"]
        await api.services.temporal.get_workflow_handle(ended.execution_id).terminate(
            "no worker here"
        )
        failed = Left(
            state=JobState.FAILED,
            failure=FailureCode.PROVIDER_FAILED,
            known=True,
            report=JobState.FAILED,
            cost=COST,
        )
        await finish_again(api.database, ended, generation, video=failed, job_id=supersedes)
    read = (await user.http.get(f"/api/executions/{ended.execution_id}")).json()
    assert read["cost"]["settled"] == usd_text(
        NanoUsd(4 * COST)
    )  # the image, and three videos that failed
    assert (read["status"], read["failedJobs"], len(read["jobs"])) == ("failed", [VIDEO], 5)
    image, *videos = read["jobs"]
    assert (read["generation"], image["generation"], image["supersedes"]) == (4, 1, None)
    assert [job["generation"] for job in videos] == [1, 2, 3, 4]
    assert [job["supersedes"] for job in videos] == [None, *(job["id"] for job in videos[:-1])]
    async with api.database.as_user(user.user_id) as conn:
        await assert_books_balance(conn, user.user_id)
        events = await conn.fetch("SELECT generation, sequence, body FROM webhooks")
        counted = await conn.fetchrow(
            "SELECT held_videos, settled_videos FROM budgets WHERE user_id = $1", user.user_id
        )
    assert sorted(event["generation"] for event in events) == [
        1,
        2,
        3,
        4,
    ]  # each end is an event of its own
    assert all(json.loads(event["body"])["generation"] == event["generation"] for event in events)
    assert all(
        json.loads(event["body"])["sequence"] == event["sequence"] == event["generation"]
        for event in events
    )
    assert counted is not None
    assert tuple(counted) == (0, 0)


async def test_retry_uses_an_earlier_purchase_that_completed_late(api: Api, user: TestUser) -> None:
    """The first purchase was given up and bought again.

    The second one failed, and the first one completed late.
    """
    ended = await end(api.database, user.user_id, LOST)
    assert (await _retry(user, ended.execution_id, ACCEPT)).status_code == 202
    async with api.database.as_system() as conn:
        second = await conn.fetchval(
            "SELECT job_id FROM jobs WHERE supersedes = $1", ended.video.job_id
        )
        await conn.execute(
            "UPDATE jobs SET provider_job_id = 'late', report = (SELECT report FROM jobs WHERE job_id = $2)"
            " WHERE job_id = $1",
            ended.video.job_id,
            ended.image.job_id,
        )
    await api.services.temporal.get_workflow_handle(ended.execution_id).terminate("no worker here")
    refused = Left(state=JobState.FAILED, failure=FailureCode.CONTENT_MODERATED, released=True)
    await finish_again(api.database, ended, 2, video=refused, job_id=second)

    retried = (await _retry(user, ended.execution_id)).json()

    assert retried["toPay"] == []
    assert retried["kept"][1]["jobId"] == ended.video.job_id
    read = (await user.http.get(f"/api/executions/{ended.execution_id}")).json()
    assert (read["status"], read["completedJobs"]) == ("queued", ["image", VIDEO])


async def test_retry_needs_consent_again_while_a_purchase_is_open(api: Api, user: TestUser) -> None:
    """Consent to a double cost covers one retry only."""
    ended = await end(api.database, user.user_id, LOST)
    assert (await _retry(user, ended.execution_id, ACCEPT)).status_code == 202
    async with api.database.as_system() as conn:
        second = await conn.fetchval(
            "SELECT job_id FROM jobs WHERE supersedes = $1", ended.video.job_id
        )
    await api.services.temporal.get_workflow_handle(ended.execution_id).terminate("no worker here")
    refused = Left(state=JobState.FAILED, failure=FailureCode.CONTENT_MODERATED, released=True)
    await finish_again(api.database, ended, 2, video=refused, job_id=second)

    answer = await _retry(user, ended.execution_id)

    assert _code(answer) == (409, "possible_double_cost")
    [named] = answer.json()["doubleCost"]["steps"]
    assert (named["jobId"], named["atMost"]) == (ended.video.job_id, usd_text(VIDEO_PRICE))
    assert (await _retry(user, ended.execution_id, ACCEPT)).status_code == 202


async def test_retry_needs_consent_for_an_adopted_released_job(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, LOST)
    async with api.database.as_system() as conn:
        assert (await release_by_hand(conn, ended.video.job_id)).released
    async with api.database.as_system() as conn:
        adopted = await adopt_by_hand(conn, ended.video.job_id, "found-after-all")
    assert adopted.outcome is Adoption.ORPHAN

    answer = await _retry(user, ended.execution_id)

    assert _code(answer) == (409, "possible_double_cost")
    [named] = answer.json()["doubleCost"]["steps"]
    assert (named["jobId"], named["atMost"]) == (adopted.job_id, usd_text(VIDEO_PRICE))
    assert (await _retry(user, ended.execution_id, ACCEPT)).status_code == 202


async def test_retry_waits_for_the_reconcilers_lock(api: Api, user: TestUser) -> None:
    """The retry decides after the reconciler, which here cancels the job at its provider."""
    ended = await end(api.database, user.user_id, Left(state=JobState.SUBMITTED, known=True))
    async with api.database.as_system() as conn:
        assert await lock_ended(conn, ended.execution_id)
        retry = asyncio.create_task(_retry(user, ended.execution_id))
        done, _ = await asyncio.wait([retry], timeout=0.5)
        assert not done
        await conn.execute(
            "UPDATE jobs SET cancel_sent_at = now() WHERE job_id = $1", ended.video.job_id
        )
    assert _code(await retry) == (409, "possible_double_cost")
    assert (await _retry(user, ended.execution_id, ACCEPT)).status_code == 202
    async with api.database.as_system() as conn:
        assert not await lock_ended(conn, ended.execution_id)


async def test_retry_is_counted_in_the_month_it_is_made(api: Api, user: TestUser) -> None:
    """The new hold and video count in the current month; the old hold stays in its own."""
    ended = await end(api.database, user.user_id, LOST)
    async with api.database.as_system() as conn:
        for table in ("charges", "budgets", "executions"):
            await conn.execute(
                f"UPDATE {table} SET budget_month = '2020-01-01' WHERE user_id = $1", user.user_id
            )
    assert (await _retry(user, ended.execution_id, ACCEPT)).status_code == 202
    async with api.database.as_system() as conn:
        second = await conn.fetchval(
            "SELECT job_id FROM jobs WHERE supersedes = $1", ended.video.job_id
        )
    await api.services.temporal.get_workflow_handle(ended.execution_id).terminate("no worker here")
    refused = Left(state=JobState.FAILED, failure=FailureCode.CONTENT_MODERATED, released=True)
    await finish_again(api.database, ended, 2, video=refused, job_id=second)
    async with api.database.as_user(user.user_id) as conn:
        rows = await conn.fetch(
            "SELECT held_nano_usd, held_videos FROM budgets WHERE user_id = $1 ORDER BY budget_month",
            user.user_id,
        )
    assert [tuple(row) for row in rows] == [(VIDEO_PRICE, 0), (0, 0)]


async def test_cancel_of_an_earlier_generation_ignores_a_retry(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    assert (await _retry(user, ended.execution_id)).status_code == 202
    async with api.database.as_user(user.user_id) as conn:
        assert not await mark_cancel_requested(conn, ended.execution_id, "too late", generation=1)
        assert await conn.fetchval("SELECT cancel_requested_at FROM executions") is None
        assert await mark_cancel_requested(conn, ended.execution_id, "meant", generation=2)


async def test_reconciler_skips_a_job_that_a_retry_locks(api: Api, user: TestUser) -> None:
    """The two lock the jobs of an execution in different orders and would deadlock."""
    ended = await end(api.database, user.user_id, LOST)
    async with api.database.as_user(user.user_id) as conn:
        assert len(await lock_purchases(conn, ended.execution_id)) == 2
        async with api.database.as_system() as sweep:
            assert await take_open_bills(sweep, limit=10) == []
    async with api.database.as_system() as sweep:
        assert [bill.ref.job_id for bill in await take_open_bills(sweep, limit=10)] == [
            ended.video.job_id
        ]
