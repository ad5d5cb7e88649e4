"""`takeone-admin users set-webhook`: setting and removing an account's webhook address."""

import pytest

from core.store.accounts.audit import list_audit
from core.store.database import Database
from tests.support.admin import run_admin
from tests.support.servers import FreshDatabase

URL = "https://account.example/hooks?token=hush"


async def test_account_webhook_address_is_set_and_removed(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    user = (await run_admin(url, "users", "create", "Ada")).json["userId"]

    async def listed() -> str | None:
        (entry,) = (await run_admin(url, "users", "list")).json
        return entry["webhookUrl"]

    assert await listed() is None
    assert (await run_admin(url, "users", "set-webhook", user, URL)).json == {
        "userId": user,
        "webhookUrl": URL,
    }
    assert await listed() == URL
    assert (await run_admin(url, "users", "set-webhook", user, "none")).json == {
        "userId": user,
        "webhookUrl": None,
    }
    assert await listed() is None
    async with Database.open(url) as database, database.as_system() as conn:
        entries = [entry for entry in await list_audit(conn) if entry.action == "users set-webhook"]
    assert [(entry.target, entry.detail["host"]) for entry in entries] == [
        (user, None),
        (user, "account.example"),
    ]
    assert "hush" not in str(entries)


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("ftp://account.example/", 2, "http:// or https://"),
        ("account.example", 2, "http:// or https://"),
        ("https://ada:secret@account.example/", 2, "no user or password"),
        ("https://account.example/a b", 2, "is not a URL"),
        (f"https://account.example/{'a' * 2048}", 2, "must have at most 2048 characters"),
        (URL, 1, "no user usr_none"),
    ],
)
async def test_invalid_account_webhook_address_is_refused(
    fresh_database: FreshDatabase, address: str, code: int, said: str
) -> None:
    ran = await run_admin(
        fresh_database.application_dsn, "users", "set-webhook", "usr_none", address
    )

    assert (ran.code, said in ran.err) == (code, True), ran
