"""Path and header parameters of executions."""

import re
from typing import Annotated

from fastapi import Header
from pydantic import AfterValidator

from api.http.ids import EXECUTION_ID
from api.http.problems.documents import not_found
from api.http.problems.ordering import EXECUTIONS_PATH
from api.http.schemas import RequestBody
from core.domain.ids import ExecutionId
from core.ordering.idempotency import IdempotencyKey, request_sha256

_IDEMPOTENCY_KEY = re.compile(r"^[!-~](?:[ -~]{0,253}[!-~])?$", re.ASCII)


def _check_execution_id(value: str) -> str:
    """Raise the 404 of an unknown execution for what cannot be an id."""
    if not EXECUTION_ID.fullmatch(value):
        raise not_found(EXECUTIONS_PATH)
    return value


def _check_idempotency_key(value: str) -> str:
    if not _IDEMPOTENCY_KEY.fullmatch(value):
        raise ValueError("must be 1 to 255 printable ASCII characters")
    return value


ExecutionIdPath = Annotated[ExecutionId, AfterValidator(_check_execution_id)]
IdempotencyHeader = Annotated[
    Annotated[str, AfterValidator(_check_idempotency_key)] | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 255 printable ASCII characters. For 30 days, a repeated request with the "
        "same key is answered with the stored answer and not executed again.",
        json_schema_extra={"pattern": _IDEMPOTENCY_KEY.pattern, "maxLength": 255},
    ),
]


def idempotency_key(
    header: str | None, *operation: str, body: RequestBody
) -> IdempotencyKey | None:
    """Bind the header to the request that it was sent with."""
    if header is None:
        return None
    plain = body.model_dump(mode="json", by_alias=True, exclude_none=True)
    return IdempotencyKey(key=header, request_sha256=request_sha256(*operation, body=plain))
