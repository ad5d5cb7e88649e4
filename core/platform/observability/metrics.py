"""All Prometheus metrics.

Label values come from bounded sets (types, providers, models, outcomes, routes), never from ids,
URLs or error texts. Counters start at zero with each process; Prometheus aggregates over processes.
The Temporal SDK serves its own metrics, including worker slots, on SDK_METRICS_PORT.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # a second series of each counter and histogram, which nothing reads

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
RECONCILER_TASK_SECONDS = Gauge(
    "takeone_reconciler_task_seconds",
    "How long the last successful run of a task of the reconciler took in this process.",
    ["task"],
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
JOBS_UNKNOWN_OLDEST = Gauge(
    "takeone_jobs_unknown_oldest_seconds",
    "Time since the oldest create request with an unknown outcome.",
    ["provider"],
)
OPEN_BILLS = Gauge(
    "takeone_open_bills",
    "Jobs of ended executions whose real cost is not known yet; investigate a lasting value.",
    ["provider"],
)
OPEN_BILLS_OLDEST = Gauge(
    "takeone_open_bills_oldest_seconds",
    "Time since the end of the job or execution with the oldest open bill.",
    ["provider"],
)
EXECUTIONS_OPEN = Gauge(
    "takeone_executions_open", "Executions that have not ended, queued or running.", ["status"]
)
EXECUTIONS_OPEN_OLDEST = Gauge(
    "takeone_executions_open_oldest_seconds",
    "Time since the oldest of them was queued. It may wait for a slot of its user.",
    ["status"],
)
EXECUTIONS_LATE = Gauge(
    "takeone_executions_late",
    "Executions that do not progress: stalled (queued although their user has a free slot) or "
    "overdue (running past their deadline).",
    ["reason"],
)
EXECUTIONS_LATE_OLDEST = Gauge(
    "takeone_executions_late_oldest_seconds",
    "For how long the first of them has been stalled or overdue.",
    ["reason"],
)
HELD_NANO_USD = Gauge(
    "takeone_held_nano_usd", "Money held for open jobs, in nano-dollars.", ["provider"]
)
HOLD_OLDEST = Gauge("takeone_hold_oldest_seconds", "Time since the oldest hold.", ["provider"])
SERVICE_DAY_NANO_USD = Gauge(
    "takeone_service_day_nano_usd",
    "Today's (UTC) held and settled money of all users, and the daily spending cap if there is "
    "one, in nano-dollars.",
    ["kind"],
)
SUBMITS_PAUSED = Gauge(
    "takeone_submits_paused",
    "Pauses of paid calls, by scope: all, database, provider, model or user.",
    ["scope"],
)
WEBHOOKS_PENDING = Gauge(
    "takeone_webhooks_pending",
    "Webhooks whose delivery has not ended, also between two attempts.",
    ["type"],
)
WEBHOOKS_PENDING_OLDEST = Gauge(
    "takeone_webhooks_pending_oldest_seconds",
    "Age of the oldest delivery that has not ended.",
    ["type"],
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
LEDGER_CHECK_TIME = Gauge(
    "takeone_ledger_check_timestamp_seconds",
    "When the ledger was last checked, in seconds since 1970; 0: never.",
    ["check"],
)
LEDGER_CHECK_FINDINGS = Gauge(
    "takeone_ledger_check_findings", "Findings of the last check of the ledger.", ["check"]
)
BILL_CHECK_FINDINGS = Gauge(
    "takeone_bill_check_findings",
    "Lines that differ in the last comparison with a provider's bill.",
    ["provider"],
)
BILL_DIFFERENCE_NANO_USD = Gauge(
    "takeone_bill_difference_nano_usd",
    "Billed less settled money in the last comparison with a provider's bill, in nano-dollars. "
    "Jobs without a cost yet are part of it.",
    ["provider"],
)
USER_SPEND_SPIKES = Counter(
    "takeone_user_spend_spikes_total",
    "Users whose orders of one hour cost more than on any of their last seven days; at most one "
    "for each user and day.",
)
USER_BUDGET_ALERTS = Counter(
    "takeone_user_budget_alerts_total",
    "Users who reached a percentage of a monthly limit; one for each user, month and percentage.",
    ["measure", "percent"],
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
WEBHOOK_FIRST_ATTEMPT = Histogram(
    "takeone_webhook_first_attempt_seconds",
    "Time from an event to the first attempt of its first delivery.",
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0, 3600.0),
)
API_RESPONSES = Counter(
    "takeone_api_responses_total",
    "Responses of the API by class of their status, without probes.",
    ["class"],
)
API_REQUEST_DURATION = Histogram(
    "takeone_api_request_duration_seconds",
    "Response time of a request, by route template.",
    ["route", "method", "status"],
    buckets=_REQUEST_BUCKETS,
)
EVENT_STREAMS = Gauge("takeone_event_streams", "Open event streams of this API process.")
BUILD_INFO = Gauge(
    "takeone_build_info",
    "1 for the version of this process, and for the build id of a versioned worker.",
    ["version", "build_id"],
)
DATABASE_POOL_IN_USE = Gauge(
    "takeone_database_pool_in_use", "Connections to PostgreSQL that this process is using."
)
DATABASE_POOL_WAIT = Histogram(
    "takeone_database_pool_wait_seconds",
    "Wait of a transaction for a connection to PostgreSQL.",
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 8.0),
)
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
