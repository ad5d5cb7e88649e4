"""Bodies of requests and answers, as they are on the wire: camelCase, nothing unknown, nothing
converted in silence.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)
from pydantic.alias_generators import to_camel

from api.http.schemas import QueryTime, Time, Usd
from api.http.schemas import ResponseBody as Wire
from api.webhooks.fields import WebhookSecret, WebhookUrl
from core.domain.messages.webhooks import FailedReason, WebhookState
from core.domain.plans import PlanType
from core.domain.states import CostBasis, ExecutionStatus, JobState

MAX_METADATA_BYTES = 4096
MAX_METADATA_NUMBER = 2**53  # above, JavaScript and jsonb no longer agree on a number


def _prompt(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    for item in value.values():
        if isinstance(item, int | float) and abs(item) > MAX_METADATA_NUMBER:
            raise ValueError(f"must have no number beyond ±{MAX_METADATA_NUMBER}")
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"must not pass {MAX_METADATA_BYTES} bytes")
    return value


Percent = Annotated[int, Field(ge=0, le=100)]


class GenerateVideoRequest(BaseModel):
    """Prompt in, video out."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "prompt": "A paper boat sails down a rainy street at dusk, cinematic",
                    "duration": 5,
                    "resolution": "720p",
                    "aspectRatio": "16:9",
                    "webhook": "https://example.com/hooks/takeone",
                    "metadata": {"orderId": "A-1042"},
                }
            ]
        },
    )

    prompt: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_prompt)] = Field(
        description="What to show."
    )
    duration: Annotated[int, Field(ge=1, le=30)] | None = Field(
        None, description="Whole seconds. Default 5, where the model can."
    )
    resolution: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Default 720p, where the model can."
    )
    aspect_ratio: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Default 16:9, where the models can."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="The same seed gives a similar result, where a model takes one."
    )
    image_model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Draws the first picture."
    )
    video_model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Makes it move."
    )
    max_cost: (
        Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", examples=["0.50"])] | None
    ) = Field(
        None,
        description="US dollars that this execution may cost in the worst case, its retries included.",
    )
    webhook: WebhookUrl | None = Field(
        None,
        description="Where to announce the end: http or https, a public address, port 80, 443, 8080 or 8443.",
    )
    webhook_secret: WebhookSecret | None = Field(
        None,
        repr=False,
        description="Signs this execution's webhook: whsec_ with base64 of 24 to 64 bytes, or any text of 16 to 256 "
        "characters. Default: that of the endpoint, else the account's.",
    )
    metadata: (
        Annotated[
            dict[str, StrictStr | StrictInt | StrictFloat | StrictBool],
            Field(max_length=16),
            AfterValidator(_metadata),
        ]
        | None
    ) = Field(
        None,
        description="Given back with every answer: at most 16 texts, numbers or truth values, 4 KB.",
    )


class Accepted(Wire):
    execution_id: str
    status: Literal["queued"]
    status_url: str


class RetryRequest(BaseModel):
    """The body may be left out."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"examples": [{"acceptPossibleDoubleCost": True}]},
    )

    accept_possible_double_cost: bool = Field(
        False,
        description="Buy a step again although what was bought for it before may still complete, and be billed.",
    )


class KeptStep(Wire):
    """A purchase that is used or goes on. cost: what was billed, or while its bill is open, the
    most it may cost.
    """

    step: str
    job_id: str
    state: JobState
    cost: Usd


class StepToPay(Wire):
    step: str
    provider: str
    model: str
    estimated: Usd


class Retried(Wire):
    """estimated: the worst price of what is bought again, held now."""

    execution_id: str
    status: Literal["queued"] = "queued"
    status_url: str
    generation: int
    kept: list[KeptStep]
    to_pay: list[StepToPay]
    currency: Literal["USD"] = "USD"
    estimated: Usd


class ErrorBody(BaseModel):
    """What went wrong with an execution or a job: a code and a sentence for a person; more members
    where known.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    code: str
    message: str


class Cost(Wire):
    """estimated: the worst price, held when it was accepted. held: bills still open. final: nothing
    will change.
    """

    currency: Literal["USD"] = "USD"
    estimated: Usd
    held: Usd
    settled: Usd
    final: bool


class JobCost(Wire):
    """basis: where `settled` comes from; null while the bill is open, or if nothing was bought."""

    estimated: Usd
    held: Usd
    settled: Usd
    basis: CostBasis | None


class Job(Wire):
    """tries: how often it was sent to the provider. generation: the one that bought it, or took it
    in when it was late.

    supersedes: the job in whose place it was bought; of an orphan, the job that was sent. orphan:
    bought beside the step's job, because an earlier send of it was accepted after all; nobody waits
    for it.
    """

    id: str
    step: str
    state: JobState
    generation: int
    supersedes: str | None
    orphan: bool
    provider: str
    model: str
    tries: int
    created_at: Time
    submitted_at: Time | None
    ended_at: Time | None
    cost: JobCost
    error: ErrorBody | None


class Webhook(Wire):
    """eventId, state: null until the execution has ended. failedReason: why nobody tries
    any more.
    """

    url: str
    event_id: str | None
    state: WebhookState | None
    failed_reason: FailedReason | None
    attempts: int
    last_attempt_at: Time | None
    last_status_code: int | None
    last_error: str | None
    ended_at: Time | None


class Execution(Wire):
    """How an execution stands. currentJob, completedJobs, failedJobs: names of steps. generation:
    1, and one more with each retry.
    """

    id: str
    type: PlanType
    status: ExecutionStatus
    generation: int
    progress: Percent
    current_job: str | None
    completed_jobs: list[str]
    failed_jobs: list[str]
    jobs: list[Job]
    result: dict[str, Any] | None
    error: ErrorBody | None
    cost: Cost
    webhook: Webhook | None
    metadata: dict[str, Any]
    created_at: Time
    updated_at: Time


class ExecutionList(Wire):
    """nextCursor: for the next page; null on the last one."""

    data: list[Execution]
    next_cursor: str | None


class ListQuery(Wire):
    model_config = ConfigDict(extra="forbid")

    status: ExecutionStatus | None = None
    type: PlanType | None = None
    created_after: QueryTime | None = None
    created_before: QueryTime | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=200)] | None = None


class Cancelled(Wire):
    """spent: settled so far. released: given back. final: both will not change any more."""

    execution_id: str
    status: ExecutionStatus
    spent: Usd
    released: Usd
    final: bool
