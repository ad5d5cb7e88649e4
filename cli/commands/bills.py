"""`takeone-admin ledger import-bill`: a provider's bill, job by job, and what it decides."""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer

from cli.options import Actor, AsJson, plain_text
from cli.output import Shown, show
from cli.session import ExitCode, session_of, snapshot
from core.domain.money import usd_text
from core.store.accounts.audit import record
from core.store.database import Database
from core.store.measures.ledger_checks import record_bill_check
from core.store.money.bill_booking import book, can_book
from core.store.money.reports.bill_file import Columns, Key, UnreadableBillError, read_bill
from core.store.money.reports.provider_bill import (
    Comparison,
    Difference,
    DifferenceKind,
    compare_bill,
)
from core.store.operator import RefusedError

COLUMNS: Final = (
    "kind", "jobId", "providerJobId", "billedUsd", "settledUsd", "differenceUsd", "basis", "booking",
)  # fmt: skip


async def import_bill(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The bill as CSV or JSON; see ledger check.")
    ],
    *,
    provider: Annotated[
        str,
        typer.Option(
            "--provider", metavar="NAME", parser=plain_text, help="The provider that wrote it."
        ),
    ],
    id_column: Annotated[
        str, typer.Option("--id-column", metavar="NAME", help="The column of the job ids.")
    ] = "provider_job_id",
    usd_column: Annotated[
        str | None,
        typer.Option(
            "--usd-column",
            metavar="NAME",
            help="The column of the amounts in US dollars. Default: usd, or nano_usd.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Book what the bill decides. Without it, only show it.")
    ] = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Compare a provider's bill with the ledger, job by job, and book what the bill decides.

    The file has to cover all jobs of the provider: `ledger check --provider-bill` has the same
    rules. Kinds: open (billed, not settled yet), different, extra (settled, not billed), missing
    (billed, no such job). With --yes, open bills of ended jobs are settled, and assumed or released
    costs are corrected, as reported costs. A reported or computed cost never changes: use jobs
    refund, or report a wrong price. Repeating changes nothing. The number of differences is stored
    for the metrics, also without --yes. Exit code 1: differences remain.
    """
    billed, digest = await _read(file, Columns(job_id=id_column, usd=usd_column))
    async with snapshot(context) as conn:
        comparison = await compare_bill(conn, billed, provider=provider)
    async with session_of(context).database() as database:
        bookings = [
            await _book(database, each, actor, digest, yes=yes) for each in comparison.differences
        ]
        await _record(database, provider, billed)
    return _show(comparison, bookings, dry_run=not yes, as_json=as_json)


async def _record(database: Database, provider: str, billed: dict[Key, int]) -> None:
    """Store what differs now for the metrics. A standby server stores nothing."""
    with suppress(asyncpg.ReadOnlySQLTransactionError):
        async with database.as_system() as conn:
            comparison = await compare_bill(conn, billed, provider=provider)
            await record_bill_check(conn, provider, comparison)


def _show(comparison: Comparison, bookings: list[str], *, dry_run: bool, as_json: bool) -> Shown:
    pairs = list(zip(comparison.differences, bookings, strict=True))
    remaining = sum(
        each.kind is not DifferenceKind.OPEN and booking != "booked" for each, booking in pairs
    )
    rows = [_row(each, booking) for each, booking in pairs]
    report: dict[str, object] = {
        "dryRun": dry_run,
        "jobs": comparison.lines,
        "billedUsd": usd_text(comparison.billed_nano_usd),
        "settledUsd": usd_text(comparison.settled_nano_usd),
        "booked": bookings.count("booked"),
        "remaining": remaining,
    }
    code = ExitCode.FAILED if remaining else ExitCode.DONE
    if as_json:
        return show({**report, "differences": rows}, as_json, code=code)
    table = show(rows, as_json, columns=COLUMNS).text
    return Shown(f"{table}\n\n{show(report, as_json).text}", code)


async def _read(file: Path, columns: Columns) -> tuple[dict[Key, int], str]:
    try:
        content = await asyncio.to_thread(file.read_bytes)
        return read_bill(content.decode("utf-8"), columns), hashlib.sha256(content).hexdigest()
    except (OSError, UnicodeDecodeError, UnreadableBillError) as error:
        raise RefusedError(f"{file} cannot be read as a bill: {error}") from None


async def _book(
    database: Database, difference: Difference, actor: str, digest: str, *, yes: bool
) -> str:
    """Book a difference in a transaction of its own and return what became of it."""
    if not can_book(difference):
        return "no: the cost is final" if difference.job_id is not None else "no: no such job"
    if not yes:
        return "would be booked"
    detail = {
        "billedUsd": usd_text(difference.billed_nano_usd or 0),
        "settledUsd": usd_text(difference.settled_nano_usd),
        "kind": difference.kind,
        "file": digest,
    }
    try:
        async with database.as_system() as conn:
            await book(conn, difference)
            await record(conn, actor, "ledger import-bill", str(difference.job_id), detail)
    except RefusedError as error:
        return f"no: {error}"
    return "booked"


def _row(difference: Difference, booking: str) -> dict[str, object]:
    billed = difference.billed_nano_usd
    return {
        "kind": difference.kind,
        "jobId": difference.job_id,
        "providerJobId": difference.provider_job_id,
        "billedUsd": None if billed is None else usd_text(billed),
        "settledUsd": usd_text(difference.settled_nano_usd),
        "differenceUsd": usd_text((billed or 0) - difference.settled_nano_usd),
        "basis": difference.basis,
        "booking": booking,
    }
