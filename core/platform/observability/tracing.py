"""Spans: what belongs to one request, in all processes, with its durations.

    with tracing.span("job.send", provider="fal"):
        ...

Without `start`, a span costs a comparison and records nothing. A span has only the attributes of
`Attributes`: ids, names and codes, never a prompt, a key, an address or the text of an error.
"""

import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, TypedDict, Unpack

from core.platform.settings.base import SettingError
from core.platform.settings.tracing import TracingSettings

VERSION: Final = "00"
_SAMPLED: Final = 1
_RATIO_BITS: Final = 64


class Kind(StrEnum):
    """The role of a span: serves a caller, calls another system, or neither."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


class Attributes(TypedDict, total=False):
    """What a span may contain."""

    execution_id: str
    job_id: str
    event_id: str
    generation: int
    provider: str
    model: str
    operation: str
    outcome: str
    attempt: int
    method: str
    route: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """A span's place: the trace, the span, and whether they are exported. Ids are hexadecimal."""

    trace_id: str
    span_id: str
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The header of W3C Trace Context."""
        return f"{VERSION}-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"


@dataclass(slots=True, kw_only=True)
class Span:
    """A span. error: the type of the exception that ended it. started_ns, ended_ns: Unix time."""

    name: str
    kind: Kind
    context: TraceContext
    parent: TraceContext | None = None
    links: list[TraceContext] = field(default_factory=list[TraceContext])
    attributes: Attributes = field(default_factory=Attributes)
    error: str | None = None
    started_ns: int = 0
    ended_ns: int = 0

    def set(self, **attributes: Unpack[Attributes]) -> None:
        self.attributes.update(attributes)

    def link(self, traceparent: str | None) -> None:
        """Add a link to a span of another trace; an invalid header has no effect."""
        if (other := parsed(traceparent)) is not None:
            self.links.append(other)


class Exporter(Protocol):
    """Takes ended spans. It neither blocks nor raises."""

    def export(self, span: Span) -> None: ...

    def stop(self) -> None: ...


_current: ContextVar[Span | TraceContext | None] = ContextVar("span", default=None)


class _Tracing:
    """Exporter and ratio of this process."""

    exporter: Exporter | None = None
    ratio: float = 0.0


def start(exporter: Exporter, ratio: float) -> None:
    """Export spans from now on. ratio: the share of traces that begin here, from 0 to 1."""
    _Tracing.exporter, _Tracing.ratio = exporter, ratio


def configure(settings: TracingSettings, *, service: str) -> None:
    """Export by OTLP to a collector; without an endpoint do nothing. Raises SettingError."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None:
        return
    try:
        from core.platform.observability.otlp import OtlpExporter  # noqa: PLC0415 - packages of an extra
    except ModuleNotFoundError as error:
        raise SettingError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT: {error.name} is not installed. Install the packages of "
            "takeone-server[tracing], or remove the setting."
        ) from None
    exporter = OtlpExporter(endpoint, service, settings.otlp_headers())
    start(exporter, settings.otel_traces_sampler_arg)


def stop() -> None:
    """Export what is left, within seconds. Repeating is safe."""
    exporter, _Tracing.exporter = _Tracing.exporter, None
    if exporter is not None:
        exporter.stop()


def is_on() -> bool:
    return _Tracing.exporter is not None


def current() -> TraceContext | None:
    """Return the place of the span that surrounds the caller."""
    place = _current.get()
    return place.context if isinstance(place, Span) else place


def note(**attributes: Unpack[Attributes]) -> None:
    """Add attributes to the span that surrounds the caller, if there is one in this process."""
    place = _current.get()
    if isinstance(place, Span):
        place.set(**attributes)


def link(traceparent: str | None) -> None:
    """Link the span that surrounds the caller to one of another trace."""
    place = _current.get()
    if isinstance(place, Span):
        place.link(traceparent)


@contextmanager
def span(
    name: str,
    kind: Kind = Kind.INTERNAL,
    *,
    links: Sequence[str | None] = (),
    is_root: bool = False,
    **attributes: Unpack[Attributes],
) -> Generator[Span | None]:
    """Record a span around a block, within the surrounding one; None without tracing.

    links: headers of spans in other traces. is_root: begin a trace of its own.
    """
    if _Tracing.exporter is None:
        yield None
        return
    parent = None if is_root else current()
    recorded = Span(name=name, kind=kind, context=_child(parent), parent=parent)
    recorded.set(**attributes)
    for traceparent in links:
        recorded.link(traceparent)
    recorded.started_ns = time.time_ns()
    token = _current.set(recorded)
    try:
        yield recorded
    except BaseException as error:
        recorded.error = type(error).__name__
        raise
    finally:
        _current.reset(token)
        recorded.ended_ns = time.time_ns()
        export(recorded)


def export(recorded: Span) -> None:
    """Hand over an ended span, if its trace is sampled."""
    if recorded.context.sampled and _Tracing.exporter is not None:
        _Tracing.exporter.export(recorded)


@contextmanager
def within(traceparent: str | None) -> Generator[None]:
    """Make a span of another process the surrounding one; an invalid header has no effect."""
    remote = parsed(traceparent) if is_on() else None
    if remote is None:
        yield
        return
    token = _current.set(remote)
    try:
        yield
    finally:
        _current.reset(token)


def traceparent() -> str | None:
    """Return the header of the surrounding span, for a row, a workflow or a receiver."""
    place = current()
    return None if place is None or not is_on() else place.traceparent


def parsed(header: str | None) -> TraceContext | None:
    """Read a `traceparent`; None if it is absent or invalid."""
    version, trace_id, span_id, flags = (*(header or "").split("-"), "", "", "", "")[:4]
    sizes = (len(version), len(trace_id), len(span_id), len(flags))
    if sizes != (2, 32, 16, 2) or version == "ff" or header != (header or "").lower():
        return None
    try:
        numbers = [int(part, 16) for part in (version, trace_id, span_id, flags)]
    except ValueError:
        return None
    if not (numbers[1] and numbers[2]):
        return None
    return TraceContext(trace_id=trace_id, span_id=span_id, sampled=bool(numbers[3] & _SAMPLED))


def _child(parent: TraceContext | None) -> TraceContext:
    span_id = secrets.token_hex(8)
    if parent is not None:
        return TraceContext(trace_id=parent.trace_id, span_id=span_id, sampled=parent.sampled)
    trace_id = secrets.token_hex(16)
    # As OpenTelemetry's ratio sampler, so that other processes decide alike for the same id.
    sampled = int(trace_id[16:], 16) < _Tracing.ratio * 2**_RATIO_BITS
    return TraceContext(trace_id=trace_id, span_id=span_id, sampled=sampled)
