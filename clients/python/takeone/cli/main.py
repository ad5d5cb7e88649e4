"""The root command: all commands by name, and the end of the program."""

import os
import sys
from collections.abc import Mapping, Sequence

import click

from takeone._version import VERSION
from takeone.cli import assets, local, raw
from takeone.cli._core import output
from takeone.cli._core.app import App, Group, json_option, profile_option
from takeone.cli._core.exits import MEANINGS, Exit, explain
from takeone.cli.account import keys, models, profiles, usage
from takeone.cli.executions import approve, executions, files, retry, watching
from takeone.cli.orders import orders, plans, templates
from takeone.cli.webhooks import endpoints, webhooks

EPILOG = "\b\nExit codes:\n" + "\n".join(
    f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items()
)


class Root(Group):
    """The root, whose help has the commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands of each section."""
        width = formatter.width - 6 - max(map(len, self.commands))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(each.name or "", each.get_short_help_str(width)) for each in commands]
                )


root = Root(
    "takeone",
    help="Prompt in, finished video out, every step paid for once.",
    params=[json_option(), profile_option()],
    epilog=EPILOG,
    no_args_is_help=True,
    context_settings={"max_content_width": 100},
)
click.version_option(VERSION, prog_name="takeone", message="%(prog)s %(version)s")(root)

SECTIONS: Mapping[str, Sequence[click.Command]] = {
    "Order": (
        orders.generate,
        orders.image,
        orders.audio,
        orders.transcribe,
        plans.run,
        orders.quote,
        models.models,
        templates.templates,
        plans.import_,
    ),
    "Follow": (
        watching.watch,
        executions.list_,
        executions.get,
        executions.cancel,
        retry.retry,
        approve.approve,
        files.download,
        files.open_,
    ),
    "Account": (
        profiles.login,
        profiles.logout,
        profiles.config,
        usage.usage,
        keys.keys,
        assets.assets,
        endpoints.endpoints,
        webhooks.webhooks,
    ),
    "Develop": (raw.api, local.dev, local.completion),
}
"""All commands, in the order of the help."""

for commands in SECTIONS.values():
    for command in commands:
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
        content = {**document, "exitCode": code.value, "message": message}
        output.line({"error": content})
    return code
