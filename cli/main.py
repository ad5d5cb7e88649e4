"""`takeone-admin`, the command line for operators. It works directly on the database."""

import asyncio
import inspect
import sys
from collections.abc import Coroutine
from typing import Any, cast

import typer

from cli.commands import audit, jobs, keys, ledger, providers, secrets, service, submits, users
from cli.output import Shown
from cli.recover import recover
from cli.session import Session, explain, load_settings

PROGRAM = "takeone-admin"

app = typer.Typer(
    name=PROGRAM,
    help="Operate Takeone: users, keys, limits, jobs that need a decision, pauses, and the ledger.\n\n"
    "Commands read and write the database directly. Every change is recorded in the audit log; "
    "secrets are printed once. Each command prints a table, or JSON with --json.",
    epilog="Settings: DATABASE_URL and ENCRYPTION_KEYS, from the environment or .env. "
    "Exit codes: 0 done; 1 not found, findings, unfinished work or an unavailable server; "
    "2 a usage error or a refused change; 3 the database must be recovered first.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
for name, commands in (
    ("users", users),
    ("keys", keys),
    ("jobs", jobs),
    ("submits", submits),
    ("providers", providers),
    ("service", service),
    ("ledger", ledger),
    ("secrets", secrets),
    ("audit", audit),
):
    app.add_typer(commands.app, name=name)
app.command("recover")(recover)

Command = Coroutine[Any, Any, Shown]


def parse(arguments: list[str], session: Session) -> Command | int:
    """Read a command line. Returns the command to run, or the exit code of `--help`.

    Raises typer.TyperException for a usage error.
    """
    result: object = app(arguments, prog_name=PROGRAM, standalone_mode=False, obj=session)
    return cast("Command", result) if inspect.iscoroutine(result) else int(cast("int", result or 0))


async def execute(command: Command) -> tuple[int, str, bool]:
    """Run a command. Returns its exit code and text; False: the text is an error message."""
    try:
        shown = await command
    except Exception as error:  # noqa: BLE001 - explain() raises what it does not expect
        code, text = explain(error)
        return code, text, False
    return shown.code, shown.text, True


def main() -> int:
    try:
        command = parse(sys.argv[1:], Session(load_settings))
    except typer.TyperException as error:
        sys.stderr.write(f"{error.format_message()}\n")
        return error.exit_code
    if isinstance(command, int):
        return command
    code, text, is_result = asyncio.run(execute(command))
    if is_result and text:
        sys.stdout.write(f"{text}\n")
    elif not is_result:
        sys.stderr.write(f"{text.splitlines()[0]}\n")
    return code
