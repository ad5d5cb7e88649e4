"""Start and signal workflows. Every function here is safe to repeat."""

import asyncio
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from core.domain.ids import ExecutionId
from core.domain.messages.executions import ExecutionOrder
from core.domain.messages.webhooks import DeliveryOrder
from core.domain.states import ExecutionStatus
from core.platform.observability import tracing
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import (
    DELIVERY_RUN_TIMEOUT,
    END_SLACK,
    EXECUTIONS_QUEUE,
    START_RPC_TIMEOUT,
)
from core.platform.temporal.search_attributes import PLAN_TYPE, PROVIDER, STATUS, USER_ID
from core.platform.temporal.worker_versions import FOLLOWS_THE_CURRENT_VERSION
from core.store.database import DATABASE_DOWN, Database
from core.store.recovery.start_memo import AcceptedRows, get_accepted, packed

EXECUTION_WORKFLOW = "execution"
DELIVER_WEBHOOK_WORKFLOW = "deliver_webhook"
CANCEL_REQUESTED = "cancel_requested"
RETRY_QUEUED = "retry_queued"
APPROVAL_DECIDED = "approval_decided"
"""Wire names that `workflows/` defines; a test compares the two."""
SUMMARY_CHARS = 120
ACCEPTED_MEMO = "accepted"

log = get_logger(__name__)


async def start_execution(
    client: Client,
    database: Database,
    order: ExecutionOrder,
    *,
    prompt: str,
    accepted: AcceptedRows | None = None,
) -> None:
    """Start the workflow of an execution, or find it running.

    The run claims its generation first, so several starts are harmless. Its memo holds the accepted
    rows, from which they are rebuilt after the database was restored from an older backup.
    The server ends a run that is still open some time after the deadline. accepted: the rows, if
    the caller has just written them.
    """
    if accepted is None:
        async with database.as_user(order.user_id) as conn:
            accepted = await get_accepted(conn, order.execution_id)
    attributes = TypedSearchAttributes(
        [
            SearchAttributePair(USER_ID, order.user_id),
            SearchAttributePair(STATUS, ExecutionStatus.RUNNING.value),
            SearchAttributePair(PLAN_TYPE, order.plan.type.value),
            SearchAttributePair(PROVIDER, sorted({step.provider for step in order.plan.steps})),
        ]
    )
    with tracing.within(accepted.document.get("execution", {}).get("traceparent")):
        await client.start_workflow(
            EXECUTION_WORKFLOW,
            order,
            id=order.execution_id,
            task_queue=EXECUTIONS_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            priority=Priority(fairness_key=order.user_id),
            run_timeout=timedelta(seconds=accepted.seconds_left) + END_SLACK,
            memo={ACCEPTED_MEMO: packed(accepted.document)},
            static_summary=f"{order.plan.type}: {_short(prompt)}",
            search_attributes=attributes,
            rpc_timeout=START_RPC_TIMEOUT,
        )


async def try_start_execution(
    client: Client,
    database: Database,
    order: ExecutionOrder,
    *,
    prompt: str,
    accepted: AcceptedRows | None = None,
) -> None:
    """Start an accepted execution at once. The reconciler starts what cannot be started now."""
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            await start_execution(client, database, order, prompt=prompt, accepted=accepted)
    except (TimeoutError, *UNREACHABLE, *DATABASE_DOWN) as error:
        log.warning(
            "execution.start_failed", execution_id=order.execution_id, reason=str(error)[:200]
        )


async def signal_cancel(
    client: Client, execution_id: ExecutionId, reason: str, *, generation: int = 0
) -> bool:
    """Signal the workflow of an execution that a cancel was requested. False: none is running.

    generation: another generation ignores the signal. 0: any generation.
    """
    return await _signal(client, execution_id, CANCEL_REQUESTED, reason, generation)


async def signal_retry(client: Client, execution_id: ExecutionId, *, generation: int) -> bool:
    """Signal the workflow of an earlier generation that this one is queued.

    It then does not wait for the first attempt to deliver its webhook. False: none is running.
    """
    return await _signal(client, execution_id, RETRY_QUEUED, generation)


async def signal_decision(
    client: Client, execution_id: ExecutionId, step: str, *, generation: int
) -> bool:
    """Signal the workflow that the decision of an approval step is committed. False: none runs."""
    return await _signal(client, execution_id, APPROVAL_DECIDED, step, generation)


async def _signal(
    client: Client, execution_id: ExecutionId, name: str, *arguments: str | int
) -> bool:
    """Signal the latest run of an execution's workflow. False: none is running."""
    try:
        await client.get_workflow_handle(execution_id).signal(
            name, args=arguments, rpc_timeout=START_RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def terminate_workflow(
    client: Client, workflow_id: str, *, reason: str, run_id: str | None = None
) -> bool:
    """Terminate a run of a workflow, by default its latest. Return False if it has closed."""
    try:
        await client.get_workflow_handle(workflow_id, run_id=run_id).terminate(
            reason=reason, rpc_timeout=START_RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def start_delivery(
    client: Client, order: DeliveryOrder, *, pause_seconds: float = 0.0
) -> bool:
    """Start the delivery of a webhook, or find it running. pause_seconds: before its next attempt.

    Return False if it was started before and has closed.
    """
    workflow_id = delivery_workflow_id(order)
    try:
        await client.start_workflow(
            DELIVER_WEBHOOK_WORKFLOW,
            order,
            id=workflow_id,
            task_queue=EXECUTIONS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            priority=Priority(fairness_key=order.user_id),
            run_timeout=DELIVERY_RUN_TIMEOUT,
            versioning_override=FOLLOWS_THE_CURRENT_VERSION,
            start_delay=timedelta(seconds=pause_seconds) if pause_seconds else None,
            rpc_timeout=START_RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        description = await client.get_workflow_handle(workflow_id).describe(
            rpc_timeout=START_RPC_TIMEOUT
        )
        return description.status is WorkflowExecutionStatus.RUNNING
    return True


def delivery_workflow_id(order: DeliveryOrder) -> str:
    return f"deliver/{order.event_id}/{order.delivery}"


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= SUMMARY_CHARS else prompt[: SUMMARY_CHARS - 1] + "…"
