"""A provider's bill, given as a file, against what was settled here: job by job, to the
nano-dollar.

Two forms. CSV with the columns `provider_job_id` and `nano_usd`, and `provider` where one file is
of several; a job may have many lines, which add up, so a refund is a negative one. Or JSON lines of
events, as the sandbox writes them: `accepted` with a provider, `outcome` with `billed_nano_usd`.
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
from core.store.money.ledger_check import TIMEOUT_SECONDS, Finding

MISSING, EXTRA, DIFFERENT = "bill-missing", "bill-extra", "bill-different"
_ID, _AMOUNT, _PROVIDER = "provider_job_id", "nano_usd", "provider"


class UnreadableBillError(ValueError):
    """A line that is none of a bill. The text names it."""


Key = tuple[str | None, str]
"""A provider, if the bill names one, and its job id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """open: jobs whose bill is not settled here yet, with what the provider wants for them. Nothing
    is wrong there.
    """

    lines: int
    billed_nano_usd: int
    settled_nano_usd: int
    findings: list[Finding]
    open: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ours:
    job_id: JobId
    provider: str
    provider_job_id: ProviderJobId | None
    state: ChargeState
    settled_nano_usd: NanoUsd


def read_bill(text: str) -> dict[Key, int]:
    """Nano-USD by job. Raises UnreadableBillError: nothing of a bill is skipped in silence."""
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    if not lines:
        return {}
    return _read_events(lines) if lines[0].lstrip().startswith("{") else _read_csv(lines)


def _read_csv(lines: list[str]) -> dict[Key, int]:
    reader = csv.DictReader(lines, strict=True)
    if not {_ID, _AMOUNT} <= set(reader.fieldnames or ()):
        raise UnreadableBillError(
            f"line 1: a bill begins with a line that names {_ID} and {_AMOUNT}"
        )
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
    """A job that was accepted and has no outcome is billed nothing yet."""
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
                raise UnreadableBillError(f"line {number}: no event of a bill")
        except (json.JSONDecodeError, KeyError, TypeError):
            raise UnreadableBillError(f"line {number}: no event of a bill") from None
    return billed


def _whole(given: object, number: int) -> int:
    text = str(given).strip()
    digits = text.removeprefix("-")
    if not isinstance(given, int | str) or not (digits.isascii() and digits.isdecimal()):
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
    """The bill of one provider, or of all, against every job that was sent there."""
    rows = await conn.fetch(LIST_PURCHASES, provider, timeout=TIMEOUT_SECONDS)
    ours = [
        _Ours(
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
    for one, key in _with_keys(ours, left):
        amount = left.pop(key, None) if key is not None else None
        if one.state is ChargeState.HELD:
            if amount:
                unsettled.append(
                    f"{one.job_id}: {one.provider_job_id} is billed with {usd_text(amount)} USD"
                )
        elif (amount or 0) != one.settled_nano_usd:
            findings.append(_finding(one, amount))
    for (_, name), amount in left.items():
        if amount:
            findings.append(
                Finding(
                    check=MISSING,
                    target=name,
                    text=f"billed with {usd_text(amount)} USD, and no job here has it",
                )
            )
    return Comparison(
        lines=len(billed),
        billed_nano_usd=sum(billed.values()),
        settled_nano_usd=sum(one.settled_nano_usd for one in ours),
        findings=findings,
        open=unsettled,
    )


def _with_keys(ours: Iterable[_Ours], billed: dict[Key, int]) -> Iterator[tuple[_Ours, Key | None]]:
    """Each with the line of the bill that is its own: of its provider, or of an unnamed one."""
    for one in ours:
        name = one.provider_job_id
        if name is None:
            yield one, None
        else:
            yield one, (one.provider, name) if (one.provider, name) in billed else (None, name)


def _finding(one: _Ours, amount: int | None) -> Finding:
    settled = usd_text(one.settled_nano_usd)
    if amount is None:
        name = one.provider_job_id or "no job of the provider"
        return Finding(
            check=EXTRA,
            target=one.job_id,
            text=f"settled with {settled} USD for {name}, and not billed",
        )
    text = (
        f"settled with {settled} USD, billed with {usd_text(amount)} USD as {one.provider_job_id}"
    )
    return Finding(check=DIFFERENT, target=one.job_id, text=text)
