"""Requests and answers in general: headers, problems, and failures of the transport as errors."""

import re
from typing import Any, cast

import httpx
from pydantic_core import from_json

from takeone._core.calls import Answer
from takeone._core.settings import USER_AGENT, Settings
from takeone.errors import (
    CallError,
    ConnectError,
    ConnectionLostError,
    ProblemError,
    RequestTimeoutError,
    problem_class,
)


def headers(settings: Settings, accept: str) -> dict[str, str]:
    """Return the headers of each request."""
    return {
        "authorization": f"Bearer {settings.api_key}",
        "user-agent": USER_AGENT,
        "accept": f"{accept}, application/problem+json",
    }


def problem(answer: Answer, key: str | None = None) -> ProblemError:
    """Return the error of an answer that is a refusal. key: the idempotency key of the call."""
    document = json_object(answer.body)
    code = str(document.get("code") or "")
    return problem_class(code, answer.status)(
        document,
        status=answer.status,
        retry_after=_seconds(answer.headers.get("retry-after")),
        idempotency_key=key,
        request_id=answer.headers.get("x-request-id"),
    )


def transport_error(failure: httpx.HTTPError, key: str | None = None) -> CallError:
    """Return the error of a request without an answer."""
    match failure:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout():
            kind, text = ConnectError, "No connection to the service"
        case httpx.TimeoutException():
            kind, text = RequestTimeoutError, "The service did not answer in time"
        case _:
            kind, text = ConnectionLostError, "The connection ended before the answer"
    return kind(
        f"{text}{_place(failure)}: {failure or type(failure).__name__}", idempotency_key=key
    )


def _place(failure: httpx.HTTPError) -> str:
    """Return where a request was sent to, if it is known."""
    try:
        url = failure.request.url
    except RuntimeError:
        return ""
    return f" at {url.scheme}://{url.netloc.decode('ascii')}"


def find_object(body: bytes | str) -> dict[str, Any] | None:
    """Return the members of a JSON object; None if it is not one."""
    try:
        document = from_json(body)
    except ValueError:
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def json_object(body: bytes | str) -> dict[str, Any]:
    """Return the members of a JSON object; none if it is not one."""
    return find_object(body) or {}


def _seconds(header: str | None) -> float | None:
    """Return the seconds of a Retry-After; this API sends no dates."""
    return float(header) if header and re.fullmatch(r"\d{1,9}", header) else None
