"""Limits of an order: its own maxCost, open executions, the monthly budget and the daily cap."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.service import RPCError, RPCStatusCode

from core.domain.failures import FailureCode
from core.domain.ids import UserId
from core.domain.money import NanoUsd, nano_usd, usd_text
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import UserLimits, insert_api_key, insert_user
from core.store.database import Database
from core.store.money.daily_spending_cap import get_service_today, set_daily_limit
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS, Api, TestUser
from tests.api.ended import COST, NEVER_SENT, STORED, end
from tests.api.processes import Served, two_served
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G4")

PATH = "/api/generate-video"
BODY = {"prompt": "A paper boat", "duration": 2}
COUNTS = """
SELECT (SELECT count(*) FROM executions WHERE user_id = $1), b.held_nano_usd, b.held_videos, l.open_executions
FROM budgets AS b JOIN concurrency_counters AS l USING (user_id) WHERE b.user_id = $1
"""
BOTH = ("image", "video")
FILM: dict[str, Any] = {
    "plan": {
        "version": 1,
        "steps": [
            {"name": "image", "kind": "image", "params": {"prompt": "a kite"}},
            {"name": "film", "kind": "merge", "params": {"items": [{"media": {"step": "image"}}]}},
        ],
    }
}


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def _worst(user: TestUser) -> int:
    """Return the worst price of the body from an execution of it."""
    answer = await user.http.post(PATH, json=BODY)
    read = await user.http.get(f"/api/executions/{answer.json()['executionId']}")
    return nano_usd(read.json()["cost"]["estimated"])


async def test_max_cost_below_the_worst_price_is_refused(api: Api, user: TestUser) -> None:
    worst = await _worst(user)
    answer = await user.http.post(PATH, json={**BODY, "maxCost": usd_text(worst - 1)})
    assert _code(answer) == (402, "max_cost_exceeded")
    cost = answer.json()["cost"]
    assert (cost["currency"], cost["maxCost"], cost["needed"]) == (
        "USD",
        usd_text(worst - 1),
        usd_text(worst),
    )
    assert tuple(step["step"] for step in cost["steps"]) == BOTH
    assert sum(nano_usd(step["atMost"]) for step in cost["steps"]) == worst
    async with api.database.as_system() as conn:
        assert await conn.fetchval("SELECT count(*) FROM executions") == 1
    accepted = await user.http.post(PATH, json={**BODY, "maxCost": usd_text(worst)})
    assert accepted.status_code == 202


@pytest.mark.parametrize(
    "max_cost",
    [0.5, 1, "", "-1", "1e3", "0.1234567890", "1.", ".5", " 1", "1\n", "1234567890", None],
)
async def test_max_cost_is_an_exact_amount_of_dollars(api_once: TestUser, max_cost: Any) -> None:
    answer = await api_once.http.post(PATH, json={**BODY, "maxCost": max_cost})
    if max_cost is None:
        assert answer.status_code == 202
        return
    assert _code(answer) == (422, "invalid_request")
    assert [error["field"] for error in answer.json()["errors"]] == ["maxCost"]


@pytest.mark.parametrize("short", [0, 1])
async def test_retry_that_would_pass_max_cost_is_refused(
    api: Api, user: TestUser, short: int
) -> None:
    """Settled and open costs of earlier generations count towards the limit."""
    ended = await end(api.database, user.user_id, NEVER_SENT, image=STORED)
    async with api.database.as_system() as conn:
        await conn.execute("UPDATE executions SET max_cost_nano_usd = $1", COST + 10_000_000_000)
    path = f"/api/executions/{ended.execution_id}/retry"
    first = await user.http.post(path)
    assert first.status_code == 202
    added = nano_usd(first.json()["estimated"])
    two = await end(api.database, user.user_id, NEVER_SENT, image=STORED)
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE executions SET max_cost_nano_usd = $1 WHERE execution_id = $2",
            COST + added - short,
            two.execution_id,
        )
    answer = await user.http.post(f"/api/executions/{two.execution_id}/retry")
    if not short:
        assert answer.status_code == 202
        return
    assert _code(answer) == (402, "max_cost_exceeded")
    cost = answer.json()["cost"]
    assert (cost["before"], cost["needed"]) == (usd_text(COST), usd_text(added))
    assert [step["step"] for step in cost["steps"]] == ["video"]
    async with api.database.as_system() as conn:
        row = await conn.fetchrow(
            "SELECT status, generation, (SELECT count(*) FROM jobs AS j WHERE j.execution_id = e.execution_id)"
            " FROM executions AS e WHERE execution_id = $1",
            two.execution_id,
        )
    assert row is not None
    assert tuple(row) == ("failed", 1, 2)


async def test_max_cost_is_stored_with_the_execution(api: Api, user: TestUser) -> None:
    answer = await user.http.post(PATH, json={**BODY, "maxCost": "0.75"})
    async with api.database.as_system() as conn:
        kept = await conn.fetchval(
            "SELECT max_cost_nano_usd FROM executions WHERE execution_id = $1",
            answer.json()["executionId"],
        )
    assert kept == 750_000_000


def _limited(**limits: int) -> UserLimits:
    return UserLimits(monthly_videos=None, monthly_nano_usd=None, **limits)


async def test_open_limit_refuses_until_one_has_ended(api: Api) -> None:
    user = await api.new_user(_limited(open_executions=1))
    async with user.http:
        ended = await end(api.database, user.user_id, NEVER_SENT)
        assert (await user.http.post(PATH, json=BODY)).status_code == 202
        for path, body in ((PATH, BODY), (f"/api/executions/{ended.execution_id}/retry", {})):
            answer = await user.http.post(path, json=body)
            assert _code(answer) == (429, "open_limit_reached")
            assert answer.json()["executions"] == {"open": 1, "limit": 1}
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["retryable"] is True


DAY_SHARE = 43_200
"""The longest expected wait of an accepted order: half of the queue limit."""


async def test_order_is_refused_while_its_users_queue_is_too_long(api: Api) -> None:
    """The user's executions took long recently; the last one would wait for them."""
    user = await api.new_user(_limited(running_executions=2))
    async with user.http:
        ended = await end(api.database, user.user_id, NEVER_SENT)
        accepted = [(await user.http.post(PATH, json=BODY)).status_code for _ in range(3)]
        assert accepted == [202, 202, 202]
        await _set_recent(api, user, DAY_SHARE + 100)
        for path, body in ((PATH, BODY), (f"/api/executions/{ended.execution_id}/retry", {})):
            answer = await user.http.post(path, json=body)
            assert _code(answer) == (429, "queue_full")
            assert answer.headers["retry-after"] == "100"
            assert answer.json()["queue"] == {
                "waiting": 2,
                "expectedSeconds": DAY_SHARE + 100,
                "limitSeconds": DAY_SHARE,
            }
        await _set_recent(api, user, DAY_SHARE)
        assert (await user.http.post(PATH, json=BODY)).status_code == 202


async def _set_recent(api: Api, user: TestUser, seconds: float) -> None:
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE concurrency_counters SET recent_run_seconds = $2 WHERE user_id = $1",
            user.user_id,
            float(seconds),
        )


async def test_order_is_refused_while_its_provider_queue_is_too_long(api: Api) -> None:
    """Only a user with a large share of the provider's queue waits for it."""
    heavy, light = await api.new_user(), await api.new_user()
    async with heavy.http, light.http:
        ended = await end(api.database, heavy.user_id, NEVER_SENT)
        await heavy.http.post(PATH, json=BODY)
        async with api.database.as_system() as conn:
            await conn.execute(
                "INSERT INTO provider_queues (provider, jobs, users, work_seconds, slots)"
                " SELECT name, 20000, 2, 20000 * 100, 20 FROM unnest(ARRAY['fal', 'replicate']) AS name"
            )
            await conn.execute(
                "UPDATE concurrency_counters SET open_executions = 10000 WHERE user_id = $1",
                heavy.user_id,
            )
        for path, body in ((PATH, BODY), (f"/api/executions/{ended.execution_id}/retry", {})):
            answer = await heavy.http.post(path, json=body)
            assert _code(answer) == (503, "provider_queue_full")
            assert answer.headers["retry-after"] == str(100_000 - DAY_SHARE)
            assert answer.json()["queue"]["expectedSeconds"] == 100_000
        assert (await light.http.post(PATH, json=BODY)).status_code == 202


async def test_daily_limit_refuses_until_midnight(api: Api, user: TestUser) -> None:
    ended = await end(api.database, user.user_id, NEVER_SENT)
    async with api.database.as_system() as conn:
        await set_daily_limit(conn, NanoUsd(0))
    before = datetime.now(UTC)
    for path, body in ((PATH, BODY), (f"/api/executions/{ended.execution_id}/retry", {})):
        answer = await user.http.post(path, json=body)
        assert _code(answer) == (503, "service_budget_exceeded")
        resets_at = datetime.fromisoformat(answer.json()["budget"]["resetsAt"])
        assert (resets_at.hour, resets_at.minute, resets_at.utcoffset()) == (0, 0, timedelta(0))
        waits = timedelta(seconds=int(answer.headers["retry-after"]))
        assert abs(before + waits - resets_at) < timedelta(seconds=5)
        assert "left" not in answer.json()["budget"]  # it would reveal what other users spend


async def test_budget_problem_returns_the_reset_time(api: Api) -> None:
    user = await api.new_user(UserLimits(monthly_videos=0, monthly_nano_usd=None))
    async with user.http:
        answer = await user.http.post(PATH, json=BODY)
    assert _code(answer) == (402, "budget_exceeded")
    resets_at = datetime.fromisoformat(answer.json()["budget"]["resetsAt"])
    assert (resets_at.day, resets_at.hour) == (1, 0)
    assert timedelta(0) < resets_at - datetime.now(UTC) <= timedelta(days=31)


async def test_media_limit_refuses_a_plan_with_both_numbers(api: Api) -> None:
    user = await api.new_user(_limited(media_seconds=1))
    async with user.http:
        answer = await user.http.post("/api/executions", json=FILM)
        assert _code(answer) == (409, "media_limit_reached")
        media = answer.json()["media"]
        assert media["neededSeconds"] > media["leftSeconds"] == media["limitSeconds"] == 1
        assert datetime.fromisoformat(media["resetsAt"]) > datetime.now(UTC)
        assert (await user.http.get("/api/usage")).json()["mediaSecondsLimit"] == 1
        async with api.database.as_user(user.user_id) as conn:
            assert await conn.fetchval("SELECT count(*) FROM executions") == 0
            assert await conn.fetchval("SELECT count(*) FROM charges") == 0
        assert (await user.http.post(PATH, json=BODY)).status_code == 202


async def test_execution_without_a_slot_is_not_started(api: Api) -> None:
    """It waits in its row; only a cancel starts its workflow, which then needs no slot."""
    user = await api.new_user(_limited(running_executions=1))
    async with user.http:
        first, second = [
            (await user.http.post(PATH, json=BODY)).json()["executionId"] for _ in range(2)
        ]
    started = [await _has_workflow(api, ended) for ended in (first, second)]
    assert started == [True, False]


async def test_cancel_of_a_waiting_execution_starts_its_workflow(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.ordering.cancel.CANCEL_WAIT_SECONDS", 0.3)
    user = await api.new_user(_limited(running_executions=1))
    async with user.http:
        _, second = [
            (await user.http.post(PATH, json=BODY)).json()["executionId"] for _ in range(2)
        ]
        answer = await user.http.post(f"/api/executions/{second}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (
        202,
        "queued",
    )  # no worker runs here
    assert await _has_workflow(api, second)


async def _has_workflow(api: Api, execution_id: str) -> bool:
    try:
        await api.services.temporal.get_workflow_handle(execution_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def _order(http: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    """Send the order until it is accepted or refused.

    Two small processes may be too busy for a crowd, and answer 503.
    """
    async with asyncio.timeout(90):
        while True:
            answer = await http.post(PATH, json=BODY, headers=headers)
            if (
                answer.status_code != 503
                or answer.json()["code"] != FailureCode.SERVICE_UNAVAILABLE
            ):
                return answer
            await asyncio.sleep(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded:
    """Two API processes on one database. price: the worst price of the body."""

    database: Database
    apis: tuple[Served, Served]
    price: int

    async def new_user(self, limits: UserLimits) -> tuple[UserId, dict[str, str]]:
        """Return a new user and its authorization header."""
        async with self.database.as_system() as conn:
            user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "somebody", limits)
            key = await insert_api_key(conn, user.user_id, "test")
        return user.user_id, {"Authorization": f"Bearer {key.key.text}"}


@pytest.fixture(scope="module")
async def crowded(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[Crowded]:
    environment = {"RATE_LIMIT_WRITES": "0", "RUNNING_EXECUTIONS_PER_USER": "1"}
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=2) as database,
        two_served(fresh, temporal_address, "each has its own", **environment) as apis,
    ):
        bare = Crowded(database=database, apis=apis, price=0)
        _, headers = await bare.new_user(NO_LIMITS)
        answer = await apis[0].http.post(PATH, json=BODY, headers=headers)
        read = await apis[1].http.get(answer.json()["statusUrl"], headers=headers)
        yield replace(bare, price=nano_usd(read.json()["cost"]["estimated"]))


@pytest.mark.parametrize(
    ("limit", "crowd", "capacity"),
    [
        ("dollars", 400, 100),
        ("open executions", 400, 100),
        ("videos", 100, 25),
        ("daily cap", 100, 25),
    ],
)
async def test_crowd_at_two_processes_fills_a_limit_exactly(
    crowded: Crowded, limit: str, crowd: int, capacity: int
) -> None:
    limits = {
        "dollars": UserLimits(
            monthly_videos=None, monthly_nano_usd=NanoUsd((capacity + 1) * crowded.price - 1)
        ),
        "videos": UserLimits(monthly_videos=capacity, monthly_nano_usd=None),
        "open executions": _limited(open_executions=capacity),
        "daily cap": NO_LIMITS,
    }[limit]
    user_id, headers = await crowded.new_user(limits)
    if limit == "daily cap":
        async with crowded.database.as_system() as conn:
            today = await get_service_today(conn)
            used = today.held_nano_usd + today.settled_nano_usd
            await set_daily_limit(conn, NanoUsd(used + (capacity + 1) * crowded.price - 1))
    answers = await asyncio.gather(
        *(_order(crowded.apis[number % 2].http, headers) for number in range(crowd))
    )
    async with crowded.database.as_system() as conn:
        await set_daily_limit(conn, None)
        row = await conn.fetchrow(COUNTS, user_id)
    assert sum(answer.status_code == 202 for answer in answers) == capacity
    refusals = {_code(answer)[1] for answer in answers if answer.status_code != 202}
    expected = {
        "open executions": FailureCode.OPEN_LIMIT_REACHED,
        "daily cap": FailureCode.SERVICE_BUDGET_EXCEEDED,
    }
    assert refusals == {expected.get(limit, FailureCode.BUDGET_EXCEEDED)}
    assert row is not None
    assert tuple(row) == (capacity, capacity * crowded.price, capacity, capacity)
