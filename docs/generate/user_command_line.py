"""The page of `takeone`, the user's command line, from the definitions of its commands."""

from typing import Final

import click

from docs.generate.markdown import code, page, paragraph, table
from takeone.cli._core.exits import MEANINGS
from takeone.cli.main import root

PROGRAM: Final = "takeone"
SHARED: Final = ("as_json", "json", "profile", "help")

INTRO = """\
`takeone` is an extra of the [Python client](../how-to/python-client.md): `pip install
'takeone[cli]'`. It calls the HTTP API with the key of a profile. The guide: [use the command
line](../how-to/command-line.md). The operator's command line is [another one](cli.md)."""

OUTPUT = """\
## Output

On a terminal, commands print tables. In a pipe, a row is a line with tabs, without a head. With
`--json`, standard output has exactly one JSON document, or one per line while watching; it has the
members of the API, money as the exact text, and an object `error` after a failure. Everything else
is printed on standard error. `NO_COLOR` switches colours off.

Every command has `--json`, `--profile NAME` and `--help`; `completion` and `dev` have `--help`
alone. Why it is so: [decision 49](../decisions/0049-people-read-stderr-programs-stdout.md)."""

ENVIRONMENT: Final = (
    ("TAKEONE_BASE_URL", "The address of the service, instead of the profile's."),
    ("TAKEONE_API_KEY", "The API key, instead of the profile's."),
    ("TAKEONE_PROFILE", "The profile. `--profile` wins, also over the two variables above."),
    ("NO_COLOR", "Print no colours."),
)


def render() -> str:
    """Return the page: exit codes and output, then each command."""
    rows = [(str(exit_code.value), meaning) for exit_code, meaning in MEANINGS.items()]
    sections = [
        f"## Exit codes\n\n{table(('code', 'meaning'), rows)}",
        OUTPUT,
        "## Environment\n\n"
        + table(("variable", "meaning"), [(code(name), text) for name, text in ENVIRONMENT]),
    ]
    sections += [_section(command) for _, command in sorted(root.commands.items())]
    return page("The command line takeone", INTRO, *sections)


def _section(command: click.Command) -> str:
    name = command.name or ""
    if not isinstance(command, click.Group):
        return _command(name, command, "##")
    parts = [f"## {name}", paragraph(command.help or "")]
    parts += [
        _command(f"{name} {child}", sub, "###") for child, sub in sorted(command.commands.items())
    ]
    return "\n\n".join(parts)


def _command(path: str, command: click.Command, heading: str) -> str:
    arguments = [item for item in command.params if isinstance(item, click.Argument)]
    options = [
        item
        for item in command.params
        if isinstance(item, click.Option) and item.name not in SHARED
    ]
    usage = " ".join(
        [PROGRAM, path, *(_argument(argument) for argument in arguments)]
        + (["[OPTIONS]"] if options else [])
    )
    rows = [(code(_option(item)), _meaning(item)) for item in options]
    parts = [f"{heading} `{path}`", _paragraphs(command.help or ""), f"    {usage}"]
    return "\n\n".join(parts + ([table(("option", "meaning"), rows)] if rows else []))


def _paragraphs(text: str) -> str:
    return "\n\n".join(paragraph(part) for part in text.split("\n\n"))


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or _kind(option)}"
    return f"{', '.join(option.opts)}{value}"


def _kind(option: click.Option) -> str:
    """Return what a value may be: the choices, or the type."""
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return "NUMBER" if isinstance(option.type, click.IntRange) else option.type.name.upper()


def _meaning(option: click.Option) -> str:
    default = f" Default: {option.default}." if option.show_default else ""
    return f"{option.help or ''}{default}"
