"""Problems below /v1, as the clients of OpenAI read them, in the same document.

Node's client reads the member `error` alone. Both repeat a request after 408, 409, 429 and 5xx
unless a header forbids it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic.alias_generators import to_snake

from core.domain.failures import FAILURES, FailureCode

PATH: Final = "/v1/"
SHOULD_RETRY: Final = "x-should-retry"
LONGEST_RETRY_SECONDS: Final = 60
"""Node's client waits as long as Retry-After states; Python's stops above 120 s."""
UNPROCESSABLE: Final = 422
BAD_REQUEST: Final = 400
INVALID: Final = "invalid_request_error"
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_FIELDS: Final[Mapping[str, str]] = {
    "duration": "seconds",
    "video_model": "model",
    "image": "input_reference",
}
"""The names of fields of an order that are named otherwise below /v1."""
_CODES: Final[Mapping[str, str]] = {
    "unknown_model": "model_not_found",
    "wrong_model_kind": "model_not_found",
    "not_supported": "unsupported",
    "invalid": "invalid_request",
}
"""The codes of faults for which OpenAI has a code of its own."""
_PARAMS: Final[Mapping[str, str]] = {FailureCode.MAX_COST_EXCEEDED: "max_cost"}
"""The field that a failure without faulty fields is about."""
_HOPELESS: Final = frozenset(
    {
        FailureCode.PROVIDER_NOT_ACCEPTING,
        FailureCode.SERVICE_BUDGET_EXCEEDED,
        FailureCode.EXECUTION_NOT_ENDED,
        FailureCode.EXECUTION_NOT_FINAL,
        FailureCode.ASSET_IN_USE,
    }
)
"""What lasts longer than a client tries."""


def openai_status(status: int) -> int:
    """Return the status of a problem below /v1: OpenAI's own service has no 422."""
    return BAD_REQUEST if status == UNPROCESSABLE else status


def openai_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a problem document with the member `error`. Fields are named as below /v1."""
    status = openai_status(document["status"])
    fields = [_renamed(each) for each in document.get("errors", ())]
    detail = _sentences(fields) if fields else str(document["detail"])
    renamed = {"errors": fields, "detail": detail} if fields else {}
    code = str(fields[0].get("code", document["code"])) if fields else document["code"]
    error = {
        "message": detail.replace("maxCost", "max_cost"),
        "type": _TYPES.get(status, INVALID if status < 500 else "server_error"),
        "param": fields[0]["field"] if fields else _PARAMS.get(document["code"]),
        "code": _CODES.get(code, code),
    }
    return {**document, "status": status, **renamed, "error": error}


def retry_headers(code: FailureCode, status: int, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the header that keeps the clients from repeating a hopeless request."""
    seconds = headers.get("Retry-After", "0")
    lasts = not seconds.isdecimal() or int(seconds) > LONGEST_RETRY_SECONDS
    hopeless = code in _HOPELESS or not FAILURES[code].retryable
    return {SHOULD_RETRY: "false"} if status >= BAD_REQUEST and (lasts or hopeless) else {}


def _renamed(error: Mapping[str, Any]) -> dict[str, Any]:
    name = to_snake(error["field"])
    plain = {**error, "field": _FIELDS.get(name, name)}
    plain.pop("pointer", None)
    return plain


def _sentences(errors: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(
        f"{error['field']}: {error['detail'].removesuffix('.')}{_allowed(error)}."
        for error in errors
    )


def _allowed(error: Mapping[str, Any]) -> str:
    """Return what is allowed, unless the sentence has it."""
    allowed = [str(each) for each in error.get("allowed") or ()]
    if not allowed or all(each in error["detail"] for each in allowed):
        return ""
    return f"; allowed: {', '.join(allowed)}"
