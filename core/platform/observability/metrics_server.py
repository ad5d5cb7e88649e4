"""The listener that serves the metrics of this process."""

import errno
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from core.platform.observability.metrics import BUILD_INFO
from core.version import VERSION


class MetricsPortError(Exception):
    """The metrics listener cannot be opened; the text is one line for the operator."""


class MetricsServer:
    """The listener of `/metrics`. Close it with `stop`; safe to repeat."""

    def __init__(self, server: WSGIServer, thread: Thread) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def stop(self) -> None:
        """Stop the listener and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start_metrics_server(
    host: str, port: int, registry: CollectorRegistry = REGISTRY, *, build_id: str | None = None
) -> MetricsServer | None:
    """Serve `/metrics` in a thread of its own, or return None for port 0.

    build_id: of a versioned worker. Raise MetricsPortError if the port cannot be opened.
    """
    BUILD_INFO.labels(VERSION, build_id or "").set(1)
    if port == 0:
        return None
    try:
        return MetricsServer(*start_http_server(port, addr=host, registry=registry))
    except OSError as error:
        reason = (
            "is already in use"
            if error.errno == errno.EADDRINUSE
            else f"cannot be opened ({error.strerror})"
        )
        raise MetricsPortError(
            f"METRICS_PORT: {host}:{port} {reason}; choose another port, or 0 for none"
        ) from error
