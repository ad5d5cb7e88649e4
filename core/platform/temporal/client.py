"""The Temporal client: connection, search attributes and task queue backlogs."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final, Literal

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError, RPCStatusCode

from core.platform.observability import tracing
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import TASK_QUEUE_BACKLOG
from core.platform.settings.temporal import TemporalSettings
from core.platform.temporal.search_attributes import SEARCH_ATTRIBUTES
from core.platform.temporal.tracing_interceptor import TracingInterceptor

log = get_logger(__name__)

DEFAULT_ADDRESS = "localhost:7233"
CONNECT_TIMEOUT = timedelta(seconds=10)
CONNECT_RETRY_SECONDS = 2.0
RPC_TIMEOUT = timedelta(seconds=5)
"""The limit of one call, including the SDK's own retries."""
UNREACHABLE: Final = (RPCError, RuntimeError)
"""What a call raises while Temporal is down; a lazy client that never connected raises the second.
"""

_ENSURE_TRIES = 20
_ENSURE_PAUSE_SECONDS = 0.25
_NOT_ALLOWED = (
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNIMPLEMENTED,
    RPCStatusCode.UNAUTHENTICATED,
)


class TemporalConnectError(Exception):
    """Temporal is unreachable or its settings are wrong. The text is one line for an operator."""


class TemporalSettingsError(TemporalConnectError):
    """A setting is wrong, so that waiting cannot help."""


class SearchAttributeTypeError(Exception):
    """A search attribute of this product is registered with another type.

    An operator has to rename or remove the existing one.
    """


async def connect(
    settings: TemporalSettings,
    *,
    payloads: DataConverter,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
    lazy: bool = False,
) -> Client:
    """Connect by the environment (`temporalio.envconfig`); explicit settings take precedence.

    payloads: see `core.platform.temporal.payload_encryption`; every process that takes part in a
    workflow needs the same keys. metrics_port: where to serve the SDK's own metrics; None or 0
    disables them. lazy: connect at the first call, so that a process can start while Temporal is
    down; not for workers. Raises TemporalConnectError.
    """
    runtime = _runtime(f"{metrics_host}:{metrics_port}" if metrics_port else None)
    try:
        config = ClientConfig.load_client_connect_config(
            override_env_vars=settings.sdk_environment()
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise TemporalSettingsError(
            f"TEMPORAL_CONFIG_FILE or another TEMPORAL_* variable: {error}"
        ) from error
    config["target_host"] = settings.temporal_address or config.get("target_host", DEFAULT_ADDRESS)
    if settings.temporal_namespace:
        config["namespace"] = settings.temporal_namespace
    if settings.temporal_api_key:
        config["api_key"] = settings.temporal_api_key.get_secret_value()
        config.setdefault("tls", True)
    try:
        return await Client.connect(
            **config,
            data_converter=payloads,
            lazy=lazy,
            runtime=runtime,
            connect_timeout=CONNECT_TIMEOUT,
            interceptors=[TracingInterceptor()] if tracing.is_on() else [],
        )
    except (RuntimeError, ValueError, RPCError) as error:
        reason = " ".join(str(error).split())
        raise TemporalConnectError(
            f"TEMPORAL_ADDRESS: no connection to {config['target_host']}: {reason}"
        ) from error


async def connect_with_retries(
    settings: TemporalSettings,
    stopping: asyncio.Event,
    *,
    payloads: DataConverter,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
) -> Client | None:
    """Connect and register the search attributes, retrying until Temporal is reachable.

    Return None if `stopping` was set meanwhile.
    """
    while not stopping.is_set():
        try:
            client = await connect(
                settings, payloads=payloads, metrics_port=metrics_port, metrics_host=metrics_host
            )
            await ensure_search_attributes(client)
        except TemporalSettingsError:
            raise
        except TemporalConnectError as error:
            log.warning("temporal.connection_failed", reason=str(error))
            await asyncio.sleep(CONNECT_RETRY_SECONDS)
        else:
            return client
    return None


async def ensure_search_attributes(client: Client) -> bool:
    """Register missing search attributes. Safe to repeat and to run in many processes at once.

    Return False where registering is not permitted (Temporal Cloud); the log then lists what an
    operator has to create. Raises SearchAttributeTypeError.
    """
    for _ in range(_ENSURE_TRIES):
        try:
            missing = await missing_search_attributes(client)
            if not missing:
                return True
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing),
                timeout=RPC_TIMEOUT,
            )
        except RPCError as error:
            if error.status in _NOT_ALLOWED:
                _log_not_allowed(client, error)
                return False
            if error.status == RPCStatusCode.NOT_FOUND:
                raise TemporalConnectError(f"TEMPORAL_NAMESPACE: {error.message}") from error
            # Another process registers the same ones, or the server is just starting.
            log.info("temporal.search_attributes_not_registered_yet", reason=error.message)
        await asyncio.sleep(_ENSURE_PAUSE_SECONDS)
    raise TemporalConnectError(
        "Temporal does not list the search attributes after they were registered"
    )


async def missing_search_attributes(client: Client) -> dict[str, IndexedValueType.ValueType]:
    """Return the search attributes of this product that the namespace lacks, by name.

    Raises SearchAttributeTypeError, RPCError.
    """
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace), timeout=RPC_TIMEOUT
    )
    missing: dict[str, IndexedValueType.ValueType] = {}
    for key in SEARCH_ATTRIBUTES:
        ours = IndexedValueType.ValueType(int(key.indexed_value_type))
        theirs = listed.custom_attributes.get(key.name)
        if theirs is None:
            missing[key.name] = ours
        elif theirs != ours:
            raise SearchAttributeTypeError(
                f"search attribute {key.name} of namespace {client.namespace} has another type; "
                f"Takeone needs {key.indexed_value_type.name}"
            )
    return missing


def _log_not_allowed(client: Client, error: RPCError) -> None:
    log.warning(
        "temporal.search_attributes_not_permitted",
        action="create them in the Temporal Cloud UI or with tcld",
        namespace=client.namespace,
        needed={key.name: key.indexed_value_type.name for key in SEARCH_ATTRIBUTES},
        reason=error.message,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBacklog:
    """Tasks that wait for a worker.

    The server unloads a queue after five minutes without pollers or traffic and then reports zero.
    """

    task_queue: str
    kind: Literal["workflow", "activity"]
    tasks: int
    age_seconds: float
    pollers: int


async def queue_backlogs(client: Client, task_queues: Iterable[str]) -> list[QueueBacklog]:
    """Return the backlog of each queue by kind, and set the metric takeone_task_queue_backlog.

    Raises RPCError.
    """
    backlogs = await asyncio.gather(
        *(_queue_backlog(client, name, kind) for name in task_queues for kind in _QUEUE_TYPES)
    )
    for backlog in backlogs:
        TASK_QUEUE_BACKLOG.labels(backlog.task_queue, backlog.kind).set(backlog.tasks)
    return backlogs


_QUEUE_TYPES: Final[dict[Literal["workflow", "activity"], TaskQueueType.ValueType]] = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


async def _queue_backlog(
    client: Client, task_queue: str, kind: Literal["workflow", "activity"]
) -> QueueBacklog:
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=_QUEUE_TYPES[kind],
            report_stats=True,
        ),
        timeout=RPC_TIMEOUT,
    )
    return QueueBacklog(
        task_queue=task_queue,
        kind=kind,
        tasks=answer.stats.approximate_backlog_count,
        age_seconds=answer.stats.approximate_backlog_age.ToTimedelta().total_seconds(),
        pollers=len(answer.pollers),
    )


@lru_cache
def _runtime(metrics_address: str | None) -> Runtime:
    """Return the SDK's core runtime, one per process; its log is forwarded to Python logging."""
    metrics = (
        PrometheusConfig(
            bind_address=metrics_address,
            durations_as_seconds=True,
            counters_total_suffix=True,
            unit_suffix=True,
        )
        if metrics_address
        else None
    )
    core_log = LogForwardingConfig(
        logger=logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
    )
    telemetry = TelemetryConfig(
        metrics=metrics,
        logging=LoggingConfig(
            filter=TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=core_log
        ),
    )
    try:
        return Runtime(telemetry=telemetry)
    except (RuntimeError, ValueError, OSError) as error:
        raise TemporalSettingsError(
            f"SDK_METRICS_PORT: {metrics_address} cannot be opened: {error}"
        ) from error
