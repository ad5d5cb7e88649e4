"""`takeone-admin keys create` with scopes, and the identities of users."""

import pytest

from core.store.accounts.audit import list_audit
from core.store.database import Database
from tests.support.admin import run_admin
from tests.support.servers import FreshDatabase

SUBJECT = ("--issuer", "https://issuer.example/", "--subject", "auth0|ada")


async def test_admin_creates_keys_with_scopes(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    user = (await run_admin(url, "users", "create", "Ada")).json["userId"]
    some = (
        await run_admin(url, "keys", "create", user, "--scope", "read", "--scope", "admin")
    ).json
    everything = (await run_admin(url, "keys", "create", user)).json

    assert some["scopes"] == ["admin", "read"]
    assert everything["scopes"] == ["admin", "generate", "read"]
    listed = (await run_admin(url, "keys", "list", user)).json
    assert {entry["keyId"]: entry["scopes"] for entry in listed}[some["keyId"]] == ["admin", "read"]
    assert {entry["name"]: entry["scopes"] for entry in listed}["first"] == [
        "admin",
        "generate",
        "read",
    ]
    assert {entry["madeBy"] for entry in listed} == {None}
    async with Database.open(url) as database, database.as_system() as conn:
        details = [
            entry.detail["scopes"]
            for entry in await list_audit(conn)
            if entry.action == "keys create"
        ]
    assert sorted(details) == [["admin", "generate", "read"], ["admin", "read"]]


async def test_admin_links_a_subject_lists_and_unlinks_it(fresh_database: FreshDatabase) -> None:
    url = fresh_database.application_dsn
    ada, bob = [
        (await run_admin(url, "users", "create", name)).json["userId"] for name in ("Ada", "Bob")
    ]
    linked = {"userId": ada, "issuer": "https://issuer.example/", "subject": "auth0|ada"}

    for _ in range(2):
        assert (await run_admin(url, "users", "link", ada, *SUBJECT)).json == linked
    refused = await run_admin(url, "users", "link", bob, *SUBJECT)
    assert (refused.code, refused.err) == (2, f"this subject is linked to {ada}: unlink it first\n")
    (entry,) = (await run_admin(url, "users", "identities", ada)).json
    assert entry == {**linked, "createdAt": entry["createdAt"]}
    assert (await run_admin(url, "users", "unlink", *SUBJECT)).json == linked
    assert (await run_admin(url, "users", "identities", ada)).json == []
    assert (await run_admin(url, "users", "link", bob, *SUBJECT)).json["userId"] == bob
    async with Database.open(url) as database, database.as_system() as conn:
        audited = [(entry.action, entry.target) for entry in await list_audit(conn)]
    assert audited[:2] == [("users link", bob), ("users unlink", ada)]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["keys", "create", "usr_none", "--scope", "everything"],
            2,
            "is not one of 'read', 'generate', 'admin'",
        ),
        (["users", "link", "usr_none", *SUBJECT], 1, "no user usr_none"),
        (["users", "link", "usr_none", "--issuer", "x"], 2, "--subject"),
        (["users", "link", "usr_none", "--issuer", " ", "--subject", "x"], 2, "printable"),
        (
            ["users", "unlink", *SUBJECT],
            1,
            "no user is linked to auth0|ada of https://issuer.example/",
        ),
        (["users", "identities", "usr_none"], 1, "no user usr_none"),
    ],
)
async def test_admin_refuses_invalid_keys_and_links(
    fresh_database: FreshDatabase, arguments: list[str], code: int, said: str
) -> None:
    ran = await run_admin(fresh_database.application_dsn, *arguments)

    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err.splitlines()[-1]
