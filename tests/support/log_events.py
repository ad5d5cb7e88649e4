"""The product's log events, read from the log calls in its source."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("worker.py", "activities", "api", "cli", "core", "workflows")
LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_LOGGER_NAMES = frozenset({"log", "logger", "_log", "_logger"})
_NOT_FIELDS = frozenset({"exc_info", "stack_info", "stacklevel", "extra"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """One log call.

    event: the dotted name, or None if the first argument is not a string literal.
    fields: the names of the fields, sorted; `**` stands for fields that the call unpacks.
    file: relative to the repository.
    """

    event: str | None
    level: str
    fields: tuple[str, ...]
    file: str
    line: int


def log_events(root: Path = ROOT, folders: tuple[str, ...] = PRODUCT) -> Iterator[LogEvent]:
    """Yield every log call of the product, file by file."""
    for folder in folders:
        path = root / folder
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        for file in files:
            yield from events_in(file.read_text(encoding="utf-8"), str(file.relative_to(root)))


def events_in(source: str, file: str) -> Iterator[LogEvent]:
    """Yield the log calls of one file in source order."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        if isinstance(call.func, ast.Attribute) and _is_log_method(call.func):
            yield LogEvent(
                event=_literal(call.args[0]) if call.args else None,
                level="error" if call.func.attr == "exception" else call.func.attr,
                fields=tuple(sorted(_fields(call))),
                file=file,
                line=call.lineno,
            )


def _is_log_method(method: ast.Attribute) -> bool:
    """Return whether a method is called on a logger: `log`, `x.logger`, `getLogger(…)`."""
    if method.attr not in LEVELS:
        return False
    match method.value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _LOGGER_NAMES
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in {"getLogger", "get_logger", "bind"}
        case _:
            return False


def _literal(argument: ast.expr) -> str | None:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    return None


def _fields(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is None:
            yield "**"
        elif keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            yield from (text for key in keyword.value.keys if key and (text := _literal(key)))
        elif keyword.arg not in _NOT_FIELDS:
            yield keyword.arg
