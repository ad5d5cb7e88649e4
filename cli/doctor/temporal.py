"""Checks of Temporal: connection, namespace, retention, search attributes, workers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError

from cli.doctor.finding import Finding, fail, ok, warn
from core.platform.settings.processes import WorkerProcess
from core.platform.settings.providers import ProviderSettings
from core.platform.temporal.client import (
    RPC_TIMEOUT,
    SearchAttributeTypeError,
    TemporalConnectError,
    connect,
    missing_search_attributes,
)
from core.platform.temporal.payload_encryption import payload_converter
from core.platform.temporal.policies import EXECUTIONS_QUEUE
from core.platform.urls import reach

GOOD_RETENTION: Final = timedelta(days=30)
HORIZON: Final = "_horizon_seconds"


async def check_temporal(settings: WorkerProcess) -> list[Finding]:
    """Check the namespace of the product with the connection of a worker."""
    try:
        client = await connect(settings, payloads=payload_converter(settings))
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=RPC_TIMEOUT
        )
    except TemporalConnectError as error:
        return [fail("temporal.connection", str(error), "start Temporal, or correct TEMPORAL_*")]
    except RPCError as error:
        return [
            fail(
                "temporal.namespace",
                f"the namespace cannot be used: {error.message}",
                "create it, or correct TEMPORAL_NAMESPACE or TEMPORAL_API_KEY",
            )
        ]
    address = client.service_client.config.target_host
    return [
        ok("temporal.connection", f"{address} answers, namespace {client.namespace}"),
        _check_retention(described, settings),
        await _check_search_attributes(client),
        await _check_workers(client),
        _check_payloads(settings, address),
    ]


def _check_retention(described: DescribeNamespaceResponse, settings: ProviderSettings) -> Finding:
    """Compare with the look-up horizons: recovery reads the histories of what it looks up."""
    check = "temporal.retention"
    retention = described.config.workflow_execution_retention_ttl.ToTimedelta()
    name, horizon = max(horizons(settings).items(), key=lambda pair: pair[1])
    action = f"set the namespace's retention to {GOOD_RETENTION.days} days"
    if retention <= timedelta(seconds=horizon):
        text = f"the retention of {_days(retention)} is shorter than {name.upper()} ({horizon} s)"
        return fail(check, text, action)
    if retention < GOOD_RETENTION:
        text = f"histories are kept for {_days(retention)}: recover rebuilds nothing older"
        return warn(check, text, action)
    return ok(check, f"histories are kept for {_days(retention)}")


def horizons(settings: ProviderSettings) -> Mapping[str, int]:
    """Return the look-up horizons in seconds by the names of their settings."""
    values: dict[str, int] = {
        name: getattr(settings, name)
        for name in ProviderSettings.model_fields
        if name.endswith(HORIZON)
    }
    return values


async def _check_search_attributes(client: Client) -> Finding:
    check = "temporal.search_attributes"
    try:
        missing = await missing_search_attributes(client)
    except SearchAttributeTypeError as error:
        return fail(check, str(error), "remove or rename the other attribute")
    except RPCError as error:
        action = "compare the namespace by hand with docs/how-to/deploy.md"
        return warn(check, f"cannot be listed: {error.message}", action)
    if missing:
        return fail(
            check,
            f"missing: {', '.join(sorted(missing))}",
            "start a worker, which registers them, or create them (docs/how-to/deploy.md)",
        )
    return ok(check, "all are registered with their types")


async def _check_workers(client: Client) -> Finding:
    check = "temporal.workers"
    queue = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=EXECUTIONS_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        ),
        timeout=RPC_TIMEOUT,
    )
    workers = len({poller.identity for poller in queue.pollers})
    if not workers:
        text = "no worker has asked for work in the last minutes"
        return warn(check, text, "start a worker: python worker.py")
    if workers == 1:
        text = "one worker asks for work"
        return warn(check, text, "run two, so that one can stop or die")
    return ok(check, f"{workers} workers ask for work")


def _check_payloads(settings: WorkerProcess, address: str) -> Finding:
    check = "temporal.payloads"
    if settings.temporal_encrypt_payloads:
        return ok(check, "payloads are encrypted")
    if reach(f"http://{address}") == "public":
        text = "prompts are stored in clear at a public address"
        return warn(check, text, "set TEMPORAL_ENCRYPT_PAYLOADS=true for API and workers")
    return ok(check, "payloads are stored in clear on your own network")


def _days(retention: timedelta) -> str:
    hours = retention / timedelta(hours=1)
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
