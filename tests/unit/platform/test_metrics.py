"""Metrics: documented names and labels, served on a separate listener."""

import socket
import time
from collections.abc import Generator
from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from core.platform.observability import metrics
from core.platform.observability.access_log import (
    UNMATCHED_ROUTE,
    AccessLog,
    Message,
    Receive,
    Send,
)
from core.platform.observability.metrics import timed
from core.platform.observability.metrics_server import MetricsPortError, start_metrics_server

# Ids, addresses and texts would make a new series per request.
BOUNDED_LABELS = {
    "type",
    "code",
    "outcome",
    "provider",
    "model",
    "next_provider",
    "next_model",
    "operation",
    "route",
    "method",
    "status",
    "task",
    "layer",
    "task_queue",
    "kind",
    "scope",
    "reason",
    "check",
    "measure",
    "percent",
    "class",
    "version",
    "build_id",
}
PROMISED: dict[str, set[str]] = {
    "takeone_executions_started_total": {"type"},
    "takeone_executions_completed_total": {"type"},
    "takeone_executions_failed_total": {"type", "code"},
    "takeone_executions_cancelled_total": {"type"},
    "takeone_execution_duration_seconds": {"type", "outcome"},
    "takeone_job_duration_seconds": {"provider", "model", "outcome"},
    "takeone_cost_nano_usd_total": {"provider", "model"},
    "takeone_jobs_unknown": {"provider"},
    "takeone_open_bills": {"provider"},
    "takeone_submits_held_back_total": {"provider", "outcome"},
    "takeone_provider_breaker_trips_total": {"provider", "code"},
    "takeone_provider_breaker_open": {"provider"},
    "takeone_provider_in_flight": {"provider"},
    "takeone_provider_calls_total": {"provider", "operation", "outcome"},
    "takeone_webhook_attempts_total": {"outcome"},
    "takeone_api_request_duration_seconds": {"route", "method", "status"},
    "takeone_task_queue_backlog": {"task_queue", "kind"},
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def busy_port() -> Generator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def declared() -> dict[str, set[str]]:
    """Return exposed name → labels of all metrics in core/platform/observability/metrics.py."""
    found: dict[str, set[str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, metrics.Counter | metrics.Gauge | metrics.Histogram):
            [family] = metric.describe()
            name = family.name + ("_total" if isinstance(metric, Counter) else "")
            labels = cast("tuple[str, ...]", metric._labelnames)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType] - no public way
            found[name] = set(labels)
            assert len(family.documentation) > 20, name
    return found


def test_metrics_match_the_documented_names_and_labels() -> None:
    found = declared()
    assert PROMISED.items() <= found.items()
    assert all(name.startswith("takeone_") for name in found)
    assert set[str]().union(*found.values()) <= BOUNDED_LABELS


def test_metrics_are_served_on_a_separate_listener(registry: CollectorRegistry) -> None:
    calls = Counter("calls_total", "Calls of the test.", ["provider"], registry=registry)
    calls.labels("fal").inc(3)
    server = start_metrics_server("127.0.0.1", free_port(), registry)
    assert server is not None
    try:
        answer = httpx.get(f"http://127.0.0.1:{server.port}/metrics")
    finally:
        server.stop()
    samples = [
        sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    ]
    assert [sample.value for sample in samples if sample.name == "calls_total"] == [3.0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{server.port}/metrics")


def test_busy_metrics_port_is_reported_in_one_line(
    busy_port: int, registry: CollectorRegistry
) -> None:
    with pytest.raises(MetricsPortError) as refused:
        start_metrics_server("127.0.0.1", busy_port, registry)
    text = str(refused.value)
    assert (
        text
        == f"METRICS_PORT: 127.0.0.1:{busy_port} is already in use; choose another port, or 0 for none"
    )


def test_metrics_port_zero_starts_no_listener(registry: CollectorRegistry) -> None:
    assert start_metrics_server("127.0.0.1", 0, registry) is None


def test_timed_observes_also_on_an_exception(registry: CollectorRegistry) -> None:
    duration = metrics.Histogram("work_seconds", "Work of the test.", registry=registry)
    with timed(duration):
        time.sleep(0.01)
    with pytest.raises(ValueError, match="no"), timed(duration):
        raise ValueError("no")
    assert registry.get_sample_value("work_seconds_count") == 2
    assert (registry.get_sample_value("work_seconds_sum") or 0) >= 0.01


async def answer_404(_scope: Message, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nothing_to_receive() -> Message:
    return {"type": "http.disconnect"}


async def drop(_message: Message) -> None:
    pass


async def test_request_metric_ignores_unknown_paths_and_methods() -> None:
    app = AccessLog(answer_404)
    for number in range(20):
        scope = {"type": "http", "method": f"METHOD{number}", "path": f"/made-up/{number}"}
        await app(scope, nothing_to_receive, drop)
    exposed = generate_latest().decode()
    assert "made-up" not in exposed
    assert "METHOD" not in exposed
    assert f'route="{UNMATCHED_ROUTE}",status="404"' in exposed
