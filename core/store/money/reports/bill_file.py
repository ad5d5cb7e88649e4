"""A provider's bill, read from a file.

Three formats. CSV with the columns `provider_job_id` and `nano_usd` or `usd`, and `provider` if the
file covers several; the lines of a job add up, so a refund is a negative line. A JSON array of
objects with the same names. Or JSON lines of events, as the sandbox writes them: `accepted` with a
provider, `outcome` with `billed_nano_usd`.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from core.domain.money import nano_usd

ID: Final = "provider_job_id"
NANO_USD: Final = "nano_usd"
USD: Final = "usd"
PROVIDER: Final = "provider"

Key = tuple[str | None, str]
"""The provider, if the bill names one, and the provider's job id."""


class UnreadableBillError(ValueError):
    """The file has a line that is not part of a bill; the text names the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names in the file. usd: of a column with US dollars; by default `nano_usd` or `usd`."""

    job_id: str = ID
    usd: str | None = None

    def amount_of(self, names: Iterable[str]) -> str:
        """Return the column of the amounts. Raises UnreadableBillError."""
        present = set(names)
        known = (self.usd,) if self.usd is not None else (NANO_USD, USD)
        amount = next((name for name in known if name in present), None)
        if amount is None or self.job_id not in present:
            raise UnreadableBillError(
                f"line 1: the header must name the columns {self.job_id} and {' or '.join(known)}"
            )
        return amount


DEFAULT_COLUMNS: Final = Columns()


def read_bill(text: str, columns: Columns = DEFAULT_COLUMNS) -> dict[Key, int]:
    """Return nano-USD by job. Raises UnreadableBillError: no line is skipped silently."""
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    if not lines:
        return {}
    first = lines[0].lstrip()
    if first.startswith("{"):
        return _read_events(lines)
    if first.startswith("["):
        return _sum_rows(_rows_of_json(text.lstrip("\ufeff")), columns)
    reader = csv.DictReader(lines, strict=True)
    columns.amount_of(reader.fieldnames or ())
    try:
        return _sum_rows(enumerate(reader, start=2), columns)
    except csv.Error as error:
        raise UnreadableBillError(f"line {reader.line_num}: {error}") from None


def _rows_of_json(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        rows: list[Mapping[str, Any]] = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise UnreadableBillError(f"line {error.lineno}: {error.msg}") from None
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UnreadableBillError(f"item {number}: not an object")
    return list(enumerate(rows, start=1))


def _sum_rows(rows: Iterable[tuple[int, Mapping[str, Any]]], columns: Columns) -> dict[Key, int]:
    billed: Counter[Key] = Counter()
    for number, row in rows:
        if not row.get(columns.job_id):
            raise UnreadableBillError(f"line {number}: no {columns.job_id}")
        amount = columns.amount_of(row)
        read = _whole if amount == NANO_USD else _dollars
        key = (row.get(PROVIDER) or None, str(row[columns.job_id]))
        billed[key] += read(row[amount], number)
    return dict(billed)


def _read_events(lines: list[str]) -> dict[Key, int]:
    """Read the sandbox's events. An accepted job without an outcome is billed nothing yet."""
    keys: dict[str, Key] = {}
    billed: dict[Key, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            event: dict[str, Any] = json.loads(line)
            name, kind = event[ID], event["event"]
            if kind == "accepted":
                keys[name] = (event[PROVIDER], name)
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


def _dollars(value: object, number: int) -> int:
    text = str(value).strip().removeprefix("$")
    try:
        return nano_usd(text)
    except (ValueError, InvalidOperation, OverflowError):
        raise UnreadableBillError(f"line {number}: {text!r} is not an amount in dollars") from None
