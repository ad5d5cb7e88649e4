"""`takeone-admin jobs`, `submits` and `audit`: output, refusals and audit entries."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cli.options import exact_usd
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.recovery.restore_marker import DATABASE_BEHIND, pause_behind
from tests.support.admin import run_admin, run_process
from tests.support.operator_jobs import entries, given_up, sent
from tests.support.rows import IMAGE_MODEL, IMAGE_PRICE
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G3")


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncGenerator[Database]:
    async with Database.open(fresh_database.application_dsn, max_connections=4) as opened:
        yield opened


async def audited(database: Database) -> list[tuple[str, str, str, Any]]:
    async with database.as_system() as conn:
        return [
            (one.actor, one.action, one.target, dict(one.detail)) for one in await list_audit(conn)
        ]


async def test_jobs_are_listed_adopted_and_audited(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    one = await sent(database, sends=2)
    job = one.image.job_id

    listed = (await run_admin(url, "jobs", "list", "--state", "unknown")).json
    assert [case["jobId"] for case in listed] == [job]
    late = await run_process(
        url, "jobs", "adopt", job, "req-0", "--send", "1", "--note", "seen in the list"
    )
    assert (late.json["outcome"], late.json["changed"]) == ("orphan", True)
    assert late.err == ""  # The command's output is its result and not a log line.
    again = await run_admin(url, "jobs", "adopt", job, "req-1", "--actor", "Ada")
    assert (again.json["outcome"], again.json["providerJobId"]) == ("submitted", "req-1")
    same = (await run_admin(url, "jobs", "adopt", job, "req-1")).json
    assert (same["changed"], "adopted already" in same["then"]) == (False, True)

    by_ada, first = await audited(database)
    assert by_ada[:3] == ("Ada", "jobs adopt", job)
    assert first[3]["orphanJobId"] == late.json["orphanJobId"]
    assert first[3]["note"] == "seen in the list"
    assert "@" in first[0]
    shown = (await run_admin(url, "jobs", "show", job)).json
    assert (shown["job"]["state"], len(shown["sends"]), len(shown["audit"])) == ("submitted", 2, 2)


async def test_settle_and_release_print_exact_amounts(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    one, other = await given_up(database), await given_up(database)

    settled = (
        await run_admin(
            url, "jobs", "settle", one.image.job_id, "--usd", "0.000000001", "--note", "bill 7"
        )
    ).json
    assert (settled["settledUsd"], settled["heldUsd"], settled["changed"]) == (
        "0.000000001",
        "0.003",
        True,
    )
    released = (await run_admin(url, "jobs", "release", other.image.job_id)).json
    assert "never accepted" in released["outcome"]
    assert (await run_admin(url, "jobs", "release", other.image.job_id)).json["changed"] is False

    assert (await entries(database, one.image))["settled"] == 1
    assert (await entries(database, other.image))["released"] == IMAGE_PRICE
    assert [entry[1:3] for entry in await audited(database)] == [
        ("jobs release", other.image.job_id),
        ("jobs settle", one.image.job_id),
    ]
    found = (await run_admin(url, "audit", "list", "--target", one.image.job_id)).json
    assert [entry["detail"]["note"] for entry in found] == ["bill 7"]


async def test_settle_of_a_large_amount_needs_confirmation(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    job = (await given_up(database)).image.job_id
    refused = await run_admin(url, "jobs", "settle", job, "--usd", "10000.000000001")
    assert (refused.code, refused.err.splitlines()) == (
        2,
        ["10000.000000001 USD for one job is unusual: confirm with --yes"],
    )
    assert await audited(database) == []
    assert (await run_admin(url, "jobs", "settle", job, "--usd", "10000.000000001", "--yes")).json[
        "changed"
    ]


@pytest.mark.parametrize(
    "verb",
    [("settle", "--usd", "1"), ("release",), ("adopt", "req-1"), ("show",)],
    ids=lambda v: v[0],
)
async def test_commands_on_an_unknown_job_report_no_such_row(
    fresh_database: FreshDatabase, verb: tuple[str, ...]
) -> None:
    done = await run_admin(fresh_database.application_dsn, "jobs", verb[0], "job_x", *verb[1:])
    assert (done.code, done.err) == (1, "no job job_x\n")


@pytest.mark.parametrize(
    "usd", ["-1", "1e3", "0.0000000001", "nan", "1_000", "1,5", "", "٣", "1234567890", " 1", ".5"]
)
async def test_settle_accepts_only_exact_decimal_dollars(usd: str) -> None:
    ran = await run_admin("", "jobs", "settle", "job_1", f"--usd={usd}")
    assert (ran.code, ran.out) == (2, "")
    assert "--usd" in ran.err


@pytest.mark.parametrize(
    ("usd", "nano"),
    [("0", 0), ("0.3", 300_000_000), ("12.000000001", 12_000_000_001), ("0.1", 100_000_000)],
)
def test_dollars_are_read_to_the_nano_dollar(usd: str, nano: int) -> None:
    assert exact_usd(usd) == nano


async def test_jobs_refusals_are_one_line_with_exit_code_2(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    owner, one = await sent(database), await sent(database)
    await run_admin(url, "jobs", "adopt", owner.image.job_id, "req-owned")
    before = await audited(database)
    for arguments, said in (
        (("adopt", one.image.job_id, "req-owned"), owner.image.job_id),
        (("adopt", one.video.job_id, "req-2"), "never sent"),
        (("settle", one.image.job_id, "--usd", "1"), "adopt its id, or wait"),
        (("release", one.image.job_id), "adopt its id, or wait"),
    ):
        ran = await run_admin(url, "jobs", *arguments)
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
        assert said in ran.err
    assert await audited(database) == before


async def test_submits_pause_and_resume(fresh_database: FreshDatabase, database: Database) -> None:
    url = fresh_database.application_dsn
    one = await sent(database)
    paused = (
        await run_admin(url, "submits", "pause", "--provider", "fal", "--reason", "fal is down")
    ).json
    assert (paused["scope"], paused["changed"]) == ("provider/fal", True)
    await run_admin(url, "submits", "pause", "--user", one.user_id, "--reason", "asked for it")
    shown = (await run_admin(url, "submits", "show")).json
    assert [entry["scope"] for entry in shown] == ["provider/fal", f"user/{one.user_id}"]
    resumed = (await run_admin(url, "submits", "resume", "--provider", "fal")).json
    assert (resumed["changed"], [entry["scope"] for entry in resumed["paused"]]) == (
        True,
        [f"user/{one.user_id}"],
    )
    assert (await run_admin(url, "submits", "resume")).json["changed"] is False

    async with database.as_system() as conn:
        await pause_behind(conn)
    behind = await run_admin(url, "submits", "resume")
    assert (behind.code, "takeone-admin recover" in behind.err) == (3, True)
    assert [entry["reason"] for entry in (await run_admin(url, "submits", "show")).json] == [
        DATABASE_BEHIND,
        "asked for it",
    ]

    for option in ("--provider", "--model"):
        typo = await run_admin(url, "submits", "pause", option, "fall", "--reason", "typo")
        assert (typo.code, "fall" in typo.err) == (2, True)
    await run_admin(url, "submits", "pause", "--model", IMAGE_MODEL, "--reason", "bad pictures")
    resumed = (await run_admin(url, "submits", "resume", "--model", IMAGE_MODEL)).json
    assert (resumed["scope"], resumed["changed"]) == (f"model/{IMAGE_MODEL}", True)
    nobody = await run_admin(url, "submits", "pause", "--user", "usr_none", "--reason", "typo")
    assert (nobody.code, nobody.err) == (1, "no user usr_none\n")
    assert [entry[1:3] for entry in await audited(database)] == [
        ("submits resume", f"model/{IMAGE_MODEL}"),
        ("submits pause", f"model/{IMAGE_MODEL}"),
        ("submits resume", "provider/fal"),
        ("submits pause", f"user/{one.user_id}"),
        ("submits pause", "provider/fal"),
    ]


async def test_audit_has_every_user_and_key_change_without_secrets(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    made = (await run_admin(url, "users", "create", "Ada", "--actor", "root@box")).json
    user = made["userId"]
    key = (await run_admin(url, "keys", "create", user)).json
    await asyncio.gather(
        run_admin(url, "users", "set-limits", user, "--monthly-usd", "5"),
        run_admin(url, "keys", "revoke", key["keyId"]),
    )
    await run_admin(url, "users", "disable", user)
    await run_admin(url, "keys", "revoke", "key_none")
    found = await audited(database)
    assert sorted(entry[1] for entry in found) == [
        "keys create",
        "keys revoke",
        "users create",
        "users disable",
        "users set-limits",
    ]
    assert found[-1][0] == "root@box"
    for secret in (made["apiKey"], made["webhookSecret"], key["apiKey"]):
        assert secret not in str(found)


async def test_actor_is_the_user_who_ran_sudo(
    fresh_database: FreshDatabase, database: Database
) -> None:
    url = fresh_database.application_dsn
    await run_process(url, "submits", "pause", "--reason", "x", more={"SUDO_USER": "grace"})
    refused = await run_process(url, "jobs", "release", "job_none")
    assert (refused.code, refused.out, refused.err) == (1, "", "no job job_none\n")
    [entry] = await audited(database)
    assert entry[0].startswith("grace@")
