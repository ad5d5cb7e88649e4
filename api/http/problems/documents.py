"""Errors as RFC 9457 problem documents: the status of each failure code, and the document."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from api.http.middleware.request_ids import request_id_of
from api.http.middleware.traces import trace_id
from api.http.problems import openai_errors
from api.http.problems.texts import FIELDS_INVALID, TITLES
from core.domain.failures import FAILURES, FailureCode
from core.ordering.errors import FaultCode

MEDIA_TYPE = "application/problem+json"
CALLBACKS_PATH = "/callbacks"
RETRY_AFTER_SECONDS = 5
"""About as long as a part of this service takes to restart."""

STATUS: Final[dict[FailureCode, int]] = {
    FailureCode.INVALID_REQUEST: 422,
    FailureCode.UNAUTHENTICATED: 401,
    FailureCode.INSUFFICIENT_SCOPE: 403,
    FailureCode.NOT_FOUND: 404,
    FailureCode.METHOD_NOT_ALLOWED: 405,
    FailureCode.UNSUPPORTED_MEDIA_TYPE: 415,
    FailureCode.PAYLOAD_TOO_LARGE: 413,
    FailureCode.TRANSFER_CODING_UNSUPPORTED: 501,
    FailureCode.MALFORMED_REQUEST: 400,
    FailureCode.REQUEST_TIMED_OUT: 408,
    FailureCode.IDEMPOTENCY_CONFLICT: 422,
    FailureCode.IDEMPOTENCY_IN_PROGRESS: 409,
    FailureCode.RATE_LIMITED: 429,
    FailureCode.BUDGET_EXCEEDED: 402,
    FailureCode.KEY_SPEND_LIMIT_EXCEEDED: 402,
    FailureCode.MAX_COST_EXCEEDED: 402,
    FailureCode.OPEN_LIMIT_REACHED: 429,
    FailureCode.QUEUE_FULL: 429,
    FailureCode.TOO_MANY_STREAMS: 429,
    FailureCode.CONTENT_MODERATED: 422,
    FailureCode.PROVIDER_REJECTED_INPUT: 422,
    FailureCode.PROVIDER_KEY_REFUSED: 409,
    FailureCode.EXECUTION_NOT_ENDED: 409,
    FailureCode.EXECUTION_NOT_FINAL: 409,
    FailureCode.NOTHING_TO_RETRY: 409,
    FailureCode.POSSIBLE_DOUBLE_COST: 409,
    FailureCode.APPROVAL_NOT_OPEN: 409,
    FailureCode.APPROVAL_DECIDED: 409,
    FailureCode.ENDPOINT_EXISTS: 409,
    FailureCode.ENDPOINT_DISABLED: 409,
    FailureCode.MEDIA_UNSUPPORTED: 422,
    FailureCode.MEDIA_DAMAGED: 422,
    FailureCode.MEDIA_TOO_LARGE: 422,
    FailureCode.MEDIA_UNAVAILABLE: 422,
    FailureCode.ASSET_LIMIT_REACHED: 409,
    FailureCode.ASSET_IN_USE: 409,
    FailureCode.ASSET_DELETED: 409,
    FailureCode.MEDIA_LIMIT_REACHED: 409,
    FailureCode.PROVIDER_AUTH_FAILED: 502,
    FailureCode.PROVIDER_CREDIT_EXHAUSTED: 502,
    FailureCode.PROVIDER_MODEL_UNAVAILABLE: 409,
    FailureCode.PROVIDER_NOT_ACCEPTING: 503,
    FailureCode.SERVICE_BUDGET_EXCEEDED: 503,
    FailureCode.PROVIDER_QUEUE_FULL: 503,
    FailureCode.PROVIDER_RATE_LIMITED: 503,
    FailureCode.PROVIDER_UNAVAILABLE: 503,
    FailureCode.STORAGE_UNAVAILABLE: 503,
    FailureCode.SERVICE_UNAVAILABLE: 503,
    FailureCode.PROVIDER_FAILED: 502,
    FailureCode.PROVIDER_TIMED_OUT: 504,
    FailureCode.PROVIDER_EMPTY_OUTPUT: 502,
    FailureCode.PROVIDER_BAD_RESPONSE: 502,
    FailureCode.SUBMISSION_UNKNOWN: 502,
    FailureCode.OUTPUT_EXPIRED: 502,
    FailureCode.OUTPUT_INVALID: 502,
    FailureCode.OUTPUT_TOO_LARGE: 502,
    FailureCode.OUTPUT_ADDRESS_REFUSED: 502,
    FailureCode.MEDIA_FAILED: 422,
    FailureCode.QUEUE_TIMED_OUT: 504,
    FailureCode.DEADLINE_EXCEEDED: 504,
    FailureCode.APPROVAL_EXPIRED: 504,
    FailureCode.APPROVAL_REJECTED: 409,
    FailureCode.CANCELLED: 409,
    FailureCode.TERMINATED: 409,
    FailureCode.INTERNAL_ERROR: 500,
}
"""Total over the failure codes, though many of them end executions and never a request. An
exhausted budget is a 402: not 403, because the user has the permission, and not 429, because
waiting does not help.
"""


class ProblemError(HTTPException):
    """End a request with a problem document. A refused request never costs anything.

    detail: default, the sentence of the failure. instance: default, the path of the request.
    members: further members of the problem, by their names on the wire. It is an HTTPException so
    that FastAPI does not replace it by a 400 where it reads a body.
    """

    def __init__(
        self,
        code: FailureCode,
        detail: str = "",
        *,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> None:
        super().__init__(STATUS[code], detail or FAILURES[code].sentence, headers or {})
        self.code = code
        self.members = members or {}
        self.instance = instance


def invalid_fields(errors: Sequence[Mapping[str, object]]) -> ProblemError:
    """Return a problem with `errors`: `field`, `detail` and optionally more for each field."""
    fields = ", ".join(dict.fromkeys(str(error["field"]) for error in errors))
    return ProblemError(
        FailureCode.INVALID_REQUEST,
        FIELDS_INVALID.format(fields=fields),
        members={"errors": list(errors)},
    )


def invalid_field(
    field: str, detail: str, *, allowed: Sequence[object] | None = None
) -> ProblemError:
    error: dict[str, object] = {"field": field, "detail": detail}
    if allowed is not None:
        error["allowed"] = list(allowed)
    return invalid_fields([error])


MAX_FIELD_ERRORS: Final = 50
"""Fields that one problem names: a small body can have thousands of unknown names."""
_LONGEST_PATH: Final = 200
VIDEO_BODY: Final = "body of a video"
PLAN_BODY: Final = "body of a plan"
_LOCATIONS: Final = frozenset({"query", "path", "header", "body", VIDEO_BODY, PLAN_BODY})
"""What FastAPI and pydantic put before the name of a field."""


def json_pointer(path: str) -> str:
    """Return the pointer to a field of the body. path: names separated by slashes."""
    return f"/{path}"


def validation_problem(errors: Sequence[Mapping[str, Any]], body: object = None) -> ProblemError:
    """Return pydantic's errors field by field, without the values that were sent.

    body: as it was read, for the paths of fields in plans.
    """
    fields: dict[str, dict[str, object]] = {}
    for error in errors:
        if len(fields) == MAX_FIELD_ERRORS:
            break
        location = [part for part in error["loc"] if part not in _LOCATIONS]
        is_of_plan = location[:1] in (["plan"], ["values"])
        is_missing = error["type"] == "missing"
        names = (
            _path_in(body, location, is_missing=is_missing)
            if is_of_plan
            else [str(part) for part in location[:1]]
        )
        path = "/".join(names)[:_LONGEST_PATH] or "body"
        if any(other.startswith(f"{path}/") for other in fields):
            continue  # an error of a list that follows from one of its items
        field: dict[str, object] = {"field": path, "detail": _field_detail(error)}
        if is_of_plan:
            field |= {"pointer": json_pointer(path), "code": _fault_code(error, path)}
            if allowed := _allowed(error):
                field["allowed"] = allowed
        fields.setdefault(path, field)
    return invalid_fields(list(fields.values()))


def _path_in(body: object, location: Sequence[object], *, is_missing: bool) -> list[str]:
    """Return the path of a field without the parts that name alternatives of its type."""
    path: list[str] = []
    value = body
    for place, part in enumerate(location):
        if isinstance(value, Mapping) and part in value:
            value = cast("Mapping[object, object]", value)[part]
        elif (
            isinstance(value, list)
            and isinstance(part, int)
            and part < len(items := cast("list[object]", value))
        ):
            value = items[part]
        elif not (is_missing and place == len(location) - 1):
            continue
        path.append(str(part))
    return path


_CODES: Final[Mapping[str, FaultCode]] = {
    "missing": FaultCode.MISSING,
    "extra_forbidden": FaultCode.UNKNOWN_FIELD,
    "greater_than": FaultCode.OUT_OF_RANGE,
    "greater_than_equal": FaultCode.OUT_OF_RANGE,
    "less_than": FaultCode.OUT_OF_RANGE,
    "less_than_equal": FaultCode.OUT_OF_RANGE,
    "finite_number": FaultCode.OUT_OF_RANGE,
    "string_too_long": FaultCode.TOO_LONG,
    "too_long": FaultCode.TOO_LONG,
    "enum": FaultCode.NOT_SUPPORTED,
    "literal_error": FaultCode.NOT_SUPPORTED,
}
"""The code of a fault by pydantic's type of the error."""


def _fault_code(error: Mapping[str, Any], path: str) -> FaultCode:
    if path == "plan/steps" and error["type"] == "too_long":
        return FaultCode.TOO_MANY_STEPS
    return _CODES.get(error["type"], FaultCode.INVALID)


def _allowed(error: Mapping[str, Any]) -> list[str]:
    """Return the values that a choice has; empty without a choice."""
    if error["type"] not in ("enum", "literal_error"):
        return []
    return re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))


def _field_detail(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a field of this request"
    if error["type"] == "missing":
        return "is missing"
    return str(error["msg"]).removeprefix("Value error, ")


def not_found(instance: str) -> ProblemError:
    """Return a 404.

    instance: the path without the id, so that another user's id and an unknown id get the same
    response.
    """
    return ProblemError(FailureCode.NOT_FOUND, instance=instance)


def unavailable(detail: str = "") -> ProblemError:
    return ProblemError(
        FailureCode.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
    )


def problem_document(error: ProblemError, instance: str, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:takeone:problem:{error.code}",
        "title": TITLES[error.code],
        "status": STATUS[error.code],
        "detail": error.detail,
        "instance": error.instance or instance,
        "code": error.code,
        "retryable": FAILURES[error.code].retryable,
        "spent": "0",
        "requestId": request_id,
        **({} if (trace := trace_id()) is None else {"traceId": trace}),
        **error.members,
    }


def _instance(request: Request) -> str:
    """Return the path; of a callback only its beginning, because the token in it is a secret."""
    raw_path: bytes = request.scope["raw_path"]
    return (
        CALLBACKS_PATH
        if raw_path.startswith(b"/callbacks/")
        else raw_path.decode("ascii", "replace")
    )


def problem_response(request: Request, error: ProblemError) -> Response:
    """Return the answer of a problem; below /v1 also in the form of OpenAI."""
    document = problem_document(error, _instance(request), request_id_of(request.scope))
    headers = dict(error.headers or {})
    if request.url.path.startswith(openai_errors.PATH):
        headers |= openai_errors.retry_headers(error.code, document["status"], headers)
        document = openai_errors.openai_document(document)
    return Response(
        content=json.dumps(document, ensure_ascii=False, separators=(",", ":")),
        status_code=document["status"],
        headers=headers,
        media_type=MEDIA_TYPE,
    )
