"""`takeone-admin ledger import-bill`: differences per job, and what the bill decides."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.domain.ids import JobId
from core.domain.money import NanoUsd, usd_text
from core.domain.states import ExecutionStatus
from core.store.accounts.audit import list_audit
from core.store.database import Database
from core.store.jobs.manual_changes import adopt_by_hand, settle_by_hand
from core.store.measures.ledger_checks import list_checks
from tests.store.money.books import Books, books, end, written
from tests.support.admin import Ran, run_admin
from tests.support.operator_jobs import given_up
from tests.support.rows import IMAGE_PRICE, Accepted

__all__ = ["books", "written"]

pytestmark = pytest.mark.guarantee("G3")

EQUAL = {"req-done": 5 * IMAGE_PRICE, "req-orphan": 80}


async def imported(books: Books, folder: Path, billed: dict[str, int], *more: str) -> Ran:
    path = folder / "bill.json"
    rows = [{"provider_job_id": name, "usd": usd_text(amount)} for name, amount in billed.items()]
    path.write_text(json.dumps(rows), encoding="utf-8")
    return await run_admin(
        books.database.application_dsn,
        "ledger",
        "import-bill",
        str(path),
        "--provider",
        "fal",
        *more,
    )


def differences(ran: Ran) -> dict[str, tuple[str, str, str]]:
    report: dict[str, Any] = json.loads(ran.out)
    return {
        each["providerJobId"]: (each["kind"], each["differenceUsd"], each["booking"])
        for each in report["differences"]
    }


async def unknown_send(books: Books, name: str, *, assumed: int | None = None) -> Accepted:
    """Return an execution whose image was given up: its bill is open, or settled as assumed."""
    async with Database.open(books.database.application_dsn, max_connections=2) as database:
        one = await given_up(database, ended=False)
        await end(database, one, ExecutionStatus.FAILED)
        async with database.as_system() as conn:
            await adopt_by_hand(conn, one.image.job_id, name)
            if assumed is not None:
                await settle_by_hand(conn, one.image.job_id, NanoUsd(assumed), confirmed=True)
    return one


async def charge(books: Books, job_id: JobId) -> tuple[str, str | None, int]:
    async with (
        Database.open(books.database.application_dsn, max_connections=1) as database,
        database.as_system() as conn,
    ):
        row = await conn.fetchrow(
            "SELECT state, basis, settled_nano_usd FROM charges WHERE job_id = $1", job_id
        )
    assert row is not None
    return row["state"], row["basis"], row["settled_nano_usd"]


async def stored_check(books: Books) -> tuple[int, int | None]:
    """Return what the reconciler exports: the number of differences, and billed less settled."""
    async with (
        Database.open(books.database.application_dsn, max_connections=1) as database,
        database.as_system() as conn,
    ):
        (check,) = await list_checks(conn)
    assert check.bill_of == "fal"
    return check.findings, check.difference_nano_usd


async def test_equal_bill_has_no_difference(written: Books, tmp_path: Path) -> None:
    ran = await imported(written, tmp_path, EQUAL)
    assert (ran.code, differences(ran)) == (0, {})


async def test_bill_settles_open_and_assumed_costs_once(books: Books, tmp_path: Path) -> None:
    open_bill = await unknown_send(books, "req-open")
    assumed = await unknown_send(books, "req-assumed", assumed=500)
    bill = {**EQUAL, "req-open": 400, "req-assumed": 700}

    shown = await imported(books, tmp_path, bill)
    assert differences(shown) == {
        "req-open": ("open", "0.0000004", "would be booked"),
        "req-assumed": ("different", "0.0000002", "would be booked"),
    }
    assert await charge(books, open_bill.image.job_id) == ("held", None, 0)
    assert await stored_check(books) == (1, 400 + 200)

    done = await imported(books, tmp_path, bill, "--yes")
    assert (done.code, done.json["booked"], done.json["remaining"]) == (0, 2, 0)
    assert await stored_check(books) == (0, 0)
    assert await charge(books, open_bill.image.job_id) == ("settled", "reported", 400)
    assert await charge(books, assumed.image.job_id) == ("settled", "reported", 700)
    again = await imported(books, tmp_path, bill, "--yes")
    assert (again.code, differences(again)) == (0, {})
    assert await books.findings() == []
    async with (
        Database.open(books.database.application_dsn, max_connections=1) as database,
        database.as_system() as conn,
    ):
        entries = await list_audit(conn)
    assert [entry.action for entry in entries] == ["ledger import-bill"] * 2


async def test_final_costs_and_unknown_jobs_stay_differences(books: Books, tmp_path: Path) -> None:
    bill = {"req-done": 1, "req-unknown": 5}
    ran = await imported(books, tmp_path, bill, "--yes")
    assert (ran.code, json.loads(ran.out)["remaining"]) == (1, 3)
    assert differences(ran) == {
        "req-done": ("different", "-0.014999999", "no: the cost is final"),
        "req-orphan": ("extra", "-0.00000008", "no: the cost is final"),
        "req-unknown": ("missing", "0.000000005", "no: no such job"),
    }
    assert await books.findings() == []


async def test_columns_of_a_vendor_are_named_by_options(written: Books, tmp_path: Path) -> None:
    path = tmp_path / "invoice.csv"
    path.write_text(
        f"request,cost\nreq-done,${usd_text(5 * IMAGE_PRICE)}\nreq-orphan,0.00000008\n",
        encoding="utf-8",
    )
    command = ("ledger", "import-bill", str(path), "--provider", "fal")
    columns = ("--id-column", "request", "--usd-column", "cost")
    dsn = written.database.application_dsn
    assert (await run_admin(dsn, *command, *columns)).json["differences"] == []
    ran = await run_admin(dsn, *command)
    assert (ran.code, "the header must name the columns provider_job_id" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "text",
    ['[{"provider_job_id": "a"}]', "[1]", "[", '[{"usd": 1}]', "provider_job_id,usd\na,x\n"],
)
async def test_damaged_file_is_refused_with_its_line(
    written: Books, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "bill"
    path.write_text(text, encoding="utf-8")
    ran = await run_admin(
        written.database.application_dsn, "ledger", "import-bill", str(path), "--provider", "fal"
    )
    assert (ran.code, "cannot be read as a bill" in ran.err) == (2, True)
