"""What a command prints: tables and texts for people, JSON for programs.

Texts of the service reach a terminal by these functions only, which remove what could move its
cursor, change its settings or reorder the text.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters, line separators, and marks that change the direction of a text."""


def document(value: "BaseModel | Mapping[str, Any] | Sequence[Any]") -> None:
    """Print one JSON document on standard output, in ASCII."""
    click.echo(json.dumps(value, default=_plain, indent=2))


def line(value: "BaseModel | Mapping[str, Any]") -> None:
    """Print a JSON document in one line."""
    click.echo(json.dumps(value, default=_plain, separators=(",", ":")))


def _plain(value: Any) -> Any:
    """Return a value as JSON of the API: exact money, times in UTC."""
    if isinstance(value, Decimal | date):
        return text(value)
    return value.model_dump(by_alias=True)


def say(value: object) -> None:
    """Print a result for people and pipes on standard output, in one line."""
    click.echo(text(value))


def note(value: str) -> None:
    """Print a text for people on standard error."""
    click.echo("\n".join(CONTROL.sub("", each) for each in value.split("\n")), err=True)


def text(value: object) -> str:
    """Return a value as one line of text: exact money, times in UTC, no control characters."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case list() | tuple():
            return ", ".join(map(text, cast("Sequence[object]", value)))
        case _:
            return CONTROL.sub(" ", str(value))


def when(value: datetime | None) -> str:
    """Return a time for a table, to the second."""
    return "" if value is None else text(value.replace(microsecond=0))


def usd(value: Decimal | None) -> str:
    """Return money for a table."""
    return "" if value is None else f"${text(value)}"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False) -> None:
    """Print rows: as a table on a terminal, else one per line with tabs and without a head."""
    stream = sys.stderr if err else sys.stdout
    cells = [[text(value) for value in row] for row in rows]
    if not stream.isatty():
        for row in cells:
            click.echo("\t".join(row), err=err)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in cells:
        made.add_row(*(Text(value) for value in row))
    Console(file=stream, highlight=False).print(made)


def facts(values: Mapping[str, object]) -> None:
    """Print the names and values of one object, without the empty ones."""
    shown = {name: text(value) for name, value in values.items() if text(value)}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {value}")
