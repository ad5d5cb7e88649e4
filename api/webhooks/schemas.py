"""Bodies of the webhook desk, as they are on the wire."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from api.http.problems import validation_problem
from api.http.schemas import ResponseBody as Wire
from api.http.schemas import Time, plausible_time
from api.webhooks.fields import WebhookSecret, WebhookUrl
from core.domain.messages.webhooks import DisabledReason, EventType, FailedReason, WebhookState

MAX_OVERLAP_HOURS = 168
MAX_RESENT = 1000
MAX_CURSOR_CHARS = 200

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)


def _printable(value: str) -> str:
    if value and not value.isprintable():
        raise ValueError("must have printable characters only")
    return value


def _time_text(value: object) -> object:
    if not isinstance(value, str) or not _TIME.match(value):
        raise ValueError("must be a time as in ISO 8601, with its zone")
    return value


BodyTime = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_time_text), AfterValidator(plausible_time)
]
Description = Annotated[str, Field(max_length=200), AfterValidator(_printable)]


class Body(BaseModel):
    """Nothing unknown, nothing converted."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        strict=True,
        frozen=True,
    )


Wanted = TypeVar("Wanted", bound=Body)


def parsed(kind: type[Wanted], plain: dict[str, Any]) -> Wanted:
    """Raises ProblemError naming every field that is wrong."""
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        raise validation_problem(error.errors(include_url=False, include_input=False)) from None


class NewEndpointRequest(Body):
    """Where webhooks may go."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://example.com/hooks/takeone", "description": "production"}]
        }
    )

    url: WebhookUrl = Field(
        description="http or https, a public address, port 80, 443, 8080 or 8443. Never changed: another address is "
        "another endpoint."
    )
    description: Description = Field("", description="For people.")
    default: bool = Field(
        False,
        description="It hears of the account, and of every request that names no webhook. One is the default.",
    )
    secret: WebhookSecret | None = Field(
        None,
        repr=False,
        description="Signs what is sent there: whsec_ with base64 of 24 to 64 bytes, or any text of 16 to 256 "
        "characters. Default: the account's secret signs.",
        json_schema_extra={"writeOnly": True},
    )


class ChangeEndpointRequest(Body):
    """What is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"description": "staging", "default": True}]}
    )

    description: Description | None = Field(None, description="For people.")
    default: bool | None = Field(None, description="true: no other is the default any more.")


class RotateSecretRequest(Body):
    """The body may be left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlapHours": 24}]})

    overlap_hours: Annotated[int, Field(ge=0, le=MAX_OVERLAP_HOURS)] = Field(
        24, description="For so long the secret before signs, too. 0: it ends at once."
    )
    secret: WebhookSecret | None = Field(
        None,
        repr=False,
        description="Default: a new one is made.",
        json_schema_extra={"writeOnly": True},
    )


class ResendRequest(Body):
    """Which webhooks to send again: those made from then on, and before then."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z"}]
        }
    )

    from_: BodyTime = Field(alias="from", description="Made then or later.")
    to: BodyTime = Field(description="Made before then.")
    state: Literal["failed", "delivered"] = Field(
        "failed", description="In which state they are now."
    )
    endpoint_id: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Only what went there."
    )
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = Field(
        None, description="`nextCursor` of the answer before: goes on where that ended."
    )


class Endpoint(Wire):
    """default: hears of the account, and of every request that names no webhook. ownSecret: false:
    the account's signs. previousSecretUntil: until then the secret before signs, too.

    failingSince: since then every try failed. lastSuccessAt: to the minute. disabledReason: user
    (asked for), gone (it said 410), failing (for days nothing but failures).
    """

    id: str
    url: str
    description: str
    default: bool
    own_secret: bool
    previous_secret_until: Time | None
    state: Literal["enabled", "disabled"]
    disabled_at: Time | None
    disabled_reason: DisabledReason | None
    failing_since: Time | None
    last_success_at: Time | None
    last_failure_at: Time | None
    created_at: Time


class EndpointList(Wire):
    """nextCursor: for the next page; null on the last one."""

    data: list[Endpoint]
    next_cursor: str | None


class EndpointQuery(Wire):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = None


class RotatedSecret(Wire):
    """secret: the new one. It is in this answer and nowhere else. previousUntil: until then the one
    before signs, too; null: it does not.
    """

    secret: Annotated[str, Field(repr=False)]
    previous_until: Time | None


class LoggedWebhook(Wire):
    """An event to an endpoint. sequence: 1, 2, … of its execution's events. delivery: 1, and one
    more with each resend.

    executionId, generation, sequence: null of an event about the account or an endpoint.
    failedReason: why nobody tries any more. attempts: how many, of all deliveries together.
    """

    id: str
    type: EventType
    endpoint_id: str
    url: str
    execution_id: str | None
    generation: int | None
    sequence: int | None
    state: WebhookState
    failed_reason: FailedReason | None
    delivery: int
    attempts: int
    last_attempt_at: Time | None
    last_status_code: int | None
    last_error: str | None
    created_at: Time
    ended_at: Time | None


class Attempt(Wire):
    """One try. durationMs: null while it is under way, or if the process that made it was lost.
    error: null if it was taken. responseExcerpt: the beginning of the answer.
    """

    delivery: int
    number: int
    started_at: Time
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response_excerpt: str | None


class WebhookDetail(LoggedWebhook):
    """body: what is sent, the same on every try. attemptLog: the tries, in order; of very many the
    last 200.
    """

    body: dict[str, Any]
    attempt_log: list[Attempt]


class WebhookList(Wire):
    """nextCursor: for the next page; null on the last one."""

    data: list[LoggedWebhook]
    next_cursor: str | None


class WebhookQuery(Wire):
    model_config = ConfigDict(extra="forbid")

    execution_id: Annotated[str, Field(max_length=100)] | None = None
    endpoint_id: Annotated[str, Field(max_length=100)] | None = None
    state: WebhookState | None = None
    type: EventType | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = None


class Resent(Wire):
    """resent: begin within half a minute. skipped: their endpoint is disabled or deleted.
    nextCursor: there is more: send the same with it as `cursor`; null: that was all.
    """

    resent: int
    skipped: int
    next_cursor: str | None
