"""An OTLP collector on loopback that keeps the spans and the bytes of every export."""

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True)
class Collector:
    """exports: the body of each accepted request, uncompressed."""

    url: str = ""
    exports: list[bytes] = field(default_factory=list[bytes])
    is_refusing: bool = False

    @classmethod
    @contextmanager
    def open(cls) -> "Generator[Collector]":
        collector = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if not collector.is_refusing:
                    collector.exports.append(body)
                self.send_response(503 if collector.is_refusing else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            collector.url = f"http://127.0.0.1:{server.server_port}"
            try:
                yield collector
            finally:
                server.shutdown()
                thread.join()

    @contextmanager
    def refusing(self) -> Generator[None]:
        """Answer every export with 503."""
        self.is_refusing = True
        try:
            yield
        finally:
            self.is_refusing = False

    def spans(self, trace_id: str | None = None) -> list[Span]:
        """Return the spans of a trace, by default of all, in the order of their start."""
        spans = [
            span
            for export in list(self.exports)
            for resource in ExportTraceServiceRequest.FromString(export).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if trace_id in (None, span.trace_id.hex())
        ]
        return sorted(spans, key=lambda span: span.start_time_unix_nano)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans() if span.name == name]


def attributes_of(span: Span) -> dict[str, str | int]:
    return {
        item.key: item.value.int_value
        if item.value.HasField("int_value")
        else item.value.string_value
        for item in span.attributes
    }
