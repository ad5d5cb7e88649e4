"""Exports spans by OTLP over HTTP with OpenTelemetry's exporter, in batches of a thread.

Imported only where an endpoint is configured: the packages are those of `takeone-server[tracing]`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from core.platform.observability.logging import get_logger
from core.platform.observability.tracing import Kind, Span, TraceContext
from core.version import VERSION

EXPORT_SECONDS: Final = 2.0
"""The limit of one export with its retries; a stop waits for one."""
EVERY_MS: Final = 1000.0
PATH: Final = "/v1/traces"
_KINDS: Final = {
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
    Kind.INTERNAL: SpanKind.INTERNAL,
}
_NAMES: Final = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
}
"""Names of OpenTelemetry's conventions. All other attributes get the prefix of the product."""

log = get_logger(__name__)


class OtlpExporter:
    """Hands spans to a thread that sends them. A full queue drops the oldest."""

    def __init__(self, endpoint: str, service: str, headers: Mapping[str, str]) -> None:
        """Start the thread. endpoint: of the collector, without the path of traces."""
        # It logs each batch that cannot be sent, and each span that a full queue drops.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        exporter = OTLPSpanExporter(
            f"{endpoint.rstrip('/')}{PATH}", headers=dict(headers), timeout=EXPORT_SECONDS
        )
        self._processor = BatchSpanProcessor(_Reporting(exporter), schedule_delay_millis=EVERY_MS)
        self._resource = Resource({"service.name": service, "service.version": VERSION})
        self._scope = InstrumentationScope("takeone", VERSION)

    def export(self, span: Span) -> None:
        self._processor.on_end(
            ReadableSpan(
                span.name,
                context=_context(span.context, is_remote=False),
                parent=None if span.parent is None else _context(span.parent, is_remote=True),
                resource=self._resource,
                attributes={_NAMES.get(name, f"takeone.{name}"): value for name, value in span.attributes.items()
                            if isinstance(value, str | int)},
                links=[Link(_context(other, is_remote=True)) for other in span.links],
                kind=_KINDS[span.kind],
                status=Status() if span.error is None else Status(StatusCode.ERROR, span.error),
                start_time=span.started_ns,
                end_time=span.ended_ns,
                instrumentation_scope=self._scope,
            )
        )  # fmt: skip

    def stop(self) -> None:
        self._processor.shutdown()


class _Reporting(SpanExporter):
    """Logs when exports begin to fail and when they work again, not each one."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failed:
            log.warning("tracing.export_failed", spans=len(spans))
        elif self._failed and not failed:
            log.info("tracing.export_resumed")
        self._failed = failed
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _context(place: TraceContext, *, is_remote: bool) -> SpanContext:
    return SpanContext(
        int(place.trace_id, 16),
        int(place.span_id, 16),
        is_remote=is_remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT),
    )
