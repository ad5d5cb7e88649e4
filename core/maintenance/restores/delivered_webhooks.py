"""Webhooks that the first attempt delivered, as the histories of executions recorded it.

A database that was restored from an older backup does not have the attempt.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.converter import DataConverter

from core.domain.ids import EventId, ExecutionId
from core.domain.messages.webhooks import AttemptOutcome, AttemptResult, DeliveryOrder

FIRST_ATTEMPT: Final = "deliver_webhook_once"
RUNS_READ: Final = 10
"""Runs of one workflow id that are read: one for each generation and recovery."""


@dataclass(slots=True, kw_only=True)
class DeliveredWebhooks:
    """Folds the events of an execution's runs, in order, into the events that were delivered."""

    converter: DataConverter
    event_ids: set[EventId] = field(default_factory=set[EventId], init=False)
    _scheduled: dict[int, EventId] = field(default_factory=dict[int, EventId], init=False)

    async def read(self, event: HistoryEvent) -> None:
        kind = event.event_type
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            self._scheduled = {}
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            if scheduled.activity_type.name == FIRST_ATTEMPT:
                order = await self._decode(scheduled.input.payloads, DeliveryOrder)
                self._scheduled[event.event_id] = order.event_id
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            completed = event.activity_task_completed_event_attributes
            event_id = self._scheduled.get(completed.scheduled_event_id)
            if event_id is None:
                return
            result = await self._decode(completed.result.payloads, AttemptResult)
            if result.outcome is AttemptOutcome.DELIVERED:
                self.event_ids.add(event_id)

    async def _decode(self, payloads: Iterable[Payload], kind: type[Any]) -> Any:
        return (await self.converter.decode(list(payloads), [kind]))[0]


async def is_delivered_by_execution(
    client: Client, execution_id: ExecutionId, event_id: EventId
) -> bool:
    """Return whether a run of the execution's workflow delivered the event."""
    delivered = DeliveredWebhooks(converter=client.data_converter)
    runs = client.list_workflows(f"WorkflowId = '{execution_id}'", limit=RUNS_READ)
    async for run in runs:
        handle = client.get_workflow_handle(execution_id, run_id=run.run_id)
        async for event in handle.fetch_history_events():
            await delivered.read(event)
        if event_id in delivered.event_ids:
            return True
    return False
