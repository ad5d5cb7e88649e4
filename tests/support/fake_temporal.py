"""A Temporal client that answers in the process, for tests of code that starts workflows.

The client is the real one; an interceptor records its calls and answers them without a server.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import (
    AsyncActivityIDReference,
    Client,
    CompleteAsyncActivityInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    TerminateWorkflowInput,
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowHistoryEventAsyncIterator,
)
from temporalio.converter import DataConverter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import ConnectConfig, RPCError, RPCStatusCode, ServiceClient

from core.domain.ids import EventId, ExecutionId, UserId
from core.domain.messages.executions import ExecutionOrder, ExecutionOutcome
from core.domain.messages.jobs import SettleJobResult, WaitJobResult
from core.domain.messages.webhooks import AttemptOutcome, AttemptResult, DeliveryOrder
from core.domain.states import ExecutionStatus
from core.maintenance.repairs.workflow_queries import CompletedRun
from core.maintenance.restores.delivered_webhooks import FIRST_ATTEMPT
from core.ordering.workflow_starts import (
    ACCEPTED_MEMO,
    APPROVAL_DECIDED,
    EXECUTION_WORKFLOW,
    RETRY_QUEUED,
    delivery_workflow_id,
)
from core.store.recovery.start_memo import packed

NOT_FOUND = "not_found"
"""The close status of a workflow that Temporal does not have."""
UNREACHABLE = RPCError("Temporal is down", RPCStatusCode.UNAVAILABLE, b"")


@dataclass(slots=True, kw_only=True)
class FakeTemporal(Interceptor):
    """Records starts and signals, and reports the workflows that a test describes.

    close_status: of every execution's workflow, lower case; None: it runs. completed_run: instead,
    every execution's workflow completed with this run. running_generation: in the memo of a running
    one. delivered, closed: deliveries that were
    started before and closed, with the receiver's acceptance or without. on_start, on_describe,
    on_deliver, on_complete: called first, and may raise. task_attempts: of every pending workflow
    task. waits: the ids and states of the activities that were completed.
    listed: the running workflows that the visibility list has; it may be behind. lists: how many
    workflows each list of a range of ids had.
    delivered_at_first: events that the workflow of their execution delivered. retried: the signals
    that a later generation is queued. decided: the signals of decisions, with their steps.
    """

    close_status: str | None = None
    completed_run: CompletedRun | None = None
    running_generation: int | None = None
    delivered: list[DeliveryOrder] = field(default_factory=list[DeliveryOrder])
    closed: list[DeliveryOrder] = field(default_factory=list[DeliveryOrder])
    on_start: Callable[[ExecutionOrder], Awaitable[None]] | None = None
    on_describe: Callable[[ExecutionId], Awaitable[str | None]] | None = None
    on_deliver: Callable[[DeliveryOrder], Awaitable[None]] | None = None
    started: list[ExecutionId] = field(default_factory=list[ExecutionId])
    cancelled: list[tuple[ExecutionId, str]] = field(default_factory=list[tuple[ExecutionId, str]])
    retried: list[tuple[ExecutionId, int]] = field(default_factory=list[tuple[ExecutionId, int]])
    decided: list[tuple[ExecutionId, str]] = field(default_factory=list[tuple[ExecutionId, str]])
    task_attempts: int = 1
    listed: list[ExecutionId] = field(default_factory=list[ExecutionId])
    lists: list[int] = field(default_factory=list[int])
    delivered_at_first: list[EventId] = field(default_factory=list[EventId])
    described: list[str] = field(default_factory=list[str])
    run_timeouts: list[timedelta | None] = field(default_factory=list[timedelta | None])
    terminated: list[str] = field(default_factory=list[str])
    deliveries: list[DeliveryOrder] = field(default_factory=list[DeliveryOrder])
    waits: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    settled: list[SettleJobResult | None] = field(default_factory=list["SettleJobResult | None"])
    on_complete: Callable[[str], Awaitable[None]] | None = None

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Answers(next, self)

    def client(self) -> Client:
        """Return a client that never connects."""
        return Client(_NoServer(ConnectConfig(target_host="none:0")), interceptors=[self])


async def first_attempt_events(
    number: int, event_id: EventId, outcome: AttemptOutcome = AttemptOutcome.DELIVERED
) -> list[HistoryEvent]:
    """Return the events of a first attempt in the history of an execution, from this number."""
    scheduled = HistoryEvent(
        event_id=number, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    )
    attributes = scheduled.activity_task_scheduled_event_attributes
    attributes.activity_type.name = FIRST_ATTEMPT
    order = DeliveryOrder(user_id=UserId("usr_1"), event_id=event_id)
    attributes.input.payloads.extend(await DataConverter.default.encode([order]))
    completed = HistoryEvent(
        event_id=number + 1, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    )
    done = completed.activity_task_completed_event_attributes
    done.scheduled_event_id = number
    result = AttemptResult(outcome=outcome, number=1)
    done.result.payloads.extend(await DataConverter.default.encode([result]))
    return [scheduled, completed]


class _NoServer(ServiceClient):
    """Fails every call that the interceptor does not answer."""

    @property
    def worker_service_client(self) -> Any:
        raise NotImplementedError

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        """Nothing is sent."""

    def update_api_key(self, api_key: str | None) -> None:
        """Nothing is sent."""

    async def _rpc_call(self, *_arguments: Any, **_options: Any) -> Any:
        raise UNREACHABLE


class _Answers(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, fake: FakeTemporal) -> None:
        super().__init__(next)
        self._client = cast("Any", next)._client
        self._fake = fake

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        fake, order = self._fake, input.args[0]
        fake.run_timeouts.append(input.run_timeout)
        if input.workflow == EXECUTION_WORKFLOW:
            if fake.on_start is not None:
                await fake.on_start(order)
            fake.started.append(order.execution_id)
        else:
            fake.deliveries.append(order)
            if fake.on_deliver is not None:
                await fake.on_deliver(order)
            if order in (*fake.delivered, *fake.closed):
                raise WorkflowAlreadyStartedError(input.id, input.workflow)
        return WorkflowHandle(self._client, input.id)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        if input.signal == RETRY_QUEUED:
            if self._fake.close_status is not None:
                raise RPCError("it has closed", RPCStatusCode.NOT_FOUND, b"")
            (generation,) = input.args
            self._fake.retried.append((ExecutionId(input.id), generation))
            return
        reason, generation = input.args
        assert generation > 0
        if input.signal == APPROVAL_DECIDED:
            self._fake.decided.append((ExecutionId(input.id), reason))
            return
        self._fake.cancelled.append((ExecutionId(input.id), reason))

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        assert isinstance(input.id_or_token, AsyncActivityIDReference)
        activity_id, result = input.id_or_token.activity_id, input.result
        if self._fake.on_complete is not None:
            await self._fake.on_complete(activity_id)
        assert isinstance(result, WaitJobResult)
        self._fake.waits.append((activity_id, result.state.value))
        self._fake.settled.append(result.settled)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        self._fake.terminated.append(input.id)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        of_one = re.search(r"WorkflowId = '(\w+)'", input.query or "")
        found = [of_one[1]] if of_one else self._in_range(input.query)
        if not of_one:
            self._fake.lists.append(len(found))
        return cast("WorkflowExecutionAsyncIterator", self._list(found))

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        return WorkflowExecutionCount(count=len(self._in_range(input.query)), groups=[])

    def _in_range(self, query: str | None) -> list[ExecutionId]:
        ends = re.search(r"WorkflowId BETWEEN '(\w+)' AND '(\w+)'", query or "")
        assert ends is not None
        return [listed for listed in self._fake.listed if ends[1] <= listed <= ends[2]]

    async def _list(self, execution_ids: Sequence[str]) -> AsyncIterator[SimpleNamespace]:
        for execution_id in execution_ids:
            yield SimpleNamespace(id=execution_id, run_id="run")

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        self._fake.described.append(input.id)
        status, memo = await self._status(input.id)
        if status == NOT_FOUND:
            raise RPCError("no such workflow", RPCStatusCode.NOT_FOUND, b"")
        raw = DescribeWorkflowExecutionResponse()
        info = raw.workflow_execution_info
        info.execution.workflow_id = input.id
        info.execution.run_id = "run"
        info.status = int(WorkflowExecutionStatus[status.upper()])  # pyright: ignore[reportAttributeAccessIssue]
        if status == "running":
            raw.pending_workflow_task.attempt = self._fake.task_attempts
        run = self._fake.completed_run
        info.start_time.FromDatetime(run.started_at if run is not None else datetime.now(UTC))
        for name, value in memo.items():
            (payload,) = await DataConverter.default.encode([value])
            info.memo.fields[name].CopyFrom(payload)
        return await WorkflowExecutionDescription._from_raw_description(  # pyright: ignore[reportPrivateUsage]
            raw, "default", DataConverter.default
        )

    async def _status(self, workflow_id: str) -> tuple[str, dict[str, str]]:
        fake = self._fake
        if workflow_id.startswith("deliver/"):
            ended = {delivery_workflow_id(order) for order in (*fake.delivered, *fake.closed)}
            return ("completed" if workflow_id in ended else "running"), {}
        if fake.completed_run is not None:
            document = {"execution": {"generation": fake.completed_run.generation}}
            return "completed", {ACCEPTED_MEMO: packed(document)}
        if fake.on_describe is not None:
            return await fake.on_describe(ExecutionId(workflow_id)) or "running", {}
        memo: dict[str, str] = {}
        if fake.running_generation is not None:
            memo[ACCEPTED_MEMO] = packed({"execution": {"generation": fake.running_generation}})
        return fake.close_status or "running", memo

    def fetch_workflow_history_events(
        self,
        input: FetchWorkflowHistoryEventsInput,
    ) -> WorkflowHistoryEventAsyncIterator:
        if input.id.startswith("deliver/") or not self._fake.delivered_at_first:
            return cast("WorkflowHistoryEventAsyncIterator", self._close_event(input.id))
        return cast("WorkflowHistoryEventAsyncIterator", self._attempts())

    async def _attempts(self) -> AsyncIterator[HistoryEvent]:
        for number, event_id in enumerate(self._fake.delivered_at_first):
            for event in await first_attempt_events(2 * number + 1, event_id):
                yield event

    async def _close_event(self, workflow_id: str) -> AsyncIterator[HistoryEvent]:
        result: object = ExecutionOutcome(status=ExecutionStatus.COMPLETED)
        if workflow_id.startswith("deliver/"):
            delivered = {delivery_workflow_id(order) for order in self._fake.delivered}
            result = AttemptResult(
                outcome=AttemptOutcome.DELIVERED
                if workflow_id in delivered
                else AttemptOutcome.EXHAUSTED,
                number=1,
            )
        event = HistoryEvent()
        payloads = await DataConverter.default.encode([result])
        event.workflow_execution_completed_event_attributes.result.payloads.extend(payloads)
        yield event
