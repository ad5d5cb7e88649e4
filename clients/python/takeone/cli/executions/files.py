"""Files of executions: download, and open in a browser."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError
from takeone.cli._core.saving import completed, file_name, open_result, save_files, save_result

if TYPE_CHECKING:
    from takeone import Execution
    from takeone.models import ResultFile


@click.command(cls=Command)
@click.argument("execution_id", metavar="ID")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=".",
    metavar="DIR", help="The folder. Default: the present one.",
)  # fmt: skip
@click.option(
    "--to", "place", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Save one file under this path.",
)  # fmt: skip
@click.option("--output", "name", metavar="NAME", help="A named output instead of the result.")
@click.option("--all", "every", is_flag=True, help="All stored files, those of each step.")
@pass_app
def download(
    app: App, execution_id: str, folder: Path, place: Path | None, name: str | None, every: bool
) -> None:
    """Save the result and the named outputs of an execution.

    Files get their names when their checksums are right.
    """
    if every and (place or name):
        raise click.UsageError("--all saves every file: give it without --to and --output.")
    execution = completed(app.client.executions.get(execution_id))
    if every:
        saved = _save_all(execution, folder)
    elif place is None and name is None:
        saved = save_result(execution, folder)
    else:
        file = _output(execution, name) if name else _result(execution)
        target = place or folder / file_name(execution, name or "", file)
        target.parent.mkdir(parents=True, exist_ok=True)
        saved = [execution.download(target, file)]
    if not saved:
        raise StopError(Exit.FAILED, f"{execution.id} has no file.")
    paths = [str(path) for path in saved]
    app.show(
        {"executionId": execution.id, "downloaded": paths}, lambda: click.echo("\n".join(paths))
    )


def _save_all(execution: "Execution", folder: Path) -> list[Path]:
    files = execution.result.assets if execution.result else []
    labelled = [(f"{file.step}-{number}", file) for number, file in enumerate(files, start=1)]
    return save_files(execution, labelled, folder)


def _result(execution: "Execution") -> "ResultFile":
    file = execution.result.file if execution.result else None
    if file is None:
        raise StopError(Exit.FAILED, f"{execution.id} has no file.")
    return file


def _output(execution: "Execution", name: str) -> "ResultFile":
    outputs = execution.result.outputs if execution.result else {}
    file = outputs.get(name)
    if file is None:
        available = ", ".join(key for key, value in outputs.items() if value) or "none"
        raise StopError(
            Exit.NOT_FOUND, f"{execution.id} has no output {name!r}. Its outputs: {available}."
        )
    return file


@click.command("open", cls=Command)
@click.argument("execution_id", metavar="ID")
@pass_app
def open_(app: App, execution_id: str) -> None:
    """Open the result of an execution in a browser."""
    execution = completed(app.client.executions.get(execution_id))
    url = execution.result.url if execution.result else None
    app.show({"executionId": execution.id, "url": url}, lambda: output.say(url))
    open_result(execution)
