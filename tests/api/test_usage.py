"""Monthly usage as returned to a user."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from core.domain.money import NanoUsd, nano_usd, usd_text
from core.domain.months import next_month
from core.domain.states import ExecutionStatus, JobState
from core.store.accounts.users import UserLimits
from core.store.money.budget_counters import count_video
from tests.api.conftest import Api, TestUser
from tests.api.walk import Walk

pytestmark = pytest.mark.guarantee("G4")

LIMITS = UserLimits(monthly_videos=10, monthly_nano_usd=NanoUsd(20_000_000_000))


async def _read(user: TestUser, query: str = "") -> dict[str, Any]:
    answer = await user.http.get(f"/api/usage{query}")
    assert answer.status_code == 200, answer.text
    read: dict[str, Any] = answer.json()
    return read


async def _post(user: TestUser) -> str:
    answer = await user.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    return execution_id


async def _completed(api: Api, user: TestUser, *, cost: int) -> None:
    """Run one execution to its end; both of its jobs cost the same."""
    walk = await Walk.claimed(api.database, user.user_id, await _post(user))
    for step, provider in (("image", "fal"), ("video", "replicate")):
        await walk.submit(step, provider, f"{provider}-{walk.ref.execution_id}")
        await walk.settle(step, cost, JobState.COMPLETED)
    await walk.end(ExecutionStatus.COMPLETED, progress=100)
    async with api.database.as_user(user.user_id) as conn:
        await count_video(conn, walk.ref.execution_id, completed=True)


def _sum(parts: list[dict[str, Any]], name: str) -> str:
    return usd_text(sum(nano_usd(part[name]) for part in parts))


async def test_unused_month_shows_zero_limits_and_reset(api: Api) -> None:
    user = await api.new_user(LIMITS)
    read = await _read(user)

    this_month = datetime.now(UTC).date().replace(day=1)
    assert read == {
        "month": f"{this_month:%Y-%m}",
        "resetsAt": next_month(this_month)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z"),
        "currency": "USD",
        "usd": {"limit": "20", "held": "0", "settled": "0", "left": "20"},
        "videos": {"limit": 10, "held": 0, "settled": 0, "left": 10},
        "byDay": [],
        "byModel": [],
        "mediaSeconds": 0.0,
        "mediaSecondsLimit": 360_000,
        "thresholds": [],
    }


async def test_usage_without_limits_has_no_remaining_amount(user: TestUser) -> None:
    read = await _read(user)

    assert (read["usd"]["limit"], read["usd"]["left"]) == (None, None)
    assert (read["videos"]["limit"], read["videos"]["left"]) == (None, None)


async def test_usage_by_day_and_model_sums_to_the_month(api: Api) -> None:
    user, other = await api.new_user(LIMITS), await api.new_user(LIMITS)
    await _completed(api, user, cost=1_000_001)
    held = await _read(other)
    assert held["usd"]["held"] == "0"  # excluded: another user's
    await _post(user)
    read = await _read(user)

    assert read["usd"]["settled"] == "0.002000002"
    assert nano_usd(read["usd"]["held"]) > 0
    assert nano_usd(read["usd"]["left"]) == 20 * 10**9 - nano_usd(read["usd"]["held"]) - 2_000_002
    assert read["videos"] == {"limit": 10, "held": 1, "settled": 1, "left": 8}
    for parts in (read["byDay"], read["byModel"]):
        assert (_sum(parts, "held"), _sum(parts, "settled")) == (
            read["usd"]["held"],
            read["usd"]["settled"],
        )
    (day,) = read["byDay"]
    assert (date.fromisoformat(day["date"]), day["videosHeld"], day["videosSettled"]) == (
        datetime.now(UTC).date(),
        1,
        1,
    )
    assert [(model["provider"], model["jobs"]) for model in read["byModel"]] == [
        ("fal", 2),
        ("replicate", 2),
    ]


async def test_usage_of_another_month_has_its_own_rows(api: Api) -> None:
    """A cost billed a month after its hold counts on the last day of the hold's month."""
    user = await api.new_user(LIMITS)
    await _completed(api, user, cost=7)
    async with api.database.as_system() as conn:
        for table in ("budgets", "charges", "executions"):
            await conn.execute(
                f"UPDATE {table} SET budget_month = '2024-02-01' WHERE user_id = $1", user.user_id
            )
    now, then = await _read(user), await _read(user, "?month=2024-02")

    assert (now["usd"]["settled"], now["byDay"]) == ("0", [])
    assert then["resetsAt"] == "2024-03-01T00:00:00.000000Z"
    assert then["usd"] == {"limit": "20", "held": "0", "settled": "0.000000014", "left": None}
    assert then["videos"] == {"limit": 10, "held": 0, "settled": 1, "left": None}
    assert [day["date"] for day in then["byDay"]] == ["2024-02-29"]


@pytest.mark.parametrize(
    "query",
    [
        "?month=2026",
        "?month=2026-13",
        "?month=2026-00",
        "?month=1026-01",
        "?month=",
        "?day=1",
        "?month=2026-1",
    ],
)
async def test_usage_of_an_invalid_month_is_refused(api_once: TestUser, query: str) -> None:
    answer = await api_once.http.get(f"/api/usage{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_usage_needs_an_api_key(shared_api: Api) -> None:
    assert (await shared_api.http.get("/api/usage")).status_code == 401


def test_next_month_after_december_is_january() -> None:
    assert next_month(date(2026, 12, 1)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert next_month(date(2026, 1, 1)) == datetime(2026, 2, 1, tzinfo=UTC)
