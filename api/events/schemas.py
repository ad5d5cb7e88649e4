"""Bodies of events, of the timeline and of stream tickets."""

from typing import Any

from pydantic import Field

from api.executions.responses import ErrorBody, Percent
from api.http.schemas import QueryParameters, ResponseBody, Time
from core.domain.messages.webhooks import WebhookState
from core.domain.states import ExecutionStatus
from core.store.events.execution_events import EventType


class Progress(ResponseBody):
    """The data of `progress`: what changes most often in an execution."""

    status: ExecutionStatus
    progress: Percent
    current_job: str | None
    completed_jobs: list[str]
    failed_jobs: list[str]
    updated_at: Time


class End(ResponseBody):
    """The data of `end` in a timeline. In a stream it is the final execution."""

    status: ExecutionStatus
    progress: Percent
    error: ErrorBody | None


class Changed(ResponseBody):
    """The data of `changed`: an execution has new events."""

    execution_id: str
    sequence: int
    status: ExecutionStatus
    progress: Percent


class ChangedWebhook(ResponseBody):
    """The data of `webhook`: an attempt to deliver a webhook has ended."""

    event_id: str
    execution_id: str
    state: WebhookState
    attempts: int


class TimelineEntry(ResponseBody):
    sequence: int = Field(description="1, 2, … over all generations, without gaps.")
    generation: int
    at: Time
    type: EventType
    data: dict[str, Any] = Field(
        description="`job`: an element of `jobs` of an execution. `cost`: its `cost`. `progress`: status, "
        "progress, currentJob, completedJobs, failedJobs and updatedAt. `end`: status, progress and "
        "error."
    )


class Timeline(ResponseBody):
    execution_id: str
    data: list[TimelineEntry]
    next_after: int | None = Field(description="`after` of the next page; null on the last.")


class StreamTicket(ResponseBody):
    execution_id: str
    ticket: str = Field(description="Shown once. It opens one stream of this execution.")
    url: str = Field(description="The address of the stream with the ticket, for an EventSource.")
    expires_at: Time = Field(description="The stream must be opened before this time.")


class TimelineQuery(QueryParameters):
    after: int = Field(0, ge=0, le=2**31 - 1, description="Return the events after this sequence.")
