"""The page of `takeone-admin`, from the definitions of its commands."""

from typing import Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cli.main import app
from docs.generate.markdown import code, page, paragraph, table

PROGRAM: Final = "takeone-admin"
SHARED: Final = ("help", "install_completion", "show_completion")

INTRO = """\
The operator's command line works directly on the database, with `DATABASE_URL` and
`ENCRYPTION_KEYS` from the environment or `.env`. In the image, and without an installed script, it
is `python -m cli`; alongside a running `make up` it is `.venv/bin/python -m deploy.local admin`.
Every command has `--help`; commands print a table, or JSON with `--json`. Every change is written
to the audit log with the operator's name (`--actor`)."""

EXIT_CODES = """\
## Exit codes

| code | meaning |
| --- | --- |
| 0 | done, or nothing to change |
| 1 | not found, findings, unfinished work, or an unavailable server |
| 2 | a usage error, a missing setting or a refused change; nothing was changed |
| 3 | the database must be recovered first |"""


def render() -> str:
    """Return the page: the exit codes, then each group with its commands."""
    root = typer.main.get_command(app)
    sections = [EXIT_CODES]
    for name, command in sorted(root.commands.items()) if isinstance(root, TyperGroup) else ():
        sections.append(_section(name, command))
    return page("Command line", INTRO, *sections)


def _section(name: str, command: object) -> str:
    if isinstance(command, TyperGroup):
        parts = [f"## {name}", paragraph(command.help or "")]
        parts += [
            _command(f"{name} {child}", sub, "###")
            for child, sub in sorted(command.commands.items())
        ]
        return "\n\n".join(parts)
    return _command(name, command, "##")


def _command(path: str, command: object, heading: str) -> str:
    if not isinstance(command, TyperCommand):
        return ""
    arguments = [param for param in command.params if isinstance(param, TyperArgument)]
    options = [
        param
        for param in command.params
        if isinstance(param, TyperOption) and param.name not in SHARED and not param.hidden
    ]
    usage = " ".join(
        [PROGRAM, path, *(_argument(argument) for argument in arguments)]
        + (["[OPTIONS]"] if options else [])
    )
    rows = [
        *(
            (code(_argument(item)), "required" if item.required else "", item.help or "")
            for item in arguments
        ),
        *(
            (
                code(" / ".join([*item.opts, *item.secondary_opts])),
                "required" if item.required else "",
                item.help or "",
            )
            for item in options
        ),
    ]
    parts = [f"{heading} `{path}`", paragraph(command.help or ""), f"    {usage}"]
    return "\n\n".join([*parts, table(("argument or option", "", "meaning"), rows)])


def _argument(argument: TyperArgument) -> str:
    return str(argument.metavar or argument.name or "").upper()
