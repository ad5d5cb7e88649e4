"""The root command: all commands by name, and the end of the program."""

import os
import sys
from collections.abc import Mapping, Sequence

import click

from takeone._version import VERSION
from takeone.cli import (
    account,
    assets,
    config,
    endpoints,
    executions,
    files,
    local,
    orders,
    plans,
    raw,
    templates,
    watching,
    webhooks,
)
from takeone.cli._core import output
from takeone.cli._core.app import App, Group, profile_option
from takeone.cli._core.exits import MEANINGS, Exit, explain

EPILOG = "\b\nExit codes:\n" + "\n".join(
    f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items()
)

root = Group(
    "takeone",
    help="Prompt in, finished video out, every step paid for once.",
    params=[profile_option()],
    epilog=EPILOG,
    no_args_is_help=True,
    context_settings={"max_content_width": 100},
)
click.version_option(VERSION, prog_name="takeone", message="%(prog)s %(version)s")(root)

for command in (
    orders.generate,
    orders.quote,
    orders.image,
    orders.audio,
    orders.transcribe,
    watching.watch,
    executions.list_,
    executions.get,
    executions.cancel,
    executions.retry,
    executions.approve,
    files.download,
    files.open_,
    plans.run,
    plans.import_,
    templates.templates,
    assets.assets,
    account.models,
    account.usage,
    account.keys,
    endpoints.endpoints,
    webhooks.webhooks,
    config.login,
    config.logout,
    config.config,
    raw.api,
    local.completion,
    local.dev,
):
    root.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    app = App()
    try:
        try:
            code = root.main(list(arguments), prog_name="takeone", standalone_mode=False, obj=app)
        finally:
            app.close()
    except (KeyboardInterrupt, click.Abort):
        output.note("Interrupted")
        code = Exit.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = _failed(app, arguments, Exit.USAGE, error.format_message(), {})
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        if explained.text:
            output.note(f"Error: {explained.text}")
        code = explained.code
        if not getattr(error, "reported", False):
            _failed(app, arguments, explained.code, explained.text, explained.document)
    _flush()
    return code if isinstance(code, int) else Exit.DONE


def _flush() -> None:
    """Write the rest of the output, unless its reader has ended."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(
    app: App,
    arguments: Sequence[str],
    code: Exit,
    message: str,
    document: Mapping[str, object],
) -> int:
    """Return the exit code, after an error document for programs."""
    if app.json or "--json" in arguments:
        content = {"exitCode": code.value, "message": message, **document}
        output.line({"error": content})
    return code
