"""Orders to workflows from outside: start one, tell one that a cancel was asked for. Both are safe
to repeat.
"""

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
from core.platform.temporal.policies import EXECUTIONS_QUEUE, START_RPC_TIMEOUT
from core.platform.temporal.search_attributes import PLAN_TYPE, PROVIDER, STATUS, USER_ID
from core.store.database import Database
from core.store.recovery.start_memo import get_accepted, packed

EXECUTION_WORKFLOW = "execution"
DELIVER_WEBHOOK_WORKFLOW = "deliver_webhook"
CANCEL_REQUESTED = "cancel_requested"
"""Wire names, as `workflows/` defines them; a test compares the two."""
SUMMARY_CHARS = 120
ACCEPTED_MEMO = "accepted"


async def start_execution(
    client: Client, database: Database, order: ExecutionOrder, *, prompt: str
) -> None:
    """Start the workflow of an execution, or find it running.

    The run claims its generation first, so anybody may start it. Its memo keeps what was accepted:
    from it the rows can be made again after the database was restored to the past.
    """
    async with database.as_user(order.user_id) as conn:
        accepted = await get_accepted(conn, order.execution_id)
    await client.start_workflow(
        EXECUTION_WORKFLOW,
        order,
        id=order.execution_id,
        task_queue=EXECUTIONS_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        priority=Priority(fairness_key=order.user_id),
        memo={ACCEPTED_MEMO: packed(accepted)},
        static_summary=f"{order.plan.type}: {_short(prompt)}",
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(USER_ID, order.user_id),
                SearchAttributePair(STATUS, "queued"),
                SearchAttributePair(PLAN_TYPE, order.plan.type.value),
                SearchAttributePair(PROVIDER, sorted({step.provider for step in order.plan.steps})),
            ]
        ),
        rpc_timeout=START_RPC_TIMEOUT,
    )


async def signal_cancel(
    client: Client, execution_id: ExecutionId, reason: str, *, generation: int = 0
) -> bool:
    """Tell the workflow of an execution that a cancel was asked for. False: there is none, or it
    has closed.

    generation: the one that is meant; another lets it pass. 0: whichever runs.
    """
    try:
        await client.get_workflow_handle(execution_id).signal(
            CANCEL_REQUESTED,
            args=[reason, generation],
            rpc_timeout=START_RPC_TIMEOUT,
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def start_delivery(client: Client, order: DeliveryOrder) -> bool:
    """Start the delivery of a webhook, unless that delivery was started before. False: it was, and
    has closed.
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
