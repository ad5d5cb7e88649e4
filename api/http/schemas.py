"""Base classes and field types of all request and response bodies, and the problem document."""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)
from pydantic.alias_generators import to_camel

from api.http.problems.documents import ProblemError, invalid_field
from api.http.strict_json import UnreadableBody
from core.domain.failures import FailureCode


class RequestBody(BaseModel):
    """Base class of request bodies: camelCase, no unknown fields, no type conversion."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        strict=True,
        frozen=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unreadable(cls, value: object) -> object:
        """Raise the problem that `StrictJsonRoute` found while it read the body.

        FastAPI reads a body before it authenticates and validates it after. A body whose content
        type is not JSON arrives as bytes.
        """
        if isinstance(value, UnreadableBody):
            raise value.problem
        if isinstance(value, bytes):
            raise ProblemError(FailureCode.UNSUPPORTED_MEDIA_TYPE)
        return value


class ResponseBody(BaseModel):
    """Base class of response bodies: camelCase, built by Python field names."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_alias=True, validate_by_name=True, frozen=True
    )


ANY_OF: Final = frozenset({"status"})
"""Query parameters that may be repeated: any of their values."""


def refuse_repeated_parameters(request: Request) -> None:
    """Raise ProblemError: of two values, a proxy and this service might read different ones."""
    names = Counter(name for name, _ in request.query_params.multi_items())
    repeated = {name for name, number in names.items() if number > 1} - ANY_OF
    if repeated and request.url.path.startswith(("/api/", "/v1/")):
        name = min(repeated)
        raise invalid_field(name[:100], "may be given once only")


class QueryParameters(BaseModel):
    """Base class of query parameters: camelCase, no unknown names; text is converted."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        extra="forbid",
        frozen=True,
    )


def time_text(value: datetime) -> str:
    """Return ISO 8601 in UTC to the microsecond: a returned time can be used as a filter."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def plausible_time(value: datetime) -> datetime:
    """Return the time in UTC. Raise ValueError outside the years 2000 to 2200."""
    utc = value.astimezone(UTC) if 2000 <= value.year <= 2200 else None
    if utc is None:
        raise ValueError("must lie between the years 2000 and 2200")
    return utc


Time = Annotated[datetime, PlainSerializer(time_text, return_type=str)]
QueryTime = Annotated[AwareDatetime, AfterValidator(plausible_time)]
Usd = Annotated[str, Field(description="US dollars, exact, as a decimal text", examples=["0.156"])]


class FieldError(BaseModel):
    """One invalid field of a request."""

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
    code: str = Field(description="One of the closed list of failure codes.")
    retryable: bool = Field(description="The same request may succeed later, unchanged.")
    spent: Usd = Field(description="What this request has cost.")
    request_id: str = Field(
        alias="requestId", description="Also in the header X-Request-Id and in this service's log."
    )
    trace_id: str | None = Field(
        None,
        alias="traceId",
        description="Where the service records traces; also in the header trace-id and in its log.",
    )
    errors: list[FieldError] | None = Field(
        None, description="With 422: each field that is not valid."
    )


class Health(ResponseBody):
    status: Literal["ok"] = "ok"


class Readiness(ResponseBody):
    """temporal: when degraded, requests are accepted and start once Temporal is reachable."""

    status: Literal["ready"] = "ready"
    postgresql: Literal["ok"] = "ok"
    temporal: Literal["ok", "degraded"]
