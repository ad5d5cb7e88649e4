"""Logging: one line per event on stderr with a constant name and fields, also for libraries.

    log = get_logger(__name__)
    with bind(execution_id=execution_id):
        log.info("job.submitted", provider="fal", attempt=1)

Secrets are removed from every line.
"""

import logging
import sys
import time
from collections.abc import Iterable, MutableMapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, cast

import structlog

from core.platform.observability import tracing
from core.platform.observability.redaction import Redactor

Fields = MutableMapping[str, Any]

# Below warning, these log secrets or very many lines, so LOG_LEVEL does not apply to them.
_LOUD_LIBRARIES = (
    "aiobotocore",
    "aioboto3",
    "boto3",
    "botocore",
    "s3transfer",
    "httpcore",
    "hpack",
    "urllib3",
    "asyncio",
)
_DROPPED_FIELDS = ("color_message", "temporal_log")  # a second copy of the message; an object


def configure_logging(
    level: str = "INFO",
    log_format: Literal["json", "text"] = "json",
    *,
    secrets: Iterable[str] = (),
) -> None:
    """Send all logs of this process to stderr in one format; a later call replaces the earlier.

    secrets: exact values to remove wherever they appear, see `settings.load.secret_values`.
    """
    redactor = Redactor(secrets)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_trace_id,
    ]
    renderer = _text_renderer() if log_format == "text" else structlog.processors.JSONRenderer()

    def redact(_logger: object, _method: str, fields: Fields) -> Fields:
        # The time is ours. Its colons would apply every pattern to it.
        at = fields.pop("time")
        redacted = redactor.fields(cast("MutableMapping[object, object]", fields))
        return {"time": at, **redacted}

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                _stamp,
                _drop_clutter,
                structlog.processors.format_exc_info,
                structlog.processors.StackInfoRenderer(),
                redact,
                _in_order,
                renderer,
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    _route_everything_to(handler, level)
    sys.excepthook = _log_uncaught


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger for constant event names with fields.

    Before `configure_logging` it writes in structlog's default format.
    """
    return structlog.stdlib.get_logger(name)


def bind(**ids: str | int) -> AbstractContextManager[None]:
    """Add fields to every line, also of libraries, that is logged inside the `with` block.

    They apply to this task and to the tasks that it starts.
    """
    return cast("AbstractContextManager[None]", structlog.contextvars.bound_contextvars(**ids))


def _route_everything_to(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in ("uvicorn", "uvicorn.error", "temporalio", "httpx", "asyncpg"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # `core.platform.observability.access_log` logs each request instead.
    logging.getLogger("uvicorn.access").disabled = True
    for name in _LOUD_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # httpx logs a line for every poll of every job, which is only useful for debugging.
    logging.getLogger("httpx").setLevel(
        root.level if root.level <= logging.DEBUG else logging.WARNING
    )


def _add_trace_id(_logger: object, _method: str, fields: Fields) -> Fields:
    place = tracing.current()
    if place is not None:
        fields["trace_id"] = place.trace_id
    return fields


def _stamp(_logger: object, _method: str, fields: Fields) -> Fields:
    """Add the record's creation time: lines of the Temporal core are rendered somewhat later."""
    record: logging.LogRecord | None = fields.get("_record")
    created = record.created if record else time.time()
    fields["time"] = (
        datetime.fromtimestamp(created, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    return fields


def _drop_clutter(_logger: object, _method: str, fields: Fields) -> Fields:
    for name in ("_record", "_from_structlog", *_DROPPED_FIELDS):
        fields.pop(name, None)
    return fields


def _in_order(_logger: object, _method: str, fields: Fields) -> Fields:
    first = ("time", "level", "logger", "event")
    return {name: fields[name] for name in first if name in fields} | {
        name: value for name, value in fields.items() if name not in first
    }


def _text_renderer() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        timestamp_key="time",
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("takeone").critical(
            "process.uncaught_error", exc_info=(kind, error, trace)
        )
