"""How commands print: JSON for programs, tables and lines for people."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 1000
"""Columns where the output is not a terminal: wide enough that a row stays on one line."""
LEAST_LAST_WIDTH = 30
"""What the last cell of a row needs, whose text may continue on further lines."""
SEPARATOR = 3
"""Spaces between two cells."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command prints on stdout, and its exit code."""

    text: str
    code: int = 0


def show(
    data: object, as_json: bool, *, columns: Sequence[str] | None = None, code: int = 0
) -> Shown:
    """Render the result of a command. columns: the fields that the table has; default: all."""
    text = _as_json(data) if as_json else _as_text(data, columns)
    return Shown(text, code)


def show_change(report: Mapping[str, object], as_json: bool, *, dry_run: bool) -> Shown:
    """Render what a command changed; after a dry run, the report is marked as one."""
    return show({"dryRun": True, **report} if dry_run else report, as_json)


def _as_json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    if not isinstance(value, datetime):
        return str(value)  # a date
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _as_text(data: object, columns: Sequence[str] | None) -> str:
    if _is_rows(data):
        return _rows_text(cast("Sequence[Mapping[str, object]]", data), columns)
    if isinstance(data, Mapping):
        return "\n".join(_field_lines(cast("Mapping[str, object]", data)))
    return _cell(data)


def _is_rows(data: object) -> bool:
    return isinstance(data, Sequence) and all(
        isinstance(row, Mapping) for row in cast("Sequence[object]", data)
    )


def _rows_text(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None) -> str:
    if not rows:
        return "None."
    names = list(columns or rows[0])
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(heading(name), overflow="fold", no_wrap=name != names[-1])
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in names))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    if _least_width(rows, names) > width:  # a folded id could not be copied
        return "\n\n".join(_record(row, names) for row in rows)
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def _least_width(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> int:
    """Return the width of a table in which only the last cell of a row may be folded."""
    widths = [
        max(len(heading(name)), *(len(_cell(row.get(name))) for row in rows)) for name in names
    ]
    widths[-1] = min(widths[-1], LEAST_LAST_WIDTH)
    return sum(widths) + SEPARATOR * (len(names) - 1)


def _record(row: Mapping[str, object], names: Sequence[str]) -> str:
    """Return a row as one line for each field."""
    width = max(len(heading(name)) for name in names)
    return "\n".join(f"{heading(name):<{width}}  {_cell(row.get(name))}" for name in names)


def _field_lines(fields: Mapping[str, object]) -> list[str]:
    """Return a line for each plain field, and a section for each nested one."""
    nested = {name: value for name, value in fields.items() if _is_section(value)}
    flat = {name: value for name, value in fields.items() if name not in nested}
    width = max((len(heading(name)) for name in flat), default=0)
    lines = [f"{heading(name):<{width}}  {_cell(value)}" for name, value in flat.items()]
    for name, value in nested.items():
        lines += ["", heading(name), *(f"  {line}" for line in _as_text(value, None).splitlines())]
    return lines if flat else lines[1:]


def _is_section(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    return (
        isinstance(value, list)
        and len(cast("list[object]", value)) > 0
        and _is_rows(cast("object", value))
    )


def heading(name: str) -> str:
    """Return the words of a camelCase name: `monthlyUsd` is "Monthly USD"."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    text = words[:1].upper() + words[1:]
    return text.replace(" usd", " USD").replace(" url", " URL").removesuffix(" id") + (
        " ID" if text.endswith(" id") else ""
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        if all(isinstance(item, str) for item in items):
            return ", ".join(_printable(str(item)) for item in items) or "-"
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(cast("object", value), ensure_ascii=True, default=_plain)
    return _printable(str(value))


def _printable(text: str) -> str:
    """Escape control characters: a provider's text must not steer the operator's terminal."""
    return text if text.isprintable() else json.dumps(text)
