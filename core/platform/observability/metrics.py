"""All Prometheus metrics, and the listener that serves them.

Label values come from bounded sets (types, providers, models, outcomes, routes), never from ids,
URLs or error texts. Counters start at zero with each process; Prometheus aggregates over processes.
The Temporal SDK serves its own metrics, including worker slots, on SDK_METRICS_PORT.
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

# API requests: from one that reads a row to one that waits for a cancel (5 s).
_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Jobs: from an image of one second to a video that waits for half an hour in a queue.
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
    "Executions that started to run, counted again for each retry.",
    ["type"],
)
EXECUTIONS_COMPLETED = Counter(
    "takeone_executions_completed_total", "Executions that completed.", ["type"]
)
EXECUTIONS_FAILED = Counter(
    "takeone_executions_failed_total",
    "Executions that ended without a result, by failure code.",
    ["type", "code"],
)
EXECUTIONS_CANCELLED = Counter(
    "takeone_executions_cancelled_total", "Executions that were cancelled.", ["type"]
)
EXECUTION_DURATION = Histogram(
    "takeone_execution_duration_seconds",
    "Time from acceptance of an execution to its end.",
    ["type", "outcome"],
    buckets=_WORK_BUCKETS,
)
JOB_DURATION = Histogram(
    "takeone_job_duration_seconds",
    "Time from a job's create request to its end, including the provider's queue.",
    ["provider", "model", "outcome"],
    buckets=_WORK_BUCKETS,
)
CALLBACK_AGE = Gauge(
    "takeone_callback_age_seconds",
    "Age of a job by which 95 % of the callbacks of its model's recent jobs had arrived.",
    ["provider", "model"],
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
    "Money settled on recently ended executions without a result, in nano-dollars, by outcome.",
    ["outcome"],
)
SPENT_UNDELIVERED_OLDEST = Gauge(
    "takeone_spent_undelivered_oldest_seconds",
    "Time since the end of the oldest of these executions.",
    ["outcome"],
)
PROVIDER_CALLS = Counter(
    "takeone_provider_calls_total",
    "HTTP requests to providers, by outcome.",
    ["provider", "operation", "outcome"],
)
PROVIDER_CALL_DURATION = Histogram(
    "takeone_provider_call_duration_seconds",
    "Response time of a provider's API.",
    ["provider", "operation"],
    buckets=_CALL_BUCKETS,
)
LOOK_DELAY = Histogram(
    "takeone_job_look_delay_seconds",
    "How late a job's status is read after it was due, by provider.",
    ["provider"],
    buckets=_WORK_BUCKETS,
)
LOOKS_LIMITED = Counter(
    "takeone_job_looks_limited_total",
    "Rounds in which the rate of a provider key delayed reads that were due.",
    ["provider"],
)
WAITS_COMPLETED = Counter(
    "takeone_waits_completed_total",
    "Completions of waiting activities, by what Temporal returned.",
    ["outcome"],
)
RECONCILER_SUCCESS = Gauge(
    "takeone_reconciler_last_success_timestamp_seconds",
    "When a task of the reconciler last succeeded in this process, in seconds since 1970.",
    ["task"],
)
JOBS_UNKNOWN = Gauge(
    "takeone_jobs_unknown",
    "Jobs whose create request has an unknown outcome and is being looked up.",
    ["provider"],
)
OPEN_BILLS = Gauge(
    "takeone_open_bills",
    "Jobs of ended executions whose real cost is not known yet; investigate a lasting value.",
    ["provider"],
)
ORPHAN_JOBS = Counter(
    "takeone_orphan_jobs_total",
    "Purchases whose send had been replaced, so that no job uses them.",
    ["provider"],
)
FREE_FAILURES_RESENT = Counter(
    "takeone_free_failures_resent_total",
    "Transient provider failures without a cost after which the job is sent again.",
    ["provider", "model"],
)
FAILOVERS = Counter(
    "takeone_failovers_total",
    "Steps that continue at an alternative model after a job that cost nothing.",
    ["provider", "model", "next_provider", "next_model"],
)
CHARGE_CONFLICTS = Counter(
    "takeone_charge_conflicts_total",
    "Jobs whose charge was ended with an amount other than their cost; an operator must act.",
    ["provider"],
)
SUBMITS_HELD_BACK = Counter(
    "takeone_submits_held_back_total",
    "Submits that were deferred: no capacity at the provider, the rate of a user's own key, a "
    "Retry-After, or an open breaker.",
    ["provider", "outcome"],
)
BREAKER_TRIPS = Counter(
    "takeone_provider_breaker_trips_total",
    "Create calls that a provider refused because of this service's key or credit.",
    ["provider", "code"],
)
BREAKER_OPEN = Gauge(
    "takeone_provider_breaker_open",
    "1 while the provider's circuit breaker is open and nothing is sent to it.",
    ["provider"],
)
IN_FLIGHT = Gauge(
    "takeone_provider_in_flight",
    "Jobs that may be running at a provider, over all workers.",
    ["provider"],
)
WEBHOOK_ATTEMPTS = Counter(
    "takeone_webhook_attempts_total", "Attempts to deliver a webhook, by outcome.", ["outcome"]
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
RETENTION_DELETED = Counter(
    "takeone_retention_deleted_total",
    "Executions, sends, callbacks, webhooks, attempts and files deleted by their retention.",
    ["kind"],
)
API_REQUEST_DURATION = Histogram(
    "takeone_api_request_duration_seconds",
    "Response time of a request, by route template.",
    ["route", "method", "status"],
    buckets=_REQUEST_BUCKETS,
)
EVENT_STREAMS = Gauge("takeone_event_streams", "Open event streams of this API process.")
TASK_QUEUE_BACKLOG = Gauge(
    "takeone_task_queue_backlog",
    "Tasks that wait in Temporal for a worker, by kind: workflow or activity.",
    ["task_queue", "kind"],
)

MEDIA_JOBS = Counter(
    "takeone_media_jobs_total",
    "Media steps that ended, by kind and outcome: completed, reused or failed.",
    ["kind", "outcome"],
)
MEDIA_PROCESSOR_SECONDS = Counter(
    "takeone_media_processor_seconds_total",
    "Processor time of the ffmpeg runs of completed media steps.",
    ["kind"],
)
MEDIA_ISOLATION = Gauge(
    "takeone_media_isolation",
    "1 for the layer that keeps ffmpeg from the network: user, network, calls, or none.",
    ["layer"],
)
MEDIA_SCRATCH_RESERVED = Gauge(
    "takeone_media_scratch_reserved_bytes",
    "Disk space that running media steps have reserved.",
)


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
    host: str, port: int, registry: CollectorRegistry = REGISTRY
) -> MetricsServer | None:
    """Serve `/metrics` in a thread of its own, or return None for port 0.

    Raise MetricsPortError if the port cannot be opened.
    """
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


class _Timed(Protocol):
    def observe(self, amount: float) -> None: ...


@contextmanager
def timed(duration: _Timed) -> Generator[None]:
    """Observe the duration of the `with` block, also if it raises."""
    start = time.perf_counter()
    try:
        yield
    finally:
        duration.observe(time.perf_counter() - start)
