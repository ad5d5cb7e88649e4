"""Request and response bodies of the webhook routes."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from api.http.schemas import QueryParameters, RequestBody, ResponseBody, Time, plausible_time
from api.webhooks.fields import WebhookHeaders, WebhookSecret, WebhookUrl
from core.domain.messages.webhooks import (
    DisabledReason,
    EndpointKind,
    EventType,
    FailedReason,
    WebhookState,
)

MAX_OVERLAP_HOURS = 168
MAX_RESENT = 1000
MAX_CURSOR_CHARS = 200

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)


def _printable(value: str) -> str:
    if value and not value.isprintable():
        raise ValueError("must have printable characters only")
    return value


def _time_text(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds or milliseconds."""
    if not isinstance(value, str) or not _TIME.match(value):
        raise ValueError("must be an ISO 8601 time with a zone")
    return value


BodyTime = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_time_text), AfterValidator(plausible_time)
]
Description = Annotated[str, Field(max_length=200), AfterValidator(_printable)]


class NewEndpointRequest(RequestBody):
    """A URL that receives webhooks, or a listening endpoint."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://example.com/hooks/takeone", "description": "production"}]
        }
    )

    kind: EndpointKind = Field(
        EndpointKind.URL,
        strict=False,
        description="`stream`: a listening endpoint, without a URL. Its webhooks go to `GET "
        "/api/endpoints/{endpoint_id}/stream`. It is deleted after an hour without a listener.",
    )
    url: WebhookUrl | None = Field(
        None,
        description="Required unless `kind` is `stream`. http or https, a public address, port 80, "
        "443, 8080 or 8443. It cannot be changed; create another endpoint instead.",
    )
    description: Description = Field("", description="A note for people.")
    default: bool = Field(
        False,
        description="Receives account events, and the events of requests without a webhook. At "
        "most one endpoint is the default.",
    )
    secret: WebhookSecret | None = Field(
        None,
        repr=False,
        description="Signs the webhooks of this endpoint: whsec_ with base64 of 24 to 64 bytes, or "
        "any text of 16 to 256 characters. Default: the account's secret.",
        json_schema_extra={"writeOnly": True},
    )
    headers: WebhookHeaders | None = Field(
        None,
        repr=False,
        description="Sent with every webhook of this endpoint, for example "
        "`Authorization`; at most 10. Stored encrypted and never returned.",
        json_schema_extra={"writeOnly": True},
    )


class ListenerResult(RequestBody):
    """What a receiver answered, or why it did not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "eventId": "evt_0199a5b5e0c87c0b9d3c6f1a2b3c4d5e",
                    "delivery": 1,
                    "number": 1,
                    "durationMs": 12,
                    "statusCode": 200,
                }
            ],
            "anyOf": [
                {
                    "required": ["statusCode"],
                    "properties": {"statusCode": {"type": "integer"}, "error": {"type": "null"}},
                },
                {
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}, "statusCode": {"type": "null"}},
                },
            ],
        }
    )

    event_id: Annotated[str, Field(max_length=100)] = Field(description="`id` of the webhook.")
    delivery: Annotated[int, Field(ge=1, le=2**31 - 1)]
    number: Annotated[int, Field(ge=1, le=2**31 - 1)]
    duration_ms: Annotated[int, Field(ge=0, le=3_600_000)] = Field(
        description="From the request to the end of the response."
    )
    status_code: Annotated[int, Field(ge=100, le=599)] | None = Field(
        None, description="Of the response. 2xx: the webhook is delivered."
    )
    error: (
        Literal["timed_out", "connection_refused", "connection_failed", "no_valid_answer"] | None
    ) = Field(None, description="Instead of `statusCode`: why there was no response.")
    excerpt: Annotated[str, Field(max_length=4096)] = Field(
        "", description="The beginning of the response body; at most 1 KB is kept."
    )

    @model_validator(mode="after")
    def _status_or_error(self) -> Self:
        if (self.status_code is None) == (self.error is None):
            raise ValueError("send either statusCode or error")
        return self


class ChangeEndpointRequest(RequestBody):
    """Omitted fields stay unchanged."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"description": "staging", "default": True}]}
    )

    description: Description | None = Field(None, description="A note for people.")
    default: bool | None = Field(None, description="true: replaces the previous default endpoint.")
    headers: WebhookHeaders | None = Field(
        None,
        repr=False,
        description="Replaces all of them; `{}` removes them. Sent with every webhook of this endpoint, for example "
        "`Authorization`; at most 10. Stored encrypted and never returned.",
        json_schema_extra={"writeOnly": True},
    )


class RotateSecretRequest(RequestBody):
    """The body may be omitted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlapHours": 24}]})

    overlap_hours: Annotated[int, Field(ge=0, le=MAX_OVERLAP_HOURS)] = Field(
        default=24, description="How long the previous secret also signs. 0: it stops immediately."
    )
    secret: WebhookSecret | None = Field(
        default=None,
        repr=False,
        description="Default: a random one.",
        json_schema_extra={"writeOnly": True},
    )


DEFAULT_ROTATION = RotateSecretRequest()
"""The rotation of a request without a body."""


class ResendRequest(RequestBody):
    """Which webhooks to send again, by the time of their event."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z"}]
        }
    )

    from_: BodyTime = Field(alias="from", description="Earliest event time, inclusive.")
    to: BodyTime = Field(description="Latest event time, exclusive.")
    state: Literal["failed", "delivered"] = Field(
        "failed", description="Present state of the webhooks."
    )
    endpoint_id: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Only webhooks to this endpoint."
    )
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = Field(
        None, description="`nextCursor` of the previous response."
    )


class Endpoint(ResponseBody):
    """An endpoint that receives webhooks.

    kind: stream for a listening endpoint, whose url is `stream:` with its id. default: receives
    account events, and the events of requests without a webhook. ownSecret: false if the account's
    secret signs. ownHeaders: its webhooks carry headers that you have set. previousSecretUntil:
    until then the previous secret also signs. failingSince: every attempt since then failed.
    lastSuccessAt: to the minute. disabledReason: user (by request), gone (the endpoint returned
    410), failing (only failures for days).
    """

    id: str
    kind: EndpointKind
    url: str
    description: str
    default: bool
    own_secret: bool
    own_headers: bool
    previous_secret_until: Time | None
    state: Literal["enabled", "disabled"]
    disabled_at: Time | None
    disabled_reason: DisabledReason | None
    failing_since: Time | None
    last_success_at: Time | None
    last_failure_at: Time | None
    created_at: Time


class CreatedEndpoint(Endpoint):
    """A new endpoint. secret: of a listening endpoint that got a new one; shown once."""

    secret: Annotated[str | None, Field(repr=False)]


class EndpointList(ResponseBody):
    """nextCursor: of the next page; null on the last page."""

    data: list[Endpoint]
    next_cursor: str | None


class EndpointQuery(QueryParameters):
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = None


class RotatedSecret(ResponseBody):
    """A new signing secret.

    secret: no other response contains it. previousUntil: until then the previous secret also signs;
    null: it does not.
    """

    secret: Annotated[str, Field(repr=False)]
    previous_until: Time | None


class LoggedWebhook(ResponseBody):
    """An event for an endpoint.

    sequence: 1, 2, … among the events of its execution. delivery: 1, plus one for each resend.
    executionId, generation, sequence: null for events about the account or an endpoint.
    failedReason: why attempts have stopped. attempts: of all deliveries together.
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


class Attempt(ResponseBody):
    """One attempt.

    durationMs: null while it runs, or if its process was lost. error: null on success.
    responseExcerpt: the beginning of the response body.
    """

    delivery: int
    number: int
    started_at: Time
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response_excerpt: str | None


class WebhookDetail(LoggedWebhook):
    """body: the body of every attempt. attemptLog: the attempts in order, at most the last 200."""

    body: dict[str, Any]
    attempt_log: list[Attempt]


class WebhookList(ResponseBody):
    """nextCursor: of the next page; null on the last page."""

    data: list[LoggedWebhook]
    next_cursor: str | None


class WebhookQuery(QueryParameters):
    execution_id: Annotated[str, Field(max_length=100)] | None = None
    endpoint_id: Annotated[str, Field(max_length=100)] | None = None
    state: WebhookState | None = None
    type: EventType | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=MAX_CURSOR_CHARS)] | None = None


class Resent(ResponseBody):
    """The result of a page of resends.

    resent: webhooks whose delivery starts within half a minute. skipped: webhooks whose endpoint is
    disabled or deleted. nextCursor: repeat the request with it as `cursor`; null: all done.
    """

    resent: int
    skipped: int
    next_cursor: str | None
