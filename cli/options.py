"""Options and arguments that several commands share, and how their texts are read."""

import getpass
import os
import re
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import typer

from core.domain.money import NANO_PER_USD, NanoUsd

MAX_TEXT = 500
MAX_BIGINT = 2**63 - 1
MAX_COUNT = 1_000_000
NONE, DEFAULT = "none", "default"
_USD = re.compile(r"([0-9]{1,9})(?:\.([0-9]+))?", re.ASCII)
_NANO_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as written on the command line. value None: no limit, or the setting's default."""

    value: int | None

    def __str__(self) -> str:
        return NONE if self.value is None else str(self.value)


def changed(limit: Limit | None, present: int | None) -> int | None:
    """Return the new value of a limit: the present one where the option was left out."""
    return present if limit is None else limit.value


def default_actor() -> str:
    """Return the operator for the audit log, as user@host. With sudo, the user who called it."""
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a container's user id without a name
            name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def plain_text(text: str) -> str:
    if not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
        raise typer.BadParameter(f"give 1 to {MAX_TEXT} printable characters")
    return text


def name_text(text: str) -> str:
    if not text.strip() or len(text) > 200 or not text.isprintable():
        raise typer.BadParameter("a name has 1 to 200 printable characters")
    return text


def exact_usd(text: str) -> NanoUsd:
    """Read an amount of at least 0 to the nano-dollar, never through a float."""
    match = _USD.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not an amount of US dollars like 0.3")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > _NANO_DIGITS:
        raise typer.BadParameter(f"{text!r} is finer than a nano-dollar")
    return NanoUsd(int(whole) * NANO_PER_USD + int(fraction.ljust(_NANO_DIGITS, "0")))


def limit_usd(text: str) -> Limit:
    """Read an amount in US dollars, or the word for no limit."""
    return Limit(None) if text == NONE else Limit(exact_usd(text))


def utc_time(text: str) -> datetime:
    """Read an ISO 8601 time with its time zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an ISO 8601 time") from None
    if time.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone: add Z or +01:00")
    return time


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Actor = Annotated[
    str,
    typer.Option(
        "--actor",
        metavar="NAME",
        parser=plain_text,
        default_factory=default_actor,
        show_default="user@host",
        help="The operator's name in the audit log.",
    ),
]
Note = Annotated[
    str | None,
    typer.Option(
        "--note", metavar="TEXT", parser=plain_text, help="The reason, for the audit log."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what the command would do, and change nothing.")
]
RowLimit = Annotated[
    int,
    typer.Option("--limit", metavar="N", min=1, max=MAX_COUNT, help="The number of rows to show."),
]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="User id (usr_…).")]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Key id (key_…).")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Job id (job_…).")]
