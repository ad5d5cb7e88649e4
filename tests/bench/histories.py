"""The events of an execution in Temporal's history."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from tests.bench.sides import Finished

PURPOSE = {
    "claim_execution": "this run takes the execution; a second start finds it taken (local)",
    "submit_job": "the paid call, at most once: intent, POST, provider's id",
    "wait_for_job": "wait for the provider, callback or poll; any length of time costs no more",
    "settle_job": "outcome and real cost in one transaction (local)",
    "store_assets": "files to our storage, of two steps at once where their providers keep them",
    "finish_execution": "end state, released hold and webhook event in one transaction (local)",
    "deliver_webhook_once": "the first attempt to deliver the webhook",
}
_OTHERS = {
    "WORKFLOW_EXECUTION_STARTED": "the order: ids and plan",
    "WORKFLOW_EXECUTION_COMPLETED": "the outcome",
    "WORKFLOW_TASK": "the workflow decides what comes next: scheduled, started, completed",
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES": "status and cost, for lists and filters in the Web UI",
    "WORKFLOW_PROPERTIES_MODIFIED": "details shown in the Web UI",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """The number of events of one kind in the workflows of an execution and of its delivery."""

    what: str
    execution: int
    delivery: int
    purpose: str


async def count_events(client: Client, finished: Finished) -> tuple[int, int]:
    """Count the events of the execution's and the delivery's workflow after they have closed."""
    execution = await _events(client, finished.workflow_id)
    delivery = await _events(client, finished.delivery_id) if finished.delivery_id else ()
    return len(execution), len(delivery)


async def explain_events(client: Client, finished: Finished) -> list[EventRow]:
    """Count the events of one execution by purpose, in the order of first appearance."""
    execution = _kinds(await _events(client, finished.workflow_id))
    delivery = _kinds(await _events(client, finished.delivery_id) if finished.delivery_id else ())
    return [
        EventRow(
            what=_spelled(what),
            execution=execution[what],
            delivery=delivery[what],
            purpose=PURPOSE.get(what) or _OTHERS.get(what, ""),
        )
        for what in dict.fromkeys([*execution, *delivery])
    ]


async def _events(client: Client, workflow_id: str) -> Sequence[HistoryEvent]:
    handle = client.get_workflow_handle(workflow_id)
    await handle.result()
    return (await handle.fetch_history()).events


def _kinds(events: Sequence[HistoryEvent]) -> Counter[str]:
    """Count events: activities by name (three events each), workflow tasks, the rest by type."""
    scheduled = {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_type.name
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    }
    return Counter(_kind(event, scheduled) for event in events)


def _kind(event: HistoryEvent, scheduled: dict[int, str]) -> str:
    name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
    if name.startswith("ACTIVITY_TASK_"):
        attributes = getattr(event, event.WhichOneof("attributes") or "")
        return scheduled[getattr(attributes, "scheduled_event_id", 0) or event.event_id]
    if name == "MARKER_RECORDED":
        return _local_activity(event) or name
    return "WORKFLOW_TASK" if name.startswith("WORKFLOW_TASK_") else name


def _local_activity(event: HistoryEvent) -> str | None:
    """Return the name in a local activity's marker, which is JSON of the SDK's core."""
    for payloads in event.marker_recorded_event_attributes.details.values():
        for payload in payloads.payloads:
            text = payload.data.decode(errors="replace")
            found = [
                name
                for name in (*PURPOSE, "bare_note", "bare_start_delivery")
                if f'"{name}"' in text
            ]
            if found:
                return found[0]
    return None


def _spelled(kind: str) -> str:
    return kind.replace("_", " ").capitalize() if kind.isupper() else kind
