"""A provider's bill against the ledger: missing, extra and different jobs, line by line."""

import json
from pathlib import Path

import pytest

from core.store.database import Database
from core.store.jobs.sends import begin_send, mark_submitted
from tests.store.money.books import Books, books, handle, written
from tests.support.admin import run_admin
from tests.support.operator_jobs import REQUEST
from tests.support.rows import IMAGE_PRICE

__all__ = ["books", "written"]


CSV = "provider_job_id,nano_usd\nreq-done,{done}\nreq-orphan,80\n"


async def bill(books: Books, folder: Path, text: str, *more: str) -> tuple[int | None, list[str]]:
    path = folder / "bill.csv"
    path.write_text(text, encoding="utf-8")
    ran = await run_admin(
        books.database.application_dsn,
        *("ledger", "check", "--provider-bill", str(path)),
        *more,
        as_text=True,
    )
    return ran.code, (ran.out or ran.err).splitlines()


async def test_bill_equal_to_the_ledger_has_no_finding(written: Books, tmp_path: Path) -> None:
    code, lines = await bill(written, tmp_path, CSV.format(done=5 * IMAGE_PRICE))
    assert (code, lines[0]) == (0, "bill: 2 jobs, 0.01500008 USD billed, 0.01500008 USD settled")
    # Lines of one job are added; a refund is a negative line.
    code, _ = await bill(
        written, tmp_path, CSV.format(done=6 * IMAGE_PRICE) + f"req-done,-{IMAGE_PRICE}\n"
    )
    assert code == 0
    # With --provider, only that provider's lines and jobs are compared.
    code, _ = await bill(written, tmp_path, "provider_job_id,nano_usd\n", "--provider", "replicate")
    assert code == 0


async def test_differing_bill_is_reported_line_by_line(written: Books, tmp_path: Path) -> None:
    header = "provider,provider_job_id,nano_usd\n"
    text = header + "fal,req-done,1\nfal,req-nobody,500\nreplicate,req-orphan,80\nfal,zero,0\n"
    code, lines = await bill(written, tmp_path, text)
    done, orphan = written.completed.image.job_id, written.orphan
    assert code == 1
    assert lines[:4] == [
        f"bill-different: {done}: settled with 0.015 USD, billed with 0.000000001 USD as req-done",
        f"bill-extra: {orphan}: settled with 0.00000008 USD for req-orphan, but not billed",
        "bill-missing: req-nobody: billed with 0.0000005 USD, but no job has this id",
        "bill-missing: req-orphan: billed with 0.00000008 USD, but no job has this id",
    ]


async def test_unsettled_job_in_the_bill_is_no_finding(books: Books, tmp_path: Path) -> None:
    async with (
        Database.open(books.database.application_dsn, max_connections=1) as database,
        database.as_user(books.user_id) as conn,
    ):
        await begin_send(conn, books.running.image, 1, REQUEST, {"prompt": "A paper boat"})
        await mark_submitted(conn, books.running.image.job_id, 1, handle("req-runs"))
    code, lines = await bill(books, tmp_path, CSV.format(done=5 * IMAGE_PRICE) + "req-runs,9\n")
    assert (code, lines[0]) == (
        0,
        f"open: {books.running.image.job_id}: req-runs is billed with 0.000000009 USD",
    )


async def test_bill_as_the_sandbox_writes_it(written: Books, tmp_path: Path) -> None:
    events = [
        {
            "event": "accepted",
            "provider": "fal",
            "provider_job_id": "req-done",
            "price_nano_usd": 1,
        },
        {
            "event": "accepted",
            "provider": "fal",
            "provider_job_id": "req-orphan",
            "price_nano_usd": 1,
        },
        {
            "event": "accepted",
            "provider": "fal",
            "provider_job_id": "req-open",
            "price_nano_usd": 1,
        },
        {
            "event": "outcome",
            "provider_job_id": "req-orphan",
            "state": "completed",
            "billed_nano_usd": 80,
        },
        {
            "event": "outcome",
            "provider_job_id": "req-done",
            "state": "completed",
            "billed_nano_usd": 5 * IMAGE_PRICE,
        },
    ]
    text = "\n".join(json.dumps(event) for event in events)
    assert (await bill(written, tmp_path, text))[0] == 0
    code, lines = await bill(written, tmp_path, text.replace("80}", "81}"))
    assert (code, lines[0].partition(":")[0]) == (1, "bill-different")


@pytest.mark.parametrize(
    "text",
    [
        "job,amount\nreq,1\n",
        "provider_job_id,nano_usd\nreq-done,0.5\n",
        "provider_job_id,nano_usd\nreq-done\n",
        "provider_job_id,nano_usd\n,5\n",
        'provider_job_id,nano_usd\n"req-done,5\n',
        '{"event": "outcome", "provider_job_id": "req-done", "billed_nano_usd": 1}\n',
        '{"event": "accepted", "provider": "fal", "provider_job_id": "a"}\n'
        '{"event": "outcome", "provider_job_id": "a", "billed_nano_usd": 1.5}\n',
        '{"event": "else", "provider_job_id": "a"}\n',
        '{"event"\n',
    ],
)
async def test_bill_that_cannot_be_read_is_refused_in_one_line(
    written: Books, tmp_path: Path, text: str
) -> None:
    code, lines = await bill(written, tmp_path, text)
    assert (code, len(lines)) == (2, 1)
    assert "cannot be read as a bill: line" in lines[0]
