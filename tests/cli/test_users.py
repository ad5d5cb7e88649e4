"""`takeone-admin users`: accounts, limits and one-line refusals."""

import pytest

from core.store.accounts.api_key_format import parse_api_key
from tests.support.admin import run_admin, run_process
from tests.support.servers import FreshDatabase


async def test_admin_creates_a_user_and_shows_secrets_once(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    made = (
        await run_process(
            url, "users", "create", "Ada", "--monthly-videos", "100", "--monthly-usd", "12.5"
        )
    ).json
    assert made["userId"].startswith("usr_")
    assert parse_api_key(made["apiKey"]) is not None
    assert made["webhookSecret"].startswith("whsec_")
    assert (made["name"], made["monthlyVideos"], made["monthlyUsd"]) == ("Ada", 100, "12.5")

    listed = await run_admin(url, "users", "list")
    assert [user["userId"] for user in listed.json] == [made["userId"]]
    keys = await run_admin(url, "keys", "list", made["userId"])
    assert [key["keyId"] for key in keys.json] == [made["keyId"]]
    for secret in (made["apiKey"], made["webhookSecret"]):
        assert secret not in listed.out + keys.out


async def test_admin_changes_limits_and_keys(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    user = (await run_admin(url, "users", "create", "Ada", "--monthly-videos", "5")).json["userId"]

    limits = (await run_admin(url, "users", "set-limits", user, "--monthly-usd", "0.003")).json
    loads = {
        "openExecutions": "default",
        "runningExecutions": "default",
        "mediaSeconds": "default",
    }
    assert limits == {"userId": user, "monthlyVideos": 5, "monthlyUsd": "0.003", **loads}
    limits = (await run_admin(url, "users", "set-limits", user, "--monthly-videos", "none")).json
    assert limits == {"userId": user, "monthlyVideos": None, "monthlyUsd": "0.003", **loads}

    assert (await run_admin(url, "users", "alarms", "--days", "1")).json == []
    key = (
        await run_admin(url, "keys", "create", user, "--name", "laptop", "--expires-days", "30")
    ).json
    revoked = (await run_admin(url, "keys", "revoke", key["keyId"])).json
    assert revoked["keyId"] == key["keyId"]
    listed = (await run_admin(url, "keys", "list", user)).json
    assert [(entry["name"], entry["revokedAt"] is not None) for entry in listed] == [
        ("first", False),
        ("laptop", True),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["keys", "create", "usr_none"], 1, "no user usr_none"),
        (["keys", "list", "usr_none"], 1, "no user usr_none"),
        (["keys", "revoke", "key_none"], 1, "no key key_none"),
        (["users", "disable", "usr_none"], 1, "no user usr_none"),
        (["users", "create", "Ada", "--monthly-usd", "-1"], 2, "not an amount"),
        (
            ["users", "create", "Ada", "--monthly-usd", "0.0000000001"],
            2,
            "finer than a nano-dollar",
        ),
        (["users", "create", "Ada", "--monthly-usd", "inf"], 2, "not an amount"),
        (
            ["users", "create", "Ada", "--monthly-videos", "1.5"],
            2,
            "neither a whole number nor none",
        ),
        (
            ["users", "create", "Ada", "--open-executions", "none"],
            2,
            "neither a whole number nor default",
        ),
        (["users", "set-limits", "usr_none", "--running-executions", "0"], 2, "wait forever"),
        (["users", "create", " "], 2, "a name has"),
    ],
)
async def test_admin_refuses_with_one_clear_line(
    fresh_database: FreshDatabase, arguments: list[str], code: int, said: str
) -> None:
    ran = await run_admin(fresh_database.application_dsn, *arguments)

    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err


async def test_admin_reports_a_database_outage_in_one_line() -> None:
    ran = await run_process(
        "postgresql://takeone:secret-password@127.0.0.1:9/takeone", "users", "list"
    )

    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "database cannot be used" in ran.err
    assert "secret-password" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["users"],
        ["users", "create"],
        ["keys"],
        ["jobs"],
        ["jobs", "adopt"],
        ["submits", "pause"],
        ["service", "set-daily-limit"],
        ["audit", "list"],
    ],
)
async def test_admin_has_help_everywhere(arguments: list[str]) -> None:
    ran = await run_admin("", *arguments, "--help")

    assert ran.code == 0
    assert f"Usage: {' '.join(['takeone-admin', *arguments])}" in ran.out
