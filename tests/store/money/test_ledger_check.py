"""`ledger check`: a correct ledger has no findings, and each planted error is found by name."""

import json

import asyncpg
import pytest

from core.store.database import SET_SYSTEM, Database
from core.store.measures.ledger_checks import list_checks
from core.store.money.reports.ledger_check import CHECKS, count_totals, list_findings
from tests.store.money.books import LIMIT, ORPHAN_COST, Books, books, buy, written
from tests.support.admin import run_admin, run_process
from tests.support.rows import IMAGE_PRICE, VIDEO_PRICE

pytestmark = pytest.mark.guarantee("G3", "G4", "G6")

__all__ = ["books", "written"]


async def test_check_of_a_correct_ledger_finds_nothing(written: Books) -> None:
    assert await written.findings() == []
    async with (
        Database.open(written.database.application_dsn, max_connections=1) as database,
        database.reading_all() as conn,
    ):
        totals = await count_totals(conn)
    assert (totals.charges, totals.budgets, totals.executions) == (7, 1, 3)
    assert totals.held_nano_usd == IMAGE_PRICE + VIDEO_PRICE
    assert totals.settled_nano_usd == 5 * IMAGE_PRICE + ORPHAN_COST + 3


# SQL that plants an error as the owner, the checks that must find it, and text of their report.
PLANTED: dict[str, tuple[str, set[str], str]] = {
    "an entry is gone": (
        "DELETE FROM ledger_entries WHERE kind = 'overage'",
        {"charges", "budgets"},
        "settled",
    ),
    "an amount was changed": (
        "UPDATE ledger_entries SET amount_nano_usd = amount_nano_usd + 1 WHERE kind = 'orphan'",
        {"charges", "budgets"},
        "settled",
    ),
    "a hold was never written down": (
        "DELETE FROM ledger_entries WHERE kind = 'held' AND job_id = $1",
        {"charges", "budgets"},
        "held at first",
    ),
    "a release was written twice": (
        "INSERT INTO ledger_entries SELECT operation_id || '/again', kind, user_id, execution_id, job_id, charge_id,"
        " budget_month, amount_nano_usd FROM ledger_entries WHERE kind = 'released' AND execution_id = $2",
        {"charges", "entries", "budgets"},
        "still held",
    ),
    "an entry of another month": (
        "UPDATE ledger_entries SET budget_month = budget_month - interval '1 month' WHERE kind = 'overage'",
        {"entries", "budgets"},
        "another month",
    ),
    "an entry of another job": (
        "UPDATE ledger_entries SET job_id = $1 WHERE kind = 'overage'",
        {"entries"},
        "another job",
    ),
    "an entry of another execution": (
        "UPDATE ledger_entries SET execution_id = $2 WHERE kind = 'overage'",
        {"entries"},
        "another execution",
    ),
    "an operation under another name": (
        "UPDATE ledger_entries SET operation_id = 'overage/chg_other' WHERE kind = 'overage'",
        {"entries"},
        "operation id",
    ),
    "a charge's cost was changed": (
        "UPDATE charges SET settled_nano_usd = settled_nano_usd + 1 WHERE state = 'settled'",
        {"charges", "budgets", "days"},
        "settled",
    ),
    "a charge was opened again": (
        "UPDATE charges SET state = 'held', ended_at = NULL WHERE state = 'released'",
        {"charges", "budgets", "days", "jobs"},
        "but ended without a send",
    ),
    "an open charge has a cost": (
        "UPDATE charges SET settled_nano_usd = 5 WHERE job_id = $1",
        {"charges", "budgets", "days"},
        "in another state than settled",
    ),
    "a charge remembers a refund that is not in the ledger": (
        "UPDATE charges SET refunded_nano_usd = 5 WHERE state = 'settled'",
        {"charges"},
        "refunded",
    ),
    "a released part beside an overage": (
        "INSERT INTO ledger_entries SELECT 'released/' || charge_id, 'released', user_id, execution_id, job_id,"
        " charge_id, budget_month, 1 FROM ledger_entries WHERE kind = 'overage'",
        {"charges", "budgets"},
        "although an overage exists",
    ),
    "a job lost its charge": (
        "INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, orphan)"
        " SELECT 'job_bare', execution_id, step_name, user_id, 1, provider, model, true FROM jobs WHERE job_id = $1",
        {"jobs"},
        "has no charge",
    ),
    "a charge of another model": (
        "UPDATE charges SET model = 'other' WHERE job_id = $1",
        {"jobs"},
        "another user, execution, provider or model",
    ),
    "a purchase whose hold went back": (
        "UPDATE jobs SET provider_job_id = 'req-after-all' WHERE execution_id = $2 AND step_name = 'image'",
        {"jobs"},
        "was bought, but its hold was released",
    ),
    "a cost of what was never sent": (
        "UPDATE jobs SET send_number = 0 WHERE orphan",
        {"jobs"},
        "was never sent, but its cost is settled",
    ),
    "an execution ended without its money": (
        "UPDATE executions SET status = 'failed', ended_at = now() FROM jobs"
        " WHERE jobs.job_id = $1 AND executions.execution_id = jobs.execution_id",
        {"jobs", "concurrency", "videos"},
        "waits to be sent",
    ),
    "a budget holds too much": (
        "UPDATE budgets SET held_nano_usd = held_nano_usd + 1",
        {"budgets"},
        "held",
    ),
    "a budget forgot a cost": (
        "UPDATE budgets SET settled_nano_usd = settled_nano_usd - 1",
        {"budgets"},
        "settled",
    ),
    "a key holds what it did not order": (
        "INSERT INTO key_spending SELECT 'key_1', user_id, 'day', budget_month, 1, 0 FROM budgets",
        {"key-spending"},
        "held for the key",
    ),
    "a budget is gone": ("DELETE FROM budgets", {"budgets", "videos"}, "settled"),
    "a budget of a month without anything": (
        "INSERT INTO budgets SELECT user_id, budget_month - interval '2 months', 1, 0, 1, 0 FROM budgets",
        {"budgets", "videos"},
        "held",
    ),
    "a video too many": (
        "UPDATE budgets SET held_videos = held_videos + 1",
        {"videos"},
        "videos held: 1, not 2",
    ),
    "a video forgotten": (
        "UPDATE budgets SET settled_videos = 0",
        {"videos"},
        "videos settled: 1, not 0",
    ),
    "money held past the limit": (
        "UPDATE users SET monthly_nano_usd_limit = 1",
        {"dollar-limits"},
        "above the limit, at most: 0.000000001 USD",
    ),
    "an execution held past its maxCost": (
        f"UPDATE executions SET max_cost_nano_usd = {IMAGE_PRICE + VIDEO_PRICE - 1}",
        {"max-costs"},
        "at most: 0.302999999 USD, not 0.303 USD",
    ),
    "a day forgot a cost": (
        "UPDATE daily_spending SET settled_nano_usd = 0",
        {"days"},
        "settled by all users",
    ),
    "a day is gone": ("DELETE FROM daily_spending", {"days"}, "held by all users"),
    "a charge of another day": (
        "UPDATE charges SET budget_day = budget_day - 1 WHERE job_id = $1",
        {"days", "charge-days"},
        "held by all users: 0.003 USD, not 0 USD",
    ),
    "a charge created on another day": (
        "UPDATE charges SET created_at = created_at - interval '1 day' WHERE job_id = $1",
        {"charge-days"},
        "not on the day of its hold",
    ),
    "money held past the day's limit": (
        "UPDATE service_limits SET daily_nano_usd = 5",
        {"daily-limits"},
        "above the limit, at most: 0.000000005 USD",
    ),
    "a day's usage forgot a cost": (
        "UPDATE usage_money SET settled_nano_usd = settled_nano_usd - 1 WHERE provider = 'fal'",
        {"usage"},
        "settled, by its charges",
    ),
    "a day's usage is gone": (
        "DELETE FROM usage_money",
        {"usage", "usage-counts"},
        "jobs of the day: 7, not 0",
    ),
    "a day's usage of videos is wrong": (
        "UPDATE usage_videos SET held_videos = held_videos + 1",
        {"usage-counts"},
        "videos held on the day: 1, not 2",
    ),
    "an open execution too many": (
        "UPDATE concurrency_counters SET open_executions = open_executions + 1",
        {"concurrency"},
        "open executions: 1, not 2",
    ),
    "a running execution forgotten": (
        "UPDATE concurrency_counters SET running_executions = 0",
        {"concurrency"},
        "running executions: 1, not 0",
    ),
    "videos held past the limit": (
        "UPDATE users SET monthly_videos_limit = 1",
        {"video-limits"},
        "at most: 1, not 2",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_check_finds_the_planted_error(written: Books, name: str) -> None:
    sql, checks, text = PLANTED[name]
    # $1: the waiting image job of the running execution. $2: the failed execution.
    sql = sql.replace("$1", f"'{written.running.image.job_id}'").replace(
        "$2", f"'{written.failed.execution_id}'"
    )
    connection = await asyncpg.connect(written.database.owner_dsn)
    planting = connection.transaction()
    await planting.start()
    try:
        assert not (await connection.execute(sql)).endswith(" 0"), "nothing was planted"
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what COMMIT does
        await connection.execute(SET_SYSTEM)
        found = await list_findings(connection)
    finally:
        await planting.rollback()
        await connection.close()
    assert {one.check for one in found} == checks
    assert any(text in one.text for one in found), found


def test_every_check_has_a_planted_error() -> None:
    assert set().union(*(checks for _, checks, _ in PLANTED.values())) == set(CHECKS) - {
        "append-only"
    }


async def test_check_finds_a_grant_to_change_the_ledger(books: Books) -> None:
    await books.as_owner("GRANT UPDATE (amount_nano_usd) ON ledger_entries TO takeone_app")
    await books.as_owner("GRANT TRUNCATE ON audit_log TO takeone_system")
    assert await books.findings() == [
        ("append-only", "audit_log", "takeone_system may truncate"),
        ("append-only", "ledger_entries", "takeone_app may update"),
    ]


async def test_check_accepts_holds_above_a_lowered_limit(books: Books) -> None:
    """A hold under the old limit is no finding, because the audit log records that limit."""
    url = books.database.application_dsn
    limits = ("--monthly-usd", "0", "--monthly-videos", "0")
    assert (await run_admin(url, "users", "set-limits", books.user_id, *limits)).code == 0
    assert (await run_admin(url, "service", "set-daily-limit", "0")).code == 0
    assert await books.findings() == []
    await books.as_owner("UPDATE audit_log SET at = at - interval '2 months'")
    assert {check for check, _, _ in await books.findings()} == {
        "dollar-limits",
        "video-limits",
        "daily-limits",
    }


async def test_check_accepts_an_overage_above_the_limit(books: Books) -> None:
    async with Database.open(books.database.application_dsn, max_connections=1) as database:
        await buy(database, books.running, "req-dear", 100 * LIMIT)
    assert await books.findings() == []


async def test_check_command_reports_a_balanced_ledger(written: Books) -> None:
    url = written.database.application_dsn
    said = await run_admin(url, "ledger", "check", as_text=True)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == "everything adds up"
    answer = (await run_admin(url, "ledger", "check")).json
    assert (answer["ok"], answer["findings"], answer["read"]["settledUsd"]) == (
        True,
        [],
        "0.01500008",
    )
    assert await stored_findings(url) == {"ledger": 0}


async def stored_findings(url: str) -> dict[str, int]:
    """Return what the reconciler exports of the last checks."""
    async with Database.open(url, max_connections=1) as database, database.as_system() as conn:
        return {check.name: check.findings for check in await list_checks(conn)}


async def test_check_command_exits_1_with_a_line_per_finding(books: Books) -> None:
    url = books.database.application_dsn
    await books.as_owner("UPDATE budgets SET settled_nano_usd = settled_nano_usd - 1")
    said = await run_process(url, "ledger", "check", as_text=True)
    month = said.out.split(" ")[2].rstrip(":")
    assert (said.code, said.err) == (1, "")
    assert said.out.splitlines()[0] == (
        f"budgets: {books.user_id} {month}: settled, by its charges: 0.01500008 USD, not 0.015000079 USD"
    )
    assert await stored_findings(url) == {"ledger": 2}
    assert said.out.splitlines()[-1] == "2 findings"
    ran = await run_admin(url, "ledger", "check")
    answer = json.loads(ran.out)
    assert (ran.code, answer["ok"], len(answer["findings"])) == (1, False, 2)


# What a recovery of earlier versions left behind: held on one day, counted as settled on another.
WRONG_DAYS = """
UPDATE charges SET created_at = created_at - interval '40 days';
INSERT INTO daily_spending (day, held_nano_usd) SELECT day - 40, 303000000 FROM daily_spending;
UPDATE daily_spending SET held_nano_usd = 0 WHERE settled_nano_usd > 0;
UPDATE budgets SET held_videos = 5;
UPDATE usage_money SET jobs = jobs + 1, held_nano_usd = held_nano_usd + 1;
UPDATE usage_videos SET day = day + 1;
UPDATE concurrency_counters SET open_executions = 7
"""


async def test_repair_derives_days_and_counters_again(books: Books) -> None:
    url = books.database.application_dsn
    await books.as_owner(WRONG_DAYS)
    found = await books.findings()
    assert {check for check, _, _ in found} == {
        "charge-days",
        "days",
        "videos",
        "usage",
        "usage-counts",
        "concurrency",
    }
    said = await run_admin(url, "ledger", "check", "--repair", "--dry-run", as_text=True)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == f"{len(found)} would repair, 0 remaining"
    assert await books.findings() == found, "a dry run changes nothing"
    answer = (await run_admin(url, "ledger", "check", "--repair", "--actor", "Ada")).json
    assert (answer["ok"], len(answer["repaired"]), answer["findings"]) == (True, len(found), [])
    assert await books.findings() == []
    (entry,) = (await run_admin(url, "audit", "list")).json
    assert (entry["actor"], entry["action"]) == ("Ada", "ledger repair")
    assert (await run_admin(url, "ledger", "check", "--repair")).json["repaired"] == []
    assert len((await run_admin(url, "audit", "list")).json) == 1


async def test_repair_reports_what_it_cannot_repair(books: Books) -> None:
    url = books.database.application_dsn
    await books.as_owner("UPDATE jobs SET send_number = 0 WHERE orphan")
    ran = await run_admin(url, "ledger", "check", "--repair")
    assert (ran.code, [one["check"] for one in json.loads(ran.out)["findings"]]) == (1, ["jobs"])


async def test_repair_derives_nothing_from_a_broken_ledger(books: Books) -> None:
    url = books.database.application_dsn
    await books.as_owner("DELETE FROM ledger_entries WHERE kind = 'overage'")
    await books.as_owner("UPDATE concurrency_counters SET open_executions = 7")
    before = await books.findings()
    refused = await run_admin(url, "ledger", "check", "--repair", as_text=True)
    assert (refused.code, "differs from the ledger" in refused.err) == (2, True)
    assert await books.findings() == before


async def test_check_reads_one_snapshot_and_writes_nothing(books: Books) -> None:
    """A transaction that commits during the check is not partly visible."""
    async with (
        Database.open(books.database.application_dsn, max_connections=2) as database,
        database.reading_all() as conn,
    ):
        before = await count_totals(conn)
        await buy(database, books.running, "req-meanwhile", IMAGE_PRICE)
        assert await list_findings(conn) == []
        assert await count_totals(conn) == before
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await conn.execute("UPDATE budgets SET held_nano_usd = 0")
