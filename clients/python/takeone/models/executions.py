"""Executions, their jobs, results and costs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from takeone.models.base import Model, Money

ExecutionStatus = Literal["queued", "running", "completed", "failed", "cancelled"] | str
JobState = (
    Literal["waiting", "submitting", "unknown", "submitted", "completed", "failed", "cancelled"]
    | str
)
ENDED: Final = frozenset(("completed", "failed", "cancelled"))
COMPLETED: Final = "completed"


class Failure(Model):
    """Why an execution or a job failed. spent: what providers billed all the same."""

    code: str
    message: str
    retryable: bool | None = None
    spent: Money | None = None


class Cost(Model):
    """The money of an execution, in US dollars.

    estimated: the worst price, held at first. held: for bills that are still open. settled: billed
    so far. saved: what reused files cost when they were bought. final: the execution has ended and
    no bill is open.
    """

    currency: str = "USD"
    estimated: Money
    held: Money
    settled: Money
    saved: Money = Money(0)
    final: bool


class JobCost(Model):
    """The money of a job. basis: the source of `settled`; None while nothing is settled."""

    estimated: Money
    held: Money
    settled: Money
    saved: Money = Money(0)
    basis: str | None


class Job(Model):
    """One purchase of a step, or one run of a media step."""

    id: str
    step: str
    state: JobState
    generation: int
    supersedes: str | None
    orphan: bool
    provider: str
    model: str
    tries: int
    warnings: list[str] = Field(default_factory=list[str])
    reused_from: str | None
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None
    cost: JobCost
    error: Failure | None


class ResultFile(Model):
    """A stored file of an execution. media: its facts, for example `durationSeconds`."""

    id: str
    step: str
    kind: str
    url: str
    content_type: str
    size_bytes: int
    sha256: str
    media: Mapping[str, Any] | None = None


class Result(Model):
    """The files of an execution.

    url, content_type: of the first file of the result. outputs: the named outputs of the plan.
    assets: every stored file. poster_url: None until the poster is made.
    """

    url: str | None = None
    content_type: str | None = None
    video_url: str | None = None
    image_url: str | None = None
    audio_url: str | None = None
    transcript_url: str | None = None
    text_url: str | None = None
    poster_url: str | None = None
    outputs: dict[str, ResultFile | None] = Field(default_factory=dict[str, ResultFile | None])
    assets: list[ResultFile] = Field(default_factory=list[ResultFile])

    @property
    def file(self) -> ResultFile | None:
        """The first file of the result."""
        return next((item for item in self.assets if item.url == self.url), None)


class ExecutionWebhook(Model):
    """The webhook of the latest generation."""

    url: str
    event_id: str | None
    state: str | None
    failed_reason: str | None
    attempts: int
    last_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    ended_at: datetime | None


class OptionFile(Model):
    """A file of an option."""

    id: str
    kind: str
    url: str


class ApprovalOption(Model):
    """A step to choose from, with its files."""

    step: str
    job_id: str
    assets: list[OptionFile]


class Rest(Model):
    """The paid steps that an approval starts, and what they may cost. worst: held."""

    currency: str = "USD"
    steps: list[str]
    low: Money
    expected: Money
    worst: Money


class WaitingFor(Model):
    """An approval step that waits for a decision: `executions.approve`."""

    step: str
    options: list[ApprovalOption]
    rest: Rest
    opened_at: datetime
    expires_at: datetime


class Approved(Model):
    """A committed decision. option: None if all options were rejected."""

    execution_id: str
    step: str
    decision: str
    option: str | None
    decided_at: datetime


class Queue(Model):
    """What an execution waits for.

    reason: "starting", "running_limit" (of the account) or "provider_slot". position: among your
    own, 1 is the next. ahead: how many of your own are before it.
    """

    reason: str
    position: int | None = None
    ahead: int | None = None
    running_limit: int | None = None
    provider: str | None = None
    step: str | None = None


class Eta(Model):
    """When an execution probably ends, in seconds from now. Four of five end within low and high.

    basis: "history", or "model" if a step's model has too little history.
    """

    seconds: int
    low: int
    high: int
    basis: str


class ExecutionData(Model):
    """An execution as of one moment."""

    id: str
    type: str
    template: str | None = None
    prompt: str | None = None
    status: ExecutionStatus
    generation: int
    progress: int
    current_job: str | None
    completed_jobs: list[str]
    failed_jobs: list[str]
    queue: Queue | None = None
    eta: Eta | None = None
    jobs: list[Job]
    waiting_for: list[WaitingFor]
    result: Result | None
    error: Failure | None
    cost: Cost
    webhook: ExecutionWebhook | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @property
    def ended(self) -> bool:
        """Whether the execution has completed, failed or been cancelled."""
        return self.status in ENDED


class AcceptedData(Model):
    """An accepted order. replayed: an earlier call with the same key was accepted."""

    id: str = Field(alias="executionId")
    status: ExecutionStatus = "queued"
    status_url: str
    replayed: bool = False


class KeptStep(Model):
    """A purchase that a retry uses or continues."""

    step: str
    job_id: str
    state: JobState
    cost: Money


class StepToPay(Model):
    """A step that a retry buys again. estimated: the worst price."""

    step: str
    provider: str
    model: str
    estimated: Money


class RetriedData(AcceptedData):
    """An accepted retry. estimated: the sum of `to_pay`, held now."""

    generation: int
    kept: list[KeptStep]
    to_pay: list[StepToPay]
    currency: str = "USD"
    estimated: Money


class Cancelled(Model):
    """The effect of a cancel. final: `spent` and `released` will not change any more."""

    execution_id: str
    status: ExecutionStatus
    spent: Money
    released: Money
    final: bool


class Deleted(Model):
    """The receipt of a deletion. files_pending: files that object storage still has."""

    execution_id: str
    deleted_at: datetime
    files: int
    bytes: int
    files_pending: int
    webhooks: int


class TimelineEntry(Model):
    """An event of an execution.

    sequence: 1, 2, … over all generations. type: `job`, `cost`, `progress` or `end`. data: as the
    service sends it, with names in camelCase.
    """

    sequence: int
    generation: int
    at: datetime
    type: Literal["job", "cost", "progress", "end"] | str
    data: Mapping[str, Any]


class Timeline(Model):
    """Events of an execution, oldest first. next_after: for the next page; None on the last."""

    execution_id: str
    data: list[TimelineEntry]
    next_after: int | None


class StreamTicket(Model):
    """A ticket that opens the event stream of an execution once, without an API key.

    url: the address of the stream with the ticket, for an EventSource of a browser.
    """

    execution_id: str
    ticket: str
    url: str
    expires_at: datetime
