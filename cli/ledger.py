"""`ledger check`: whether the books are right, and what the provider's own bill says to them.
Changes nothing.
"""

import argparse
import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from cli.common import Arguments, Told, plain_text
from core.domain.money import usd_text
from core.platform.crypto.sealing import Sealer
from core.store.database import Connection
from core.store.money.ledger_check import Finding, Totals, count_totals, list_findings
from core.store.money.provider_bill import Comparison, UnreadableBillError, compare_bill, read_bill
from core.store.operator import RefusedError, row_json


async def _check(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    totals, findings = await count_totals(conn), await list_findings(conn)
    bill = None
    if arguments.provider_bill is not None:
        bill = await _compare(conn, arguments.provider_bill, arguments.provider)
        findings += bill.findings
    text = _as_json(totals, findings, bill) if arguments.json else _as_text(totals, findings, bill)
    return Told(code=1 if findings else 0, text=text)


async def _compare(conn: Connection, path: Path, provider: str | None) -> Comparison:
    try:
        text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        return await compare_bill(conn, read_bill(text), provider=provider)
    except (OSError, UnicodeDecodeError, UnreadableBillError) as error:
        raise RefusedError(f"{path} is no bill that can be read: {error}") from None


def _as_json(totals: Totals, findings: list[Finding], bill: Comparison | None) -> str:
    said: dict[str, object] = {
        "ok": not findings,
        "read": row_json(asdict(totals)),
        "findings": [asdict(finding) for finding in findings],
    }
    if bill is not None:
        said["providerBill"] = {
            "jobs": bill.lines,
            "billedUsd": usd_text(bill.billed_nano_usd),
            "settledUsd": usd_text(bill.settled_nano_usd),
            "open": bill.open,
        }
    return json.dumps(said, indent=2, ensure_ascii=False)


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


def add_ledger(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    meaning = "prove sums, holds and limits over all rows; exit code 1: something is wrong, a line for each"
    check = verbs.add_parser("check", help=meaning, description=meaning)
    check.add_argument(
        "--provider-bill",
        metavar="FILE",
        type=Path,
        help="compare with this bill: CSV provider_job_id,nano_usd",
    )
    check.add_argument(
        "--provider", metavar="NAME", type=plain_text, help="whose bill that is; default: of all"
    )
    check.add_argument("--json", action="store_true", help="as JSON instead of lines")
    check.set_defaults(command=_check, snapshot=True)
