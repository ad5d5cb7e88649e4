"""`takeone-admin`, the command line for operators. It works directly on the database."""

import asyncio
import inspect
import sys
from collections.abc import Coroutine
from typing import Any, cast

import typer

from cli.commands import (
    audit,
    executions,
    jobs,
    keys,
    ledger,
    providers,
    secrets,
    service,
    submits,
    users,
    webhooks,
)
from cli.commands.bills import import_bill
from cli.commands.overview import overview, queues
from cli.console.command import console, console_link
from cli.doctor.command import backup_check, doctor
from cli.output import Shown
from cli.recover import recover
from cli.session import Session, explain, load_settings

PROGRAM = "takeone-admin"

app = typer.Typer(
    name=PROGRAM,
    help="Operate Takeone: users, keys, limits, pauses, cancels, jobs that need a decision, webhooks, "
    "the ledger, backups, and the check before going live (doctor).\n\n"
    "Commands read and write the database directly. Every change is recorded in the audit log; "
    "secrets are printed once. Each command prints a table, or JSON with --json. Commands that change "
    "many rows only count without --yes.",
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
    ("executions", executions),
    ("jobs", jobs),
    ("submits", submits),
    ("webhooks", webhooks),
    ("providers", providers),
    ("service", service),
    ("ledger", ledger),
    ("secrets", secrets),
    ("audit", audit),
):
    app.add_typer(commands.app, name=name)
ledger.app.command("import-bill")(import_bill)
app.command("overview")(overview)
app.command("queues")(queues)
app.command("console")(console)
app.command("console-link")(console_link)
app.command("recover")(recover)
app.command("doctor")(doctor)
app.command("backup-check")(backup_check)

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
