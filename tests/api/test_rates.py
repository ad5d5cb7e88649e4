"""Rate limits over HTTP: exact across processes, stated in each response, separate for each key."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence

import httpx
import pytest

from core.platform.crypto.sealing import Sealer
from core.store.accounts.rate_limit import KeyRates, set_key_rates
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS, Api, TestUser, api_settings, running_api
from tests.api.processes import Served, two_served
from tests.support.servers import FreshDatabase

PATH = "/api/generate-video"
BODY = {"prompt": "A paper boat", "duration": 2}


@pytest.fixture
async def limited(fresh_database: FreshDatabase, temporal_address: str) -> AsyncGenerator[Api]:
    """Start an API with 3 writes and 6 reads per 15 minutes."""
    limits = {"rate_limit_writes": 3, "rate_limit_reads": 6}
    settings = api_settings(fresh_database, temporal_address).model_copy(update=limits)
    async with running_api(settings) as api:
        yield api


@pytest.fixture
async def caller(limited: Api) -> AsyncGenerator[TestUser]:
    user = await limited.new_user()
    async with user.http:
        yield user


def _left(answer: httpx.Response) -> tuple[str, int, int]:
    """Return class, remaining requests and seconds."""
    match = re.fullmatch(r'"(writes|reads)";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert match is not None
    return match[1], int(match[2]), int(match[3])


async def test_limit_is_exact_across_two_processes(
    fresh_database: FreshDatabase, temporal_address: str
) -> None:
    async with (
        Database.open(fresh_database.application_dsn) as database,
        database.as_system() as conn,
    ):
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "somebody", NO_LIMITS)
        api_key = (await insert_api_key(conn, user.user_id, "test")).key.text
    limit = {
        "RATE_LIMIT_WRITES": "60",
        "RATE_LIMIT_READS": "200",
        # Long enough that no request becomes available again while the test runs.
        "RATE_LIMIT_WINDOW_SECONDS": "86400",
    }
    async with two_served(fresh_database, temporal_address, api_key, **limit) as apis:
        for route, number in (("reads", 200), ("writes", 60)):
            await check_exact_limit(apis, route, number)


async def check_exact_limit(apis: Sequence[Served], route: str, number: int) -> None:
    async def send(api: httpx.AsyncClient) -> httpx.Response:
        return await (api.get("/api/executions") if route == "reads" else api.post(PATH, json=BODY))

    answers = await asyncio.gather(
        *(send(apis[count % 2].http) for count in range(number * 5 // 2))
    )
    late = [await send(api.http) for api in apis]

    admitted = [answer for answer in answers if answer.status_code != 429]
    assert {answer.status_code for answer in admitted} == {200 if route == "reads" else 202}
    assert len(admitted) == number
    assert sorted(_left(answer)[1] for answer in admitted) == list(range(number))
    assert {answer.status_code for answer in late} == {429}


async def test_refusal_has_retry_after_and_consumes_nothing(limited: Api, caller: TestUser) -> None:
    for _ in range(3):
        assert (await caller.http.post(PATH, json=BODY)).status_code == 202
    for _ in range(5):
        answer = await caller.http.post(PATH, json=BODY)

        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["retryable"]) == (
            429,
            "rate_limited",
            True,
        )
        named, remaining, seconds = _left(answer)
        assert (named, remaining, answer.headers["retry-after"]) == ("writes", 0, str(seconds))
        assert answer.headers["ratelimit-policy"] == '"writes";q=3;w=900'
        assert problem["rateLimit"] == {
            "class": "writes", "limit": 3, "windowSeconds": 900, "remaining": 0, "resetSeconds": seconds
        }  # fmt: skip
        assert 290 <= seconds <= 300
    assert (await caller.http.get("/api/executions")).status_code == 200, "reads have their own"
    other = await limited.new_user()
    async with other.http:
        assert (await other.http.post(PATH, json=BODY)).status_code == 202


async def test_every_response_states_the_remaining_allowance(
    limited: Api, caller: TestUser
) -> None:
    answers = [
        await caller.http.post(PATH, json={"prompt": ""}),
        await caller.http.post("/api/executions/exec_none/cancel"),
        await caller.http.get("/api/executions"),
        await caller.http.get("/api/executions/exec_none"),
        await caller.http.post("/api/quotes", json=BODY),
        await caller.http.post(PATH, json=BODY),
        await caller.http.delete("/api/keys/key_none"),
    ]
    told = [(answer.status_code, *_left(answer)[:2]) for answer in answers]
    assert told == [
        (422, "writes", 2),
        (404, "reads", 5),
        (200, "reads", 4),
        (404, "reads", 3),
        (200, "reads", 2),
        (202, "writes", 1),
        (404, "reads", 1),
    ]
    without_key = [
        await limited.http.get("/api/executions"),
        await limited.http.get("/healthz"),
        await caller.http.get("/nothing/here"),
    ]
    assert [answer.status_code for answer in without_key] == [401, 200, 404]
    assert all("ratelimit" not in answer.headers for answer in without_key)


async def test_key_with_limits_of_its_own(limited: Api, caller: TestUser) -> None:
    async with limited.database.as_system() as conn:
        await set_key_rates(conn, caller.key_id, KeyRates(writes=1, reads=0))
    assert (await caller.http.post(PATH, json=BODY)).headers[
        "ratelimit-policy"
    ] == '"writes";q=1;w=900'
    assert (await caller.http.post(PATH, json=BODY)).status_code == 429
    free = [await caller.http.get("/api/executions") for _ in range(10)]
    assert {answer.status_code for answer in free} == {200}
    assert all("ratelimit" not in answer.headers for answer in free)
