"""Prometheus metrics, all of them. Labels come from bounded sets (types, vendors, models, outcomes,
routes), never ids, URLs or error text.

Counters of a process start at zero with it; sums and rates over processes are Prometheus' business.
The Temporal SDK serves its own metrics, worker slots among them, on a listener of its own
(SDK_METRICS_PORT).
"""

import errno
import time
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread
from typing import Final, Protocol
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
)

# Requests of ours: from a row read to a request that waits for a cancel (5 s).
_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Provider work: an image of a second to a video that waits half an hour in a queue.
_WORK_BUCKETS: Final = (
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    40.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1200.0,
    1800.0,
    3600.0,
)
_CALL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 18.0)

EXECUTIONS_STARTED = Counter(
    "takeone_executions_started_total",
    "Executions that began to run; a retry begins again.",
    ["type"],
)
EXECUTIONS_COMPLETED = Counter(
    "takeone_executions_completed_total", "Executions that delivered their result.", ["type"]
)
EXECUTIONS_FAILED = Counter(
    "takeone_executions_failed_total",
    "Executions that ended without a result, by failure code.",
    ["type", "code"],
)
EXECUTIONS_CANCELLED = Counter(
    "takeone_executions_cancelled_total", "Executions that ended by a cancel.", ["type"]
)
EXECUTION_DURATION = Histogram(
    "takeone_execution_duration_seconds",
    "From accepted to the end state.",
    ["type", "outcome"],
    buckets=_WORK_BUCKETS,
)
JOB_DURATION = Histogram(
    "takeone_job_duration_seconds",
    "From a job's create request to its end state, the provider's queue included.",
    ["provider", "model", "outcome"],
    buckets=_WORK_BUCKETS,
)
COST_NANO_USD = Counter(
    "takeone_cost_nano_usd_total",
    "Money settled with providers, in nano-dollars.",
    ["provider", "model"],
)
LEDGER_NANO_USD = Counter(
    "takeone_ledger_nano_usd_total",
    "Money booked in the ledger by this process, in nano-dollars, by the kind of entry.",
    ["kind"],
)
SPENT_UNDELIVERED = Gauge(
    "takeone_spent_undelivered_nano_usd",
    "Money settled on executions that ended lately and gave their user nothing, in nano-dollars, by what went wrong.",
    ["outcome"],
)
SPENT_UNDELIVERED_OLDEST = Gauge(
    "takeone_spent_undelivered_oldest_seconds",
    "How long ago the oldest of these executions ended.",
    ["outcome"],
)
PROVIDER_CALLS = Counter(
    "takeone_provider_calls_total",
    "HTTP calls to providers, by what came of them.",
    ["provider", "operation", "outcome"],
)
PROVIDER_CALL_DURATION = Histogram(
    "takeone_provider_call_duration_seconds",
    "Time a provider's API took to answer.",
    ["provider", "operation"],
    buckets=_CALL_BUCKETS,
)
JOBS_UNKNOWN = Gauge(
    "takeone_jobs_unknown",
    "Jobs whose create request has an unknown fate and is being looked up.",
    ["provider"],
)
OPEN_BILLS = Gauge(
    "takeone_open_bills",
    "Jobs of ended executions whose real cost is not known yet; one that stays deserves a look.",
    ["provider"],
)
ORPHAN_JOBS = Counter(
    "takeone_orphan_jobs_total",
    "Purchases that no job waits for: their send had been replaced.",
    ["provider"],
)
CHARGE_CONFLICTS = Counter(
    "takeone_charge_conflicts_total",
    "Jobs whose money had been ended with another amount than they cost; each wants a person.",
    ["provider"],
)
SUBMITS_HELD_BACK = Counter(
    "takeone_submits_held_back_total",
    "Submits that were deferred: no capacity at the provider, its Retry-After, or its open breaker.",
    ["provider", "outcome"],
)
BREAKER_TRIPS = Counter(
    "takeone_provider_breaker_trips_total",
    "Create calls by which a provider refused this service itself: its key, or its credit.",
    ["provider", "code"],
)
BREAKER_OPEN = Gauge(
    "takeone_provider_breaker_open",
    "1 while a provider refuses this service, and nothing is sent there.",
    ["provider"],
)
IN_FLIGHT = Gauge(
    "takeone_provider_in_flight", "Jobs that may run at a provider, over all workers.", ["provider"]
)
WEBHOOK_ATTEMPTS = Counter(
    "takeone_webhook_attempts_total", "Tries to deliver a webhook, by outcome.", ["outcome"]
)
WEBHOOKS_PUT_BACK = Counter(
    "takeone_webhooks_put_back_total",
    "Webhook attempts that were postponed, because of the limit per endpoint or user in this process.",
)
ENDPOINTS_DISABLED = Counter(
    "takeone_endpoints_disabled_total",
    "Endpoints that were disabled: they answered 410 (gone), or failed for days (failing).",
    ["code"],
)
CALLBACKS = Counter(
    "takeone_callbacks_total",
    "Callbacks received from providers, by outcome.",
    ["provider", "outcome"],
)
API_REQUEST_DURATION = Histogram(
    "takeone_api_request_duration_seconds",
    "Time to answer a request, by route template.",
    ["route", "method", "status"],
    buckets=_REQUEST_BUCKETS,
)
TASK_QUEUE_BACKLOG = Gauge(
    "takeone_task_queue_backlog",
    "Tasks that wait in Temporal for a worker (kind: workflow, activity).",
    ["task_queue", "kind"],
)


class MetricsPortError(Exception):
    """The metrics listener cannot be opened. Its text is one line for a person."""


class MetricsServer:
    """The listener of `/metrics`. Close it with `stop`; safe to repeat."""

    def __init__(self, server: WSGIServer, thread: Thread) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port

    def stop(self) -> None:
        """Free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start_metrics_server(
    host: str, port: int, registry: CollectorRegistry = REGISTRY
) -> MetricsServer | None:
    """Serve `/metrics` on a listener and thread of its own; port 0: no metrics, None. Raises
    MetricsPortError.
    """
    if port == 0:
        return None
    try:
        return MetricsServer(*start_http_server(port, addr=host, registry=registry))
    except OSError as error:
        why = (
            "is already in use"
            if error.errno == errno.EADDRINUSE
            else f"cannot be opened ({error.strerror})"
        )
        raise MetricsPortError(
            f"METRICS_PORT: {host}:{port} {why}; choose another port, or 0 for none"
        ) from error


class _Timed(Protocol):
    def observe(self, amount: float) -> None: ...


@contextmanager
def timed(duration: _Timed) -> Generator[None]:
    """Observe how long the `with` took, also when it raised."""
    start = time.perf_counter()
    try:
        yield
    finally:
        duration.observe(time.perf_counter() - start)
