"""The commands of `takeone-admin` that the operator's console offers, and their command lines.

The console has no functions of its own: a request becomes the arguments of a command, which then
parses, checks and does the same as on the terminal.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final, cast

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cli.main import PROGRAM, app
from core.store.operator import RefusedError, camel

MAX_VALUE_CHARACTERS: Final = 500


class Kind(StrEnum):
    """How a command is shown before it runs.

    READ: it only reads. CHECK: it runs at once, and stores when it ran. CHANGE: by its dry run.
    COUNT: likewise; it changes many rows, so the real run needs --yes.
    """

    READ = "read"
    CHECK = "check"
    CHANGE = "change"
    COUNT = "count"


SERVED: Final[Mapping[str, Kind]] = {
    "overview": Kind.READ,
    "queues": Kind.READ,
    "providers show": Kind.READ,
    "submits show": Kind.READ,
    "jobs list": Kind.READ,
    "jobs show": Kind.READ,
    "executions list": Kind.READ,
    "executions undelivered": Kind.READ,
    "webhooks list": Kind.READ,
    "audit list": Kind.READ,
    "ledger check": Kind.CHECK,
    "providers reset": Kind.CHANGE,
    "submits pause": Kind.CHANGE,
    "submits resume": Kind.CHANGE,
    "jobs adopt": Kind.CHANGE,
    "jobs settle": Kind.CHANGE,
    "jobs release": Kind.CHANGE,
    "jobs refund": Kind.CHANGE,
    "executions cancel": Kind.COUNT,
    "webhooks resend": Kind.COUNT,
}
_ADDED: Final = frozenset({"as_json", "actor", "dry_run", "help"})
"""Parameters that the console sets itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command with its values. text: as an operator types it, without a dry run.

    dry, real: the arguments for the two runs; equal for a command that only reads.
    """

    kind: Kind
    dry: tuple[str, ...]
    real: tuple[str, ...]
    text: str


def command_line(name: str, values: Mapping[str, object], *, actor: str) -> CommandLine:
    """Return the command line for these values.

    values: by the names of arguments, and of options in camelCase: `olderThan` is `--older-than`.
    Raise LookupError for a command that is not offered, RefusedError for a name or a value that
    it does not take.
    """
    kind = SERVED.get(name)
    if kind is None:
        raise LookupError(f"the console does not offer {name[:MAX_VALUE_CHARACTERS]!r}")
    options: list[str] = []
    shown: list[str] = []
    positional: list[str] = []
    parameters = _parameters(name)
    for key in values.keys() - parameters.keys():
        raise RefusedError(f"{name} has no {key[:MAX_VALUE_CHARACTERS]!r}")
    for key, parameter in parameters.items():
        text = _text(key, values.get(key))
        if text is None:
            continue
        if isinstance(parameter, TyperArgument):
            positional.append(text)
        elif parameter.is_flag:
            options += _flag(parameter, text)
            shown += _flag(parameter, text)
        else:
            options.append(f"{parameter.opts[0]}={text}")  # as one word: no value is an option
            shown += [parameter.opts[0], text]
    real = ["--yes"] if kind is Kind.COUNT else []
    dry = ["--dry-run"] if _has(name, "dry_run") else []
    added = ["--json", *([f"--actor={actor}"] if _has(name, "actor") else [])]
    words = name.split()
    tail = [*added, *options, "--", *positional]
    return CommandLine(
        kind=kind,
        dry=(*words, *dry, *tail),
        real=(*words, *real, *tail),
        text=shlex.join([PROGRAM, *words, *positional, *shown, *real]),
    )


def _flag(parameter: TyperOption, text: str) -> list[str]:
    if text not in ("true", "false"):
        raise RefusedError(f"{parameter.opts[0]} must be true or false")
    return [parameter.opts[0]] if text == "true" else []


def _text(key: str, value: object) -> str | None:
    """Return a value as a word of a command line; None: it was left out."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, int | str) else None
    if text is None or len(text) > MAX_VALUE_CHARACTERS or not text.isprintable():
        raise RefusedError(f"{key} must be a text of up to {MAX_VALUE_CHARACTERS} characters")
    return text


@cache
def _parameters(name: str) -> Mapping[str, TyperArgument | TyperOption]:
    """Return the parameters of a command that a request may set, by their JSON names."""
    kind = SERVED[name]
    if kind is Kind.CHECK:  # with options, a check may repair
        return {}
    hidden = _ADDED | {"yes"} if kind is Kind.COUNT else _ADDED
    return {
        _json_name(parameter): parameter
        for parameter in _all_parameters(name)
        if parameter.name not in hidden
    }


def _json_name(parameter: TyperArgument | TyperOption) -> str:
    if isinstance(parameter, TyperArgument):
        return camel(str(parameter.name))
    return camel(parameter.opts[0].removeprefix("--").replace("-", "_"))


@cache
def _has(name: str, parameter: str) -> bool:
    return any(each.name == parameter for each in _all_parameters(name))


def _all_parameters(name: str) -> Sequence[TyperArgument | TyperOption]:
    command: object = typer.main.get_command(app)
    for word in name.split():
        command = cast("TyperGroup", command).commands[word]
    return cast("Sequence[TyperArgument | TyperOption]", cast("TyperCommand", command).params)
