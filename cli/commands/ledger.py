"""`takeone-admin ledger`: checks of the ledger, and its comparison with a bill."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.options import AsJson, plain_text
from cli.output import Shown, show
from cli.session import ExitCode, snapshot
from core.domain.money import usd_text
from core.store.database import Connection
from core.store.money.reports.ledger_check import Finding, Totals, count_totals, list_findings
from core.store.money.reports.provider_bill import (
    Comparison,
    UnreadableBillError,
    compare_bill,
    read_bill,
)
from core.store.operator import RefusedError, row_json

app = typer.Typer(
    help="Check the ledger, alone or against a provider's bill.", no_args_is_help=True
)


@app.command(
    epilog="Exit code 1: a check found something; one line for each. "
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
    as_json: AsJson = False,
) -> Shown:
    """Check sums, holds and limits over all rows. Changes nothing."""
    async with snapshot(context) as conn:
        totals, findings = await count_totals(conn), await list_findings(conn)
        bill = None
        if provider_bill is not None:
            bill = await _compare(conn, provider_bill, provider)
            findings += bill.findings
    code = ExitCode.FAILED if findings else ExitCode.DONE
    if as_json:
        return show(_report(totals, findings, bill), as_json, code=code)
    return Shown(_as_text(totals, findings, bill), code)


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
    lines = [f"{finding.check}: {finding.target}: {finding.text}" for finding in findings]
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
