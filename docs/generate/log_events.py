"""The page of all log events, read from the calls of the loggers in the product's source."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from docs.generate.markdown import ROOT, code, codes, page, table

SOURCES = ("activities", "api", "cli", "core", "workflows", "worker.py")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}

INTRO = """\
A log line is one JSON object with `event`, `level`, `timestamp` and the fields below. Events are
identifiers, so they can be searched and counted; a field that is marked `*` stands for further
fields that depend on the case. `exception` is the level `error` with a stack trace. Keys and
tokens never appear: they are removed by name and by value before a line is written."""


class LogEvent(NamedTuple):
    """One call of a logger."""

    event: str
    level: str
    fields: tuple[str, ...]
    path: str


def render() -> str:
    """Return the page: one row for each event, with every field that any of its calls has."""
    merged: defaultdict[str, list[LogEvent]] = defaultdict(list)
    for call in log_events():
        merged[call.event].append(call)
    rows = [
        (
            code(event),
            ", ".join(sorted({call.level for call in calls})),
            codes(sorted({field for call in calls for field in call.fields})),
            codes(sorted({call.path for call in calls})),
        )
        for event, calls in sorted(merged.items())
    ]
    return page("Log events", INTRO, table(("event", "level", "fields", "logged by"), rows))


def log_events() -> Iterator[LogEvent]:
    """Yield every call of a logger in the product whose first argument is a literal text."""
    for source in SOURCES:
        start = ROOT / source
        for path in [start] if start.is_file() else sorted(start.rglob("*.py")):
            yield from _in_file(path)


def _in_file(path: Path) -> Iterator[LogEvent]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in LEVELS or not _is_logger(node.func.value) or not node.args:
            continue
        event = node.args[0]
        if isinstance(event, ast.Constant) and isinstance(event.value, str):
            fields = tuple(keyword.arg or "*" for keyword in node.keywords)
            relative = path.relative_to(ROOT).as_posix()
            yield LogEvent(event.value, node.func.attr, fields, relative)


def _is_logger(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "bind"
    return name.strip("_") in ("log", "logger")
