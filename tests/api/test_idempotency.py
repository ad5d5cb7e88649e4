"""Idempotency-Key: equal requests run once, never wait for each other, and expire after 30 days."""

import asyncio
import time

import asyncpg
import httpx
import pytest

from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from core.store.executions.idempotency import try_lock_key
from core.store.executions.retries import lock_execution
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS, Api, TestUser
from tests.api.ended import NEVER_SENT, end
from tests.api.processes import two_served
from tests.support.servers import FreshDatabase

PATH = "/api/generate-video"
BODY = {"prompt": "A paper boat", "duration": 2}
KEY = {"Idempotency-Key": "order 1042"}
CROWD = 400


@pytest.mark.guarantee("G1")
async def test_crowd_of_equal_requests_at_two_processes_is_one_execution(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    async with (
        Database.open(fresh_database.application_dsn) as database,
        database.as_system() as conn,
    ):
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "somebody", NO_LIMITS)
        api_key = (await insert_api_key(conn, user.user_id, "test")).key.text
    unlimited = {"RATE_LIMIT_WRITES": "0"}
    async with two_served(fresh_database, temporal_address, api_key, **unlimited) as apis:
        answers = await asyncio.gather(
            *(apis[number % 2].http.post(PATH, json=BODY, headers=KEY) for number in range(CROWD))
        )
        again = await asyncio.gather(*(api.http.post(PATH, json=BODY, headers=KEY) for api in apis))

    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert sum("idempotent-replayed" not in answer.headers for answer in accepted) == 1
    assert {answer.json()["executionId"] for answer in [*accepted, *again]} == {
        again[0].json()["executionId"]
    }
    assert all(answer.headers["idempotent-replayed"] == "true" for answer in again)
    for answer in refused:
        # On a busy machine some requests of the crowd get no database connection in time.
        if answer.status_code != 503:
            _assert_in_progress(answer)
    assert await _rows(fresh_database, "executions") == 1
    assert await _rows(fresh_database, "idempotency_keys") == 1


def _assert_in_progress(answer: httpx.Response) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "idempotency_in_progress")
    assert (answer.headers["retry-after"], problem["retryable"]) == ("1", True)


@pytest.mark.guarantee("G1")
@pytest.mark.parametrize("retry", [False, True])
async def test_equal_requests_in_progress_block_no_connections(
    api: Api, user: TestUser, fresh_database: FreshDatabase, retry: bool
) -> None:
    """With more equal requests than connections, each is refused at once and others are served."""
    ended = await end(api.database, user.user_id, NEVER_SENT)
    path, body = (f"/api/executions/{ended.execution_id}/retry", {}) if retry else (PATH, BODY)
    other = await api.new_user()
    async with other.http, api.database.as_user(user.user_id) as first:
        assert await try_lock_key(first, user.user_id, KEY["Idempotency-Key"])
        if retry:
            await lock_execution(first, user.user_id, ended.execution_id)
        begun = time.monotonic()
        answers = await asyncio.gather(
            *(user.http.post(path, json=body, headers=KEY) for _ in range(60))
        )
        elsewhere = await asyncio.gather(
            user.http.post(PATH, json=BODY, headers={"Idempotency-Key": "another"}),
            other.http.post(PATH, json=BODY, headers=KEY),
        )
        assert time.monotonic() - begun < 8, "a request waited"
    for answer in answers:
        _assert_in_progress(answer)
    assert [answer.status_code for answer in elsewhere] == [202, 202]
    assert (await user.http.post(path, json=body, headers=KEY)).status_code == 202
    assert await _rows(fresh_database, "idempotency_keys") == 3


@pytest.mark.guarantee("G1")
async def test_key_expires_after_30_days(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    first = await user.http.post(PATH, json=BODY, headers=KEY)
    await _age(fresh_database, "29 days 23 hours")
    replayed = await user.http.post(PATH, json=BODY, headers=KEY)
    await _age(fresh_database, "1 hour")
    other_body = {**BODY, "prompt": "A paper plane"}
    new = await user.http.post(PATH, json=other_body, headers=KEY)
    again = await user.http.post(PATH, json=other_body, headers=KEY)
    old = await user.http.post(PATH, json=BODY, headers=KEY)

    assert (replayed.content, replayed.headers["idempotent-replayed"]) == (first.content, "true")
    assert new.status_code == 202
    assert "idempotent-replayed" not in new.headers
    assert new.json()["executionId"] != first.json()["executionId"]
    assert (again.content, again.headers["idempotent-replayed"]) == (new.content, "true")
    assert (old.status_code, old.json()["code"]) == (422, "idempotency_conflict")
    assert await _rows(fresh_database, "executions") == 2


async def test_keys_of_two_users_are_independent(api: Api, user: TestUser) -> None:
    other = await api.new_user()
    async with other.http:
        for caller in (user, other):
            ended = await end(api.database, caller.user_id, NEVER_SENT)
            answer = await caller.http.post(
                f"/api/executions/{ended.execution_id}/retry", headers=KEY
            )
            assert answer.status_code == 202
            assert "idempotent-replayed" not in answer.headers


async def _age(database: FreshDatabase, by: str) -> None:
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        await owner.execute(
            f"UPDATE idempotency_keys SET created_at = created_at - interval '{by}'"
        )
    finally:
        await owner.close()


async def _rows(database: FreshDatabase, table: str) -> int:
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        number: int = await owner.fetchval(f"SELECT count(*) FROM {table}")
    finally:
        await owner.close()
    return number
