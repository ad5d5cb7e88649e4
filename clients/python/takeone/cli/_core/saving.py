"""Files of executions: their names on this machine, saving them, and opening a result."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from takeone.cli._core import output
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
LABEL_CHARS: Final = 100


def save_result(execution: "Execution", folder: Path) -> list[Path]:
    """Save the result and the named outputs of an execution in a folder."""
    result = execution.result
    labelled = {"": result.file, **result.outputs} if result else {}
    files: dict[str, tuple[str, ResultFile]] = {}
    for label, file in labelled.items():
        if file is not None:  # the result is often a named output, too
            files.setdefault(file.id, (label, file))
    return save_files(execution, list(files.values()), folder)


def save_files(
    execution: "Execution", files: "list[tuple[str, ResultFile]]", folder: Path
) -> list[Path]:
    """Save files with their labels in a folder, each under a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    saved: list[Path] = []
    for number, (label, file) in enumerate(files, start=1):
        path = folder / file_name(execution, label, file)
        if path in saved:
            path = folder / file_name(execution, f"{label}-{number}", file)
        saved.append(execution.download(path, file))
    return saved


def file_name(execution: "Execution", label: str, file: "ResultFile") -> str:
    """Return a file name: the execution's id, with the label of a further file.

    Labels and ids come from the service; a name never leads out of its folder.
    """
    suffix = SUFFIXES.get(file.content_type.partition(";")[0], "")
    parts = [_plain(execution.id), _plain(label)] if label else [_plain(execution.id)]
    return f"{'-'.join(parts)}{suffix}"


def _plain(text: str) -> str:
    """Return a text with letters, digits, `_`, `-` and inner dots only."""
    return re.sub(r"[^\w.-]|^\.+", "_", text)[:LABEL_CHARS]


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
