"""Requests that take an Idempotency-Key and are answered with 202."""

import json
import re
from typing import Annotated

from fastapi import Header, Response

from api.http.problems import invalid_field
from core.ordering.idempotency import Answer

_IDEMPOTENCY_KEY = re.compile(r"^[!-~](?:[ -~]{0,253}[!-~])?$", re.ASCII)

IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 255 printable ASCII characters. For 30 days, a repeated request with the "
        "same key is answered with the stored answer and not executed again.",
        json_schema_extra={"pattern": _IDEMPOTENCY_KEY.pattern, "maxLength": 255},
    ),
]


def check_idempotency_key(key: str | None) -> None:
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid_field("Idempotency-Key", "must be 1 to 255 printable ASCII characters")


def accepted_response(answer: Answer) -> Response:
    location: str = json.loads(answer.body)["statusUrl"]
    headers = {"Location": location}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(
        content=answer.body, status_code=202, media_type="application/json", headers=headers
    )
