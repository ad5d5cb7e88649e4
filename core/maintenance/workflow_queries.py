"""Questions to Temporal about workflows of ours, from outside. Each is safe to repeat."""

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode

from core.domain.ids import ExecutionId
from core.domain.messages.executions import ExecutionOutcome
from core.domain.messages.webhooks import AttemptOutcome, AttemptResult, DeliveryOrder
from core.maintenance.reconciler import NOT_FOUND, Walked
from core.ordering.workflow_starts import ACCEPTED_MEMO, delivery_workflow_id
from core.platform.temporal.client import RPC_TIMEOUT
from core.store.recovery.start_memo import Accepted, unpacked


async def how_it_closed(client: Client, execution_id: ExecutionId) -> str | None:
    """By id without a run id, so that the latest run answers. None while it runs."""
    description = await _describe(client, execution_id)
    if description is None:
        return NOT_FOUND
    status = description.status
    return None if status in (None, WorkflowExecutionStatus.RUNNING) else status.name.lower()


async def walked(client: Client, execution_id: ExecutionId) -> Walked | None:
    """The latest run of an execution, if it claimed its generation and went to its end."""
    description = await _describe(client, execution_id)
    if description is None or description.status is not WorkflowExecutionStatus.COMPLETED:
        return None
    accepted = await accepted_of(description)
    handle = client.get_workflow_handle(
        execution_id, run_id=description.run_id, result_type=ExecutionOutcome
    )
    outcome = await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT)
    if accepted is None or outcome.status is None:  # it found nothing to claim
        return None
    return Walked(generation=accepted.generation, started_at=description.start_time)


async def delivered(client: Client, order: DeliveryOrder) -> bool:
    """Whether the workflow of a delivery ended with the receiver's yes."""
    workflow_id = delivery_workflow_id(order)
    description = await _describe(client, workflow_id)
    if description is None or description.status is not WorkflowExecutionStatus.COMPLETED:
        return False
    handle = client.get_workflow_handle(
        workflow_id, run_id=description.run_id, result_type=AttemptResult
    )
    result = await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT)
    return result.outcome is AttemptOutcome.DELIVERED


async def accepted_of(run: WorkflowExecution) -> Accepted | None:
    """What was accepted, from the memo of a run; None: it has none."""
    text: str | None = await run.memo_value(ACCEPTED_MEMO, None)
    return Accepted(document=unpacked(text)) if text is not None else None


async def _describe(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(workflow_id).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
