"""Strict JSON bodies for routes that do not declare a body parameter yet."""

from typing import Any

from fastapi import Request

from api.http.problems import ProblemError
from api.http.strict_json import check_encoding, parse_json
from core.domain.failures import FailureCode


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body. Raise ProblemError."""
    check_encoding(request)
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() != "application/json":
        raise ProblemError(FailureCode.UNSUPPORTED_MEDIA_TYPE)
    return parse_json(await request.body())


async def read_optional_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body, or an empty one without a body. Raise ProblemError."""
    return await read_json(request) if await request.body() else {}
