"""`takeone-admin ledger`: checks of the ledger, and its comparison with a bill."""

import asyncio
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from cli.options import Actor, AsJson, plain_text
from cli.output import Shown, show
from cli.session import ExitCode, snapshot, transaction
from core.domain.money import usd_text
from core.store.accounts.audit import record
from core.store.database import Connection
from core.store.measures.ledger_checks import LEDGER, record_bill_check, record_check
from core.store.money.reports.bill_file import UnreadableBillError, read_bill
from core.store.money.reports.ledger_check import Finding, Totals, count_totals, list_findings
from core.store.money.reports.provider_bill import Comparison, compare_bill
from core.store.operator import RefusedError, row_json
from core.store.recovery.counter_repair import repair_counters

app = typer.Typer(
    help="Check the ledger, alone or against a provider's bill.", no_args_is_help=True
)


@app.command(
    epilog="Exit code 1: a check found something that is not repaired; one line for each. "
    "Example: takeone-admin ledger check --provider-bill bill.csv --provider NAME"
)
async def check(
    context: typer.Context,
    *,
    provider_bill: Annotated[
        Path | None,
        typer.Option(
            "--provider-bill",
            metavar="FILE",
            help="Compare with this bill: CSV with provider_job_id,nano_usd.",
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            "--provider",
            metavar="NAME",
            parser=plain_text,
            help="The provider that wrote the bill. Default: all.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Derive the day of each charge and the counters of months, days and users again. "
            "The ledger and the amounts of charges never change.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --repair: show the repair, change nothing.")
    ] = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Check sums, holds and limits over all rows. Changes nothing without --repair.

    The time and the number of findings are stored for the metrics.
    """
    if repair:
        if provider_bill is not None:
            raise RefusedError("--repair and --provider-bill cannot be combined: repair first")
        return await _repair(context, actor, dry_run=dry_run, as_json=as_json)
    if dry_run:
        raise RefusedError("--dry-run belongs to --repair: a check alone changes nothing")
    async with snapshot(context) as conn:
        totals, findings = await count_totals(conn), await list_findings(conn)
        bill = None
        if provider_bill is not None:
            bill = await _compare(conn, provider_bill, provider)
    await _record(context, len(findings), bill, provider)
    if bill is not None:
        findings += bill.findings
    code = ExitCode.FAILED if findings else ExitCode.DONE
    if as_json:
        return show(_report(totals, findings, bill), as_json, code=code)
    return Shown(_as_text(totals, findings, bill), code)


async def _record(
    context: typer.Context, findings: int, bill: Comparison | None, provider: str | None
) -> None:
    """Store the result for the reconciler, which exports it. A standby server stores nothing."""
    with suppress(asyncpg.ReadOnlySQLTransactionError):
        async with transaction(context) as conn:
            await record_check(conn, LEDGER, findings)
            if bill is not None:
                await record_bill_check(conn, provider, bill)


async def _repair(context: typer.Context, actor: str, *, dry_run: bool, as_json: bool) -> Shown:
    async with transaction(context) as conn:
        repair = await repair_counters(conn, dry_run=dry_run)
        if repair.repaired and not dry_run:
            detail = {"repaired": [_line(finding) for finding in repair.repaired[:100]]}
            await record(conn, actor, "ledger repair", "ledger", detail)
        if not dry_run:
            await record_check(conn, LEDGER, len(repair.remaining))
    code = ExitCode.FAILED if repair.remaining else ExitCode.DONE
    if as_json:
        report = {
            "ok": not repair.remaining,
            "dryRun": dry_run,
            "repaired": [asdict(finding) for finding in repair.repaired],
            "findings": [asdict(finding) for finding in repair.remaining],
        }
        return show(report, as_json, code=code)
    done = "would repair" if dry_run else "repaired"
    lines = [f"{done}: {_line(finding)}" for finding in repair.repaired]
    lines += [_line(finding) for finding in repair.remaining]
    lines.append(f"{len(repair.repaired)} {done}, {len(repair.remaining)} remaining")
    return Shown("\n".join(lines), code)


def _line(finding: Finding) -> str:
    return f"{finding.check}: {finding.target}: {finding.text}"


async def _compare(conn: Connection, path: Path, provider: str | None) -> Comparison:
    try:
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        return await compare_bill(conn, read_bill(text), provider=provider)
    except (OSError, UnicodeDecodeError, UnreadableBillError) as error:
        raise RefusedError(f"{path} cannot be read as a bill: {error}") from None


def _report(totals: Totals, findings: list[Finding], bill: Comparison | None) -> dict[str, object]:
    report: dict[str, object] = {
        "ok": not findings,
        "read": row_json(asdict(totals)),
        "findings": [asdict(finding) for finding in findings],
    }
    if bill is not None:
        report["providerBill"] = {
            "jobs": bill.lines,
            "billedUsd": usd_text(bill.billed_nano_usd),
            "settledUsd": usd_text(bill.settled_nano_usd),
            "open": bill.open,
        }
    return report


def _as_text(totals: Totals, findings: list[Finding], bill: Comparison | None) -> str:
    lines = [_line(finding) for finding in findings]
    if bill is not None:
        lines += [f"open: {line}" for line in bill.open]
        billed, settled = usd_text(bill.billed_nano_usd), usd_text(bill.settled_nano_usd)
        lines.append(f"bill: {bill.lines} jobs, {billed} USD billed, {settled} USD settled")
    lines.append(
        f"books: {totals.entries} entries, {totals.charges} charges, {totals.budgets} budgets,"
        f" {totals.executions} executions; {usd_text(totals.held_nano_usd)} USD held,"
        f" {usd_text(totals.settled_nano_usd)} USD settled"
    )
    lines.append(f"{len(findings)} findings" if findings else "everything adds up")
    return "\n".join(lines)
