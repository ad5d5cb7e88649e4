"""Response bodies of executions."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.http.schemas import ResponseBody, Time, Usd
from core.domain.messages.webhooks import FailedReason, WebhookState
from core.domain.plans import PlanType
from core.domain.states import CostBasis, ExecutionStatus, JobState

Percent = Annotated[int, Field(ge=0, le=100)]


class Accepted(ResponseBody):
    execution_id: str
    status: Literal["queued"] = "queued"
    status_url: str


class KeptStep(ResponseBody):
    """A purchase that the retry uses or continues."""

    step: str
    job_id: str
    state: JobState
    cost: Usd = Field(
        description="What was billed, or the most that it may cost while its bill is open."
    )


class StepToPay(ResponseBody):
    """A step that is bought again."""

    step: str
    provider: str
    model: str
    estimated: Usd = Field(description="The worst price, held now.")


class Retried(ResponseBody):
    execution_id: str
    status: Literal["queued"] = "queued"
    status_url: str
    generation: int
    kept: list[KeptStep]
    to_pay: list[StepToPay]
    currency: Literal["USD"] = "USD"
    estimated: Usd = Field(description="The sum of `toPay`, held now.")


class ErrorBody(BaseModel):
    """Why an execution or a job failed. Some codes have further members."""

    model_config = ConfigDict(extra="allow", frozen=True)
    code: str
    message: str


class Cost(ResponseBody):
    currency: Literal["USD"] = "USD"
    estimated: Usd = Field(description="The worst price, held when the execution was accepted.")
    held: Usd = Field(description="Held for bills that are still open.")
    settled: Usd = Field(description="Billed so far.")
    saved: Usd = Field(
        description="What the files that steps use again cost when they were bought."
    )
    final: bool = Field(description="The execution has ended and no bill is open.")


class JobCost(ResponseBody):
    estimated: Usd
    held: Usd
    settled: Usd
    saved: Usd = Field(
        description="What the files of `reusedFrom` cost; 0 if nothing was reused, and for a media "
        "step."
    )
    basis: CostBasis | None = Field(
        description="The source of `settled`; null while the bill is open or if nothing was bought."
    )


class Job(ResponseBody):
    """One purchase of a step."""

    id: str
    step: str
    state: JobState
    generation: int = Field(description="The generation that bought the job or took it over.")
    supersedes: str | None = Field(
        description="The job that this one replaces; of an orphan, the job that was sent."
    )
    orphan: bool = Field(
        description="An earlier send of the step's job that turned out to be accepted, or that "
        "failed at no cost and was sent again. Its output is not used."
    )
    provider: str
    model: str
    tries: int = Field(description="How often the job was sent to the provider; 0 for a free step.")
    warnings: list[str] = Field(
        description="What a media step left out or changed while it made its files."
    )
    reused_from: str | None = Field(
        description="The job whose files the step uses again, because it made or bought the same; of "
        "an approval step, the job that was chosen."
    )
    created_at: Time
    submitted_at: Time | None
    ended_at: Time | None
    cost: JobCost
    error: ErrorBody | None


class Webhook(ResponseBody):
    """The webhook of the latest generation."""

    url: str
    event_id: str | None = Field(description="Null until the execution has ended.")
    state: WebhookState | None = Field(description="Null until the execution has ended.")
    failed_reason: FailedReason | None = Field(description="Why delivery was given up.")
    attempts: int
    last_attempt_at: Time | None
    last_status_code: int | None
    last_error: str | None
    ended_at: Time | None


class OptionFile(BaseModel):
    """A file of an option. Further members are those of `assets` in a result."""

    model_config = ConfigDict(extra="allow", frozen=True)
    id: str
    kind: str
    url: str


class ApprovalOption(ResponseBody):
    """A step to choose from, with its files."""

    step: str
    job_id: str
    assets: list[OptionFile]


class Rest(ResponseBody):
    """What an approval starts."""

    currency: Literal["USD"] = "USD"
    steps: list[str] = Field(description="The paid steps that wait for the decision.")
    low: Usd
    expected: Usd
    worst: Usd = Field(description="Held while the step waits.")


class WaitingFor(ResponseBody):
    """An approval step that waits for `POST /api/executions/{execution_id}/approve`."""

    step: str
    options: list[ApprovalOption]
    rest: Rest
    opened_at: Time
    expires_at: Time


class Approved(ResponseBody):
    """A committed decision."""

    execution_id: str
    step: str
    decision: Literal["approved", "rejected"]
    option: str | None = Field(description="The chosen option; null: all were rejected.")
    decided_at: Time


class QueueReason(StrEnum):
    """What an execution waits for."""

    STARTING = "starting"
    RUNNING_LIMIT = "running_limit"
    PROVIDER_SLOT = "provider_slot"


class Queue(ResponseBody):
    """What an execution waits for before it continues."""

    reason: QueueReason = Field(
        description="`starting`: it is being started. `running_limit`: as many of your executions run "
        "as you may have running; the oldest starts when one ends. `provider_slot`: it runs, and a "
        "step waits for a slot of its provider, which are shared among the users that wait."
    )
    position: int | None = Field(
        description="Among your own: 1 is the next. Null if it is being started.",
    )
    ahead: int | None = Field(description="How many of your own are before it.")
    running_limit: int | None = Field(
        description="How many executions you may have running; null: no limit, and for `provider_slot`."
    )
    provider: str | None = Field(description="With `provider_slot`: the provider.")
    step: str | None = Field(description="With `provider_slot`: the step that waits.")


class EtaBasis(StrEnum):
    """What an estimate is made of."""

    HISTORY = "history"
    MODEL = "model"


class Eta(ResponseBody):
    """When the execution probably ends, from now, in seconds. Never negative."""

    seconds: int = Field(description="As many end earlier as later.")
    low: int = Field(description="One of ten ends earlier.")
    high: int = Field(description="One of ten ends later.")
    basis: EtaBasis = Field(
        description="`history`: how long recent jobs of the same models took, with the same duration "
        "if there were enough. `model`: for at least one step, its model's usual duration."
    )


class Execution(ResponseBody):
    id: str
    type: PlanType
    template: str | None = Field(description="The template that its plan was made from.")
    prompt: str | None = Field(
        description="The prompt of a picture or a video, or the text of a speech; null for a plan and "
        "a transcript."
    )
    status: ExecutionStatus
    generation: int = Field(description="1, and one more with each retry.")
    progress: Percent
    current_job: str | None = Field(description="The name of the step that is running.")
    completed_jobs: list[str] = Field(description="Names of completed steps.")
    failed_jobs: list[str] = Field(description="Names of failed steps.")
    queue: Queue | None = Field(
        description="What it waits for. Null if it does not wait or if its position is not known."
    )
    eta: Eta | None = Field(
        description="Null if it has ended, and where no estimate is possible: after a failed step or a "
        "cancel, during the look-up of a lost answer, and while an approval step is open."
    )
    jobs: list[Job]
    waiting_for: list[WaitingFor] = Field(
        description="Approval steps that wait for your decision. The status stays `running`."
    )
    result: dict[str, Any] | None = Field(
        description="`url` and `contentType` of the first file of the result; `videoUrl`, "
        "`imageUrl`, `audioUrl`, `transcriptUrl` and `textUrl`; `posterUrl` of a video, null until the poster "
        "is made; `outputs`, the named outputs of the plan and the result itself as `result`; and "
        "`assets`, every stored file."
    )
    error: ErrorBody | None
    cost: Cost
    webhook: Webhook | None
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time


class ExecutionList(ResponseBody):
    data: list[Execution]
    next_cursor: str | None = Field(description="The cursor of the next page; null on the last.")


class Deleted(ResponseBody):
    """The receipt of a deletion; it stays the same, except for `filesPending`."""

    execution_id: str
    deleted_at: Time
    files: int = Field(description="The number of files that are deleted.")
    bytes: int = Field(description="Their size.")
    files_pending: int = Field(description="The files that object storage still has; 0: none.")
    webhooks: int = Field(description="The number of webhooks whose bodies are deleted.")


class Cancelled(ResponseBody):
    execution_id: str
    status: ExecutionStatus
    spent: Usd = Field(description="Billed so far.")
    released: Usd = Field(description="Held before and released.")
    final: bool = Field(description="`spent` and `released` will not change any more.")
