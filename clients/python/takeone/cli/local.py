"""Shell completion, and the whole service on this machine."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from takeone.cli._core import output
from takeone.cli._core.exits import Exit, StopError

SHELLS: Final = {
    "bash": ('eval "$(takeone completion bash)"', "~/.bashrc"),
    "zsh": ('eval "$(takeone completion zsh)"', "~/.zshrc"),
    "fish": ("takeone completion fish | source", "~/.config/fish/config.fish"),
}
MODULE: Final = "deploy.local"


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell, and where it belongs."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise StopError(Exit.USAGE, f"click has no completion for {shell}.")
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "takeone", "_TAKEONE_COMPLETE").source())
    line, file = SHELLS[shell]
    if sys.stdout.isatty():
        output.note(f"Add this line to {file}:\n  {line}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
def dev(arguments: tuple[str, ...]) -> None:
    """Run the whole service on this machine, until Ctrl-C.

    It does what `make up` does, and needs the server: a checkout as the present folder, or its
    environment. ARGS are those of `python -m deploy.local up`.
    """
    root = _checkout()
    python = _python(root)
    os.chdir(root)
    os.execv(python, [python, "-m", MODULE, "up", *arguments])  # noqa: S606 - the user asks for it


def _checkout() -> Path:
    """Return the folder of the server: the present one, or where its packages come from."""
    places = [Path.cwd(), *Path.cwd().parents]
    installed = find_spec("core")
    if installed is not None and installed.submodule_search_locations:
        places += [Path(place).parent for place in installed.submodule_search_locations]
    for place in places:
        if (place / "deploy/local/__main__.py").is_file() and (place / "worker.py").is_file():
            return place
    raise StopError(
        Exit.USAGE,
        "The server of Takeone is not installed here. Run this in a checkout of it, where "
        "`make up` does the same.",
    )


def _python(root: Path) -> str:
    """Return a Python that has the packages of the server."""
    if find_spec("temporalio") is not None and find_spec("asyncpg") is not None:
        return sys.executable
    own = root / ".venv/bin/python"
    if own.exists():
        return str(own)
    raise StopError(
        Exit.USAGE, f"{root} has no environment yet. Run `make up` there once, which creates it."
    )
