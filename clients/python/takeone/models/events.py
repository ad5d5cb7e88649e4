"""Events: changes of an execution, and of all executions of the account."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from takeone.models.base import Model
from takeone.models.executions import Cost, ExecutionStatus, Job

EventType = Literal["snapshot", "progress", "job", "cost", "end"] | str
AccountEventType = Literal["connected", "changed", "webhook"] | str


class Progress(Model):
    """How far an execution is."""

    status: ExecutionStatus
    progress: int
    current_job: str | None
    completed_jobs: list[str]
    failed_jobs: list[str]
    updated_at: datetime


class EventData(Model):
    """A change of an execution.

    sequence: `events(after=sequence)` continues behind it. data: as it was sent. progress, job,
    cost: of the events with these types. New types have `data` alone.
    """

    type: EventType
    sequence: int | None = None
    data: dict[str, Any] = Field(repr=False)
    progress: Progress | None = None
    job: Job | None = None
    cost: Cost | None = None


class AccountEvent(Model):
    """A change of any execution of the account.

    connected: a stream begins; read the lists now, because earlier changes are not sent. changed:
    has execution_id, sequence, status and progress. webhook: has execution_id, event_id, and the
    state and attempts of the delivery.
    """

    type: AccountEventType
    execution_id: str | None = None
    sequence: int | None = None
    status: ExecutionStatus | None = None
    progress: int | None = None
    event_id: str | None = None
    state: str | None = None
    attempts: int | None = None
