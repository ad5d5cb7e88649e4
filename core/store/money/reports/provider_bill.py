"""Comparison of a provider's bill, read from a file, with the settled jobs, to the nano-dollar.

Two formats. CSV with the columns `provider_job_id` and `nano_usd`, and `provider` if the file
covers several; the lines of a job add up, so a refund is a negative line. Or JSON lines of events,
as the sandbox writes them: `accepted` with a provider, `outcome` with `billed_nano_usd`.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from core.domain.ids import JobId, ProviderJobId
from core.domain.money import NanoUsd, usd_text
from core.domain.states import ChargeState
from core.store.database import Connection
from core.store.money.reports.ledger_check import TIMEOUT_SECONDS, Finding

MISSING, EXTRA, DIFFERENT = "bill-missing", "bill-extra", "bill-different"
_ID, _AMOUNT, _PROVIDER = "provider_job_id", "nano_usd", "provider"


class UnreadableBillError(ValueError):
    """The file has a line that is not part of a bill; the text names the line."""


Key = tuple[str | None, str]
"""The provider, if the bill names one, and the provider's job id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of a comparison. open: billed jobs that are not settled yet, which is no error."""

    lines: int
    billed_nano_usd: int
    settled_nano_usd: int
    findings: list[Finding]
    open: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Purchase:
    job_id: JobId
    provider: str
    provider_job_id: ProviderJobId | None
    state: ChargeState
    settled_nano_usd: NanoUsd


def read_bill(text: str) -> dict[Key, int]:
    """Return nano-USD by job. Raises UnreadableBillError: no line is skipped silently."""
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    if not lines:
        return {}
    return _read_events(lines) if lines[0].lstrip().startswith("{") else _read_csv(lines)


def _read_csv(lines: list[str]) -> dict[Key, int]:
    reader = csv.DictReader(lines, strict=True)
    if not {_ID, _AMOUNT} <= set(reader.fieldnames or ()):
        raise UnreadableBillError(f"line 1: the header must name the columns {_ID} and {_AMOUNT}")
    billed: Counter[Key] = Counter()
    try:
        for number, row in enumerate(reader, start=2):
            if not row[_ID]:
                raise UnreadableBillError(f"line {number}: no {_ID}")
            billed[(row.get(_PROVIDER) or None, row[_ID])] += _whole(row[_AMOUNT], number)
    except csv.Error as error:
        raise UnreadableBillError(f"line {reader.line_num}: {error}") from None
    return dict(billed)


def _read_events(lines: list[str]) -> dict[Key, int]:
    """Read the sandbox's events. An accepted job without an outcome is billed nothing yet."""
    keys: dict[str, Key] = {}
    billed: dict[Key, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            event: dict[str, Any] = json.loads(line)
            name, kind = event[_ID], event["event"]
            if kind == "accepted":
                keys[name] = (event[_PROVIDER], name)
                billed.setdefault(keys[name], 0)
            elif kind == "outcome":
                billed[keys[name]] = _whole(event["billed_nano_usd"], number)
            else:
                raise UnreadableBillError(f"line {number}: not an event of a bill")
        except (json.JSONDecodeError, KeyError, TypeError):
            raise UnreadableBillError(f"line {number}: not an event of a bill") from None
    return billed


def _whole(value: object, number: int) -> int:
    text = str(value).strip()
    digits = text.removeprefix("-")
    if not isinstance(value, int | str) or not (digits.isascii() and digits.isdecimal()):
        raise UnreadableBillError(f"line {number}: {text!r} is not a whole number of nano-dollars")
    return int(text)


LIST_PURCHASES = """
SELECT j.job_id, j.provider, j.provider_job_id, c.state, c.settled_nano_usd
FROM jobs AS j JOIN charges AS c ON c.job_id = j.job_id
WHERE j.send_number > 0 AND ($1::text IS NULL OR j.provider = $1)
ORDER BY j.job_id
"""


async def compare_bill(
    conn: Connection, billed: dict[Key, int], *, provider: str | None = None
) -> Comparison:
    """Compare the bill of one provider, or of all, with every job that was sent there."""
    rows = await conn.fetch(LIST_PURCHASES, provider, timeout=TIMEOUT_SECONDS)
    purchases = [
        _Purchase(
            job_id=row["job_id"],
            provider=row["provider"],
            provider_job_id=row["provider_job_id"],
            state=ChargeState(row["state"]),
            settled_nano_usd=row["settled_nano_usd"],
        )
        for row in rows
    ]
    left = dict(billed)
    findings: list[Finding] = []
    unsettled: list[str] = []
    for purchase, key in _with_keys(purchases, left):
        amount = left.pop(key, None) if key is not None else None
        if purchase.state is ChargeState.HELD:
            if amount:
                unsettled.append(
                    f"{purchase.job_id}: {purchase.provider_job_id} is billed with {usd_text(amount)} USD"
                )
        elif (amount or 0) != purchase.settled_nano_usd:
            findings.append(_finding(purchase, amount))
    for (_, name), amount in left.items():
        if amount:
            findings.append(
                Finding(
                    check=MISSING,
                    target=name,
                    text=f"billed with {usd_text(amount)} USD, but no job has this id",
                )
            )
    return Comparison(
        lines=len(billed),
        billed_nano_usd=sum(billed.values()),
        settled_nano_usd=sum(purchase.settled_nano_usd for purchase in purchases),
        findings=findings,
        open=unsettled,
    )


def _with_keys(
    purchases: Iterable[_Purchase], billed: dict[Key, int]
) -> Iterator[tuple[_Purchase, Key | None]]:
    """Yield each purchase with its key in the bill, by its provider or without purchase."""
    for purchase in purchases:
        name = purchase.provider_job_id
        if name is None:
            yield purchase, None
        else:
            yield (
                purchase,
                (purchase.provider, name) if (purchase.provider, name) in billed else (None, name),
            )


def _finding(purchase: _Purchase, amount: int | None) -> Finding:
    settled = usd_text(purchase.settled_nano_usd)
    if amount is None:
        name = purchase.provider_job_id or "no provider job"
        return Finding(
            check=EXTRA,
            target=purchase.job_id,
            text=f"settled with {settled} USD for {name}, but not billed",
        )
    text = f"settled with {settled} USD, billed with {usd_text(amount)} USD as {purchase.provider_job_id}"
    return Finding(check=DIFFERENT, target=purchase.job_id, text=text)
