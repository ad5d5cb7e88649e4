"""Queries to Temporal about workflows of executions and deliveries. Each is safe to repeat."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

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
from core.domain.states import ExecutionStatus
from core.ordering.workflow_starts import (
    ACCEPTED_MEMO,
    EXECUTION_WORKFLOW,
    delivery_workflow_id,
)
from core.platform.temporal.client import RPC_TIMEOUT
from core.platform.temporal.search_attributes import STATUS
from core.store.recovery.start_memo import StartMemo, unpacked

COMPLETED: Final = "completed"
TIMED_OUT: Final = "timed_out"
_ENDED: Final = ", ".join(f"'{status}'" for status in ExecutionStatus if status.ended)
LIST_PAGE: Final = 500
"""Workflows in one response. Each comes with its memo of up to 2 kB; a response may have 4 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestRun:
    """The latest run of an execution's workflow.

    close_status: None while it runs. task_attempts: of its current workflow task; it
    grows while no worker can execute the workflow's code or read its history.
    """

    run_id: str
    close_status: str | None
    task_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedRun:
    """A run that claimed its generation and ended it.

    Unless the database was restored from an older backup, the execution's row has ended too.
    """

    generation: int
    started_at: datetime


async def find_latest_run(client: Client, execution_id: ExecutionId) -> LatestRun | None:
    """Return the latest run of an execution; None if Temporal has none."""
    description = await _describe(client, execution_id)
    if description is None:
        return None
    status = description.status
    return LatestRun(
        run_id=description.run_id,
        close_status=None
        if status in (None, WorkflowExecutionStatus.RUNNING)
        else status.name.lower(),
        task_attempts=description.raw_description.pending_workflow_task.attempt,
    )


async def count_running_workflows(client: Client, first: ExecutionId, last: ExecutionId) -> int:
    """Count the running workflows of executions in a range of ids, a tenth of the cost of a list.

    Temporal's visibility store is some seconds behind, and minutes after an outage.
    """
    counted = await client.count_workflows(_running_in(first, last), rpc_timeout=RPC_TIMEOUT)
    return counted.count


async def list_running_workflows(
    client: Client, first: ExecutionId, last: ExecutionId
) -> set[ExecutionId]:
    """List the running workflows of executions in a range of ids. As late as the count."""
    runs = client.list_workflows(
        _running_in(first, last), page_size=LIST_PAGE, rpc_timeout=RPC_TIMEOUT
    )
    return {ExecutionId(run.id) async for run in runs}


def _running_in(first: ExecutionId, last: ExecutionId) -> str:
    """Return the query. It leaves out workflows that only attempt their webhook."""
    return (
        f"WorkflowType = '{EXECUTION_WORKFLOW}' AND ExecutionStatus = 'Running' "
        f"AND WorkflowId BETWEEN '{first}' AND '{last}' AND {STATUS.name} NOT IN ({_ENDED})"
    )


async def find_completed_run(client: Client, execution_id: ExecutionId) -> CompletedRun | None:
    """Return the latest run of an execution if it claimed its generation and completed."""
    description = await _describe(client, execution_id)
    if description is None or description.status is not WorkflowExecutionStatus.COMPLETED:
        return None
    accepted = await accepted_of(description)
    handle = client.get_workflow_handle(
        execution_id, run_id=description.run_id, result_type=ExecutionOutcome
    )
    outcome = await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT)
    if accepted is None or outcome.status is None:  # the run found nothing to claim
        return None
    return CompletedRun(generation=accepted.generation, started_at=description.start_time)


async def is_running(client: Client, execution_id: ExecutionId, generation: int) -> bool:
    """Return whether this generation has a running workflow, claimed by a worker or not."""
    description = await _describe(client, execution_id)
    if description is None or description.status is not WorkflowExecutionStatus.RUNNING:
        return False
    accepted = await accepted_of(description)
    return accepted is not None and accepted.generation == generation


async def is_delivered(client: Client, order: DeliveryOrder) -> bool:
    """Return whether a delivery's workflow ended because the receiver accepted the webhook."""
    workflow_id = delivery_workflow_id(order)
    description = await _describe(client, workflow_id)
    if description is None or description.status is not WorkflowExecutionStatus.COMPLETED:
        return False
    handle = client.get_workflow_handle(
        workflow_id, run_id=description.run_id, result_type=AttemptResult
    )
    result = await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT)
    return result.outcome is AttemptOutcome.DELIVERED


async def accepted_of(run: WorkflowExecution) -> StartMemo | None:
    """Return what was accepted, from the memo of a run; None if it has no memo."""
    text: str | None = await run.memo_value(ACCEPTED_MEMO, None)
    return StartMemo(document=unpacked(text)) if text is not None else None


async def _describe(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    try:
        return await client.get_workflow_handle(workflow_id).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
