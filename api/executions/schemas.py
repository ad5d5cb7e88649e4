"""Bodies of requests and answers, as they are on the wire: camelCase, nothing unknown, nothing
converted in silence.
"""

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)
from pydantic.alias_generators import to_camel

from core.domain.messages.webhooks import FailedReason, WebhookState
from core.domain.plans import PlanType
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.platform.urls import MAX_URL_CHARS, webhook_url

MAX_METADATA_BYTES = 4096
MAX_METADATA_NUMBER = 2**53  # above, JavaScript and jsonb no longer agree on a number
_WHSEC = "whsec_"


def _prompt(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _webhook_secret(value: str) -> str:
    if value.startswith(_WHSEC):
        try:
            decoded = base64.b64decode(value.removeprefix(_WHSEC), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("begins with whsec_, so base64 must follow") from None
        if not 24 <= len(decoded) <= 64:
            raise ValueError("must have 24 to 64 bytes after whsec_")
    elif not 16 <= len(value) <= 256:
        raise ValueError("must be whsec_ with base64, or a text of 16 to 256 characters")
    return value


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    for item in value.values():
        if isinstance(item, int | float) and abs(item) > MAX_METADATA_NUMBER:
            raise ValueError(f"must have no number beyond ±{MAX_METADATA_NUMBER}")
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"must not pass {MAX_METADATA_BYTES} bytes")
    return value


def sane_time(value: datetime) -> datetime:
    utc = value.astimezone(UTC) if 2000 <= value.year <= 2200 else None
    if utc is None:
        raise ValueError("must lie between the years 2000 and 2200")
    return utc


def time_text(value: datetime) -> str:
    """ISO 8601 in UTC, to the microsecond: what we give out can be used to filter by."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(time_text, return_type=str)]
QueryTime = Annotated[AwareDatetime, AfterValidator(sane_time)]
Usd = Annotated[str, Field(description="US dollars, exact, as a decimal text", examples=["0.156"])]
WebhookUrl = Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(webhook_url)]
WebhookSecret = Annotated[str, Field(max_length=256), AfterValidator(_webhook_secret)]
Percent = Annotated[int, Field(ge=0, le=100)]


class Wire(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_alias=True, validate_by_name=True, frozen=True
    )


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


class Health(Wire):
    status: Literal["ok"] = "ok"


class Readiness(Wire):
    """temporal: with degraded, requests are accepted and begin when it is back."""

    status: Literal["ready"] = "ready"
    postgresql: Literal["ok"] = "ok"
    temporal: Literal["ok", "degraded"]


class FieldError(BaseModel):
    field: str
    detail: str
    allowed: list[Any] | None = None


class Problem(BaseModel):
    """An error, RFC 9457."""

    type: str = Field(examples=["urn:takeone:problem:invalid_request"])
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="One of the closed list of failures.")
    retryable: bool = Field(description="The same request may succeed later, unchanged.")
    spent: Usd = Field(description="What this request has cost.")
    errors: list[FieldError] | None = Field(
        None, description="With 422: each field that is not valid."
    )
