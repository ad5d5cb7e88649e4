"""The page of all log events, read from the calls of the loggers in the product's source."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from docs.generate.markdown import ROOT, code, codes, page, table

SOURCES = ("activities", "api", "cli", "core", "workflows", "worker.py")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
NOT_FIELDS = {"exc_info", "stack_info", "stacklevel"}

INTRO = """\
A log line is one JSON object with `event`, `level`, `timestamp` and the fields below. Events are
identifiers, so they can be searched and counted; a field that is marked `*` stands for further
fields that depend on the case. `exception` is the level `error` with a stack trace. Keys and
tokens never appear: they are removed by name and by value before a line is written."""


class LogEvent(NamedTuple):
    """One call of a logger; event is empty if the first argument is not a literal text."""

    event: str
    level: str
    fields: tuple[str, ...]
    path: str
    line: int


def render() -> str:
    """Return the page: one row for each event, with every field that any of its calls has."""
    merged: defaultdict[str, list[LogEvent]] = defaultdict(list)
    for call in filter(attrgetter("event"), log_events()):
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
    """Yield every call of a logger in the product, file by file."""
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
        yield LogEvent(
            event=_literal(node.args[0]),
            level=node.func.attr,
            fields=tuple(sorted(_fields(node))),
            path=path.relative_to(ROOT).as_posix(),
            line=node.lineno,
        )


def _literal(node: ast.expr | None) -> str:
    text = node.value if isinstance(node, ast.Constant) else None
    return text if isinstance(text, str) else ""


def _fields(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            yield from (
                str(key.value) for key in keyword.value.keys if isinstance(key, ast.Constant)
            )
        elif keyword.arg not in NOT_FIELDS:
            yield keyword.arg or "*"


def _is_logger(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    if isinstance(node, ast.Call):
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        return called in ("bind", "getLogger", "get_logger")
    return name.strip("_") in ("log", "logger")
