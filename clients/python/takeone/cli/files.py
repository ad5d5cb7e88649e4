"""Files of executions: download, and open in a browser."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError

if TYPE_CHECKING:
    from takeone import Execution
    from takeone.models import ResultFile

SUFFIXES: Final = {
    "application/json": ".json",
    "application/x-subrip": ".srt",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "text/vtt": ".vtt",
    "text/x-ass": ".ass",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
}
"""Suffixes of file names by content type. Another type gets none."""


def save_result(execution: "Execution", folder: Path) -> list[Path]:
    """Save the result and the named outputs of an execution in a folder."""
    result = execution.result
    labelled = {"": result.file, **result.outputs} if result else {}
    files: dict[str, tuple[str, ResultFile]] = {}
    for label, file in labelled.items():
        if file is not None:  # the result is often a named output, too
            files.setdefault(file.id, (label, file))
    folder.mkdir(parents=True, exist_ok=True)
    return [
        execution.download(folder / _name(execution, label, file), file)
        for label, file in files.values()
    ]


def _name(execution: "Execution", label: str, file: "ResultFile") -> str:
    """Return a file name: the execution's id, with the label of a further file."""
    plain = re.sub(r"[^\w.-]", "_", label)
    kind = file.content_type.partition(";")[0]
    suffix = SUFFIXES.get(kind, "")
    return f"{execution.id}{'-' if plain else ''}{plain}{suffix}"


def open_result(execution: "Execution") -> None:
    """Open the result of an execution in a browser. Its address is printed in any case."""
    import webbrowser

    url = execution.result.url if execution.result else None
    if url is None or not url.startswith(("http://", "https://")):
        raise StopError(
            Exit.FAILED, f"{execution.id} has no result to open: it is {execution.status}."
        )
    if not webbrowser.open(url):
        output.note(f"No browser can be opened here: {url}")


def completed(execution: "Execution") -> "Execution":
    """Return an execution that has completed, or stop with its state."""
    if execution.status == "completed":
        return execution
    if execution.ended:
        raise StopError(Exit.FAILED, f"{execution.id} has no result: it is {execution.status}.")
    raise StopError(
        Exit.TIMEOUT,
        f"{execution.id} is {execution.status}, {execution.progress} %. "
        f"Wait for it: takeone watch {execution.id}",
    )


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
    execution = completed(app.client.executions.get(execution_id))
    if every:
        saved = _save_all(execution, folder)
    elif place is None and name is None:
        saved = save_result(execution, folder)
    else:
        file = _output(execution, name) if name else None
        target = place or folder / _name(execution, name or "", file or _result(execution))
        target.parent.mkdir(parents=True, exist_ok=True)
        saved = [execution.download(target, file)]
    document: dict[str, Any] = {
        "executionId": execution.id,
        "downloaded": [str(path) for path in saved],
    }
    app.show(document, lambda: click.echo("\n".join(document["downloaded"])))


def _save_all(execution: "Execution", folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = execution.result.assets if execution.result else []
    return [
        execution.download(folder / _name(execution, f"{file.step}-{number}", file), file)
        for number, file in enumerate(files, start=1)
    ]


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
    app.show({"executionId": execution.id, "url": url}, lambda: click.echo(output.text(url)))
    open_result(execution)
