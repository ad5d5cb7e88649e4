"""Replay the histories that Temporal stores with the workflow code of this version."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowHistory
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from core.maintenance.repairs.workflow_queries import LIST_PAGE
from core.ordering.workflow_starts import DELIVER_WEBHOOK_WORKFLOW, EXECUTION_WORKFLOW

REPLAYED: Final = f"WorkflowType IN ('{EXECUTION_WORKFLOW}', '{DELIVER_WEBHOOK_WORKFLOW}')"
"""Temporal lists running workflows first, then the last closed ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One history. reason: why this version's code cannot continue it; None: it can."""

    workflow_id: str
    run_id: str
    running: bool
    reason: str | None


async def replay_stored(
    client: Client, workflows: Sequence[type[Any]], *, limit: int
) -> AsyncIterator[Replayed]:
    """Replay running workflows, then recently closed ones, and yield each result.

    Nothing is executed and nothing is written. The client's keys open the payloads. Raises
    RPCError.
    """
    replayer = Replayer(
        workflows=workflows,
        workflow_runner=UnsandboxedWorkflowRunner(),
        data_converter=client.data_converter,
        # Without the SDK's own log lines: each failure has its line in the list.
        runtime=Runtime(telemetry=TelemetryConfig(logging=None)),
    )
    listed: deque[WorkflowExecution] = deque()
    async with replayer.workflow_replay_iterator(_histories(client, limit, listed)) as results:
        async for result in results:
            replayed, failure = listed.popleft(), result.replay_failure
            yield Replayed(
                workflow_id=replayed.id,
                run_id=replayed.run_id,
                running=replayed.status is WorkflowExecutionStatus.RUNNING,
                reason=None if failure is None else _one_line(failure),
            )


async def _histories(
    client: Client, limit: int, listed: deque[WorkflowExecution]
) -> AsyncIterator[WorkflowHistory]:
    async for execution in client.list_workflows(
        REPLAYED, limit=limit, page_size=min(limit, LIST_PAGE)
    ):
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        try:
            history = await handle.fetch_history()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:  # its retention has ended since
                continue
            raise
        listed.append(execution)
        yield history


def _one_line(failure: BaseException) -> str:
    return " ".join(f"{type(failure).__name__}: {failure}".split())
