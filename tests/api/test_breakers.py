"""An open circuit breaker: no order for its provider is accepted, and nothing is held."""

import asyncio
from typing import Any

import asyncpg
import pytest

from core.domain.failures import FailureCode
from core.domain.ids import new_job_id
from core.domain.states import JobState
from core.store.providers.capacity import reset
from core.store.providers.circuit_breaker import FIRST_PAUSE_SECONDS, trip
from tests.api.conftest import Api, TestUser
from tests.api.ended import Left, end
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G5")

PATH = "/api/generate-video"
BODY: dict[str, Any] = {"prompt": "A paper boat", "videoModel": "bytedance/seedance-1-pro"}
OTHER: dict[str, Any] = {
    "prompt": "A paper boat",
    "videoModel": "fal-ai/bytedance/seedance/v1/pro/image-to-video",
}


async def _trip(api: Api) -> None:
    async with api.database.as_system() as conn:
        tripped = await trip(conn, "replicate", new_job_id(), FailureCode.PROVIDER_AUTH_FAILED, 401)
    assert tripped.fresh


async def _pause_is_over(fresh: FreshDatabase) -> None:
    owner = await asyncpg.connect(fresh.owner_dsn)
    try:
        await owner.execute("UPDATE provider_states SET probe_at = now()")
    finally:
        await owner.close()


async def test_open_breaker_refuses_only_its_own_provider(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    replayed = await user.http.post(PATH, json=BODY, headers={"Idempotency-Key": "before"})
    await _trip(api)
    answer = await user.http.post(PATH, json=BODY, headers={"Idempotency-Key": "while open"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["provider"]) == (
        503,
        "provider_not_accepting",
        "replicate",
    )
    assert FIRST_PAUSE_SECONDS - 10 < int(answer.headers["retry-after"]) <= FIRST_PAUSE_SECONDS
    assert (problem["retryable"], problem["spent"]) == (True, "0")
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        assert await owner.fetchval("SELECT count(*) FROM executions") == 1
        assert await owner.fetchval("SELECT count(*) FROM charges") == 2
        assert await owner.fetchval("SELECT count(*) FROM idempotency_keys") == 1
    finally:
        await owner.close()
    again = await user.http.post(PATH, json=BODY, headers={"Idempotency-Key": "before"})
    assert (again.status_code, again.content) == (202, replayed.content)
    assert (await user.http.post(PATH, json=OTHER)).status_code == 202
    async with api.database.as_system() as conn:
        await reset(conn, "replicate")
    later = await user.http.post(PATH, json=BODY, headers={"Idempotency-Key": "while open"})
    assert later.status_code == 202


async def test_one_request_is_admitted_after_the_pause(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    await _trip(api)
    await _pause_is_over(fresh_database)
    answers = await asyncio.gather(*(user.http.post(PATH, json=BODY) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] + [503] * 11


async def test_open_breaker_refuses_a_retry_that_buys(api: Api, user: TestUser) -> None:
    ended = await end(
        api.database, user.user_id, Left(state=JobState.FAILED, sent=False, released=True)
    )
    await _trip(api)
    answer = await user.http.post(f"/api/executions/{ended.execution_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_not_accepting")
    assert (await user.http.get(f"/api/executions/{ended.execution_id}")).json()[
        "status"
    ] == "failed"
    async with api.database.as_system() as conn:
        await reset(conn, "replicate")
    assert (await user.http.post(f"/api/executions/{ended.execution_id}/retry")).status_code == 202
