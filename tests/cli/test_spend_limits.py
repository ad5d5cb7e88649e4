"""`takeone-admin keys`: spend limits of keys."""

import pytest

from tests.support.admin import run_admin
from tests.support.servers import FreshDatabase


async def test_admin_sets_and_shows_spend_limits(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    user = (await run_admin(url, "users", "create", "Ada")).json
    made = (await run_admin(url, "keys", "create", user["userId"], "--daily-usd", "5")).json
    assert (made["scopes"], made["dailyUsd"], made["monthlyUsd"]) == (
        ["generate", "read"],
        "5",
        None,
    )
    key = made["keyId"]
    command = ("keys", "set-spend-limit", key)
    changed = (await run_admin(url, *command, "--monthly-usd", "50.5")).json
    assert changed == {"keyId": key, "dailyUsd": "5", "monthlyUsd": "50.5"}
    (listed, *_) = (await run_admin(url, "keys", "list", user["userId"])).json
    names = ("dailyUsd", "heldTodayUsd", "settledTodayUsd", "monthlyUsd", "heldThisMonthUsd")
    assert [listed[name] for name in names] == ["5", "0", "0", "50.5", "0"]
    removed = (await run_admin(url, *command, "--daily-usd", "none")).json
    assert (removed["dailyUsd"], removed["monthlyUsd"]) == (None, "50.5")
    entry = (await run_admin(url, "audit", "list", "--target", key)).json[0]
    assert entry["action"] == "keys set-spend-limit"
    assert entry["detail"]["from"] == {"dailyUsd": "5", "monthlyUsd": "50.5"}

    refused = await run_admin(url, "keys", "set-spend-limit", user["keyId"], "--daily-usd", "1")
    assert (refused.code, "scope admin cannot have a spend limit" in refused.err) == (2, True)
    create = ("keys", "create", user["userId"], "--scope", "admin", "--daily-usd", "1")
    assert (await run_admin(url, *create)).code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["key_none", "--daily-usd", "1"], 1, "no key key_none"),
        (["key_none", "--daily-usd", "1e3"], 2, "not an amount of US dollars"),
    ],
)
async def test_admin_refuses_invalid_spend_limits(
    fresh_database: FreshDatabase, arguments: list[str], code: int, said: str
) -> None:
    ran = await run_admin(fresh_database.application_dsn, "keys", "set-spend-limit", *arguments)
    assert (ran.code, said in ran.err) == (code, True)
