"""Stored histories of running executions, which new code must be able to continue."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from core.domain.messages.executions import CURRENT_PATH

FOLDER = Path(__file__).parent / "histories"
WORKFLOW_ID = "exec_1"
DROPPED = {"identity", "stackTrace", "binaryChecksum", "buildId", "workerVersion"}

_COMMANDS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: "activity",
    EventType.EVENT_TYPE_TIMER_STARTED: "timer",
    EventType.EVENT_TYPE_TIMER_CANCELED: "timer cancelled",
    EventType.EVENT_TYPE_MARKER_RECORDED: "marker",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "search attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: "activity cancelled",
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: "child",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "completed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "cancelled",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "failed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: "continued as new",
}


def newest(name: str) -> str | None:
    """The name of a scenario's history on the highest path; `-by-id` is path 0 with its patch."""
    names = [f"{name}-path-{path}" for path in range(CURRENT_PATH, 0, -1)]
    return next((each for each in names if (FOLDER / f"{each}.json").exists()), None)


class Histories(Mapping[str, WorkflowHistory]):
    """The stored histories by name. Each access reads one, which takes about 10 ms."""

    def __getitem__(self, name: str) -> WorkflowHistory:
        path = FOLDER / f"{name}.json"
        if not path.exists():
            raise KeyError(name)
        return WorkflowHistory.from_json(WORKFLOW_ID, path.read_text(encoding="utf-8"))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in FOLDER.glob("*.json")))

    def __len__(self) -> int:
        return len(list(iter(self)))


def stored() -> Histories:
    return Histories()


def store(name: str, history: WorkflowHistory) -> None:
    """Without what is of one machine or one run and no replay looks at."""
    plain = json.loads(history.to_json())
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(_scrubbed(plain), indent=1, sort_keys=True, ensure_ascii=False)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _scrubbed(value: object) -> object:
    if isinstance(value, dict):
        plain = cast("dict[str, object]", value)
        return {name: _scrubbed(item) for name, item in plain.items() if name not in DROPPED}
    return (
        [_scrubbed(item) for item in cast("list[object]", value)]
        if isinstance(value, list)
        else value
    )


def fingerprint(history: WorkflowHistory) -> list[str]:
    """The commands that the workflow gave, in order, by kind and name."""
    return [
        f"{_COMMANDS[event.event_type]} {_name(event)}".strip()
        for event in history.events
        if event.event_type in _COMMANDS
    ]


def _name(event: Any) -> str:
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
        return event.activity_task_scheduled_event_attributes.activity_type.name
    if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
        details = event.marker_recorded_event_attributes.details
        data: dict[str, Any] = (
            json.loads(details["data"].payloads[0].data) if "data" in details else {}
        )
        return str(data.get("activity_type") or event.marker_recorded_event_attributes.marker_name)
    return ""
