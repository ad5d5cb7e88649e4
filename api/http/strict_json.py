"""Strict JSON request bodies for FastAPI: `APIRouter(route_class=StrictJsonRoute)`.

`json.loads` accepts what PostgreSQL cannot store or what two parsers read differently: duplicate
names, NaN, NUL, lone surrogates. These are refused here.
"""

import json
import math
import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.http.problems.documents import ProblemError, invalid_field
from api.http.problems.texts import BODY_COMPRESSED, BODY_NOT_UTF8
from core.domain.failures import FailureCode

MAX_EXACT_FLOAT = 2**53
ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
BODY = "body"
"""Names the whole body in an error."""


@dataclass(frozen=True, slots=True)
class UnreadableBody:
    """Stands for a body that is not strict JSON; `RequestBody` raises its problem."""

    problem: ProblemError


class StrictJsonRequest(Request):
    async def json(self) -> object:
        """Return the JSON object in the body, or an UnreadableBody."""
        try:
            check_encoding(self)
            return parse_json(await self.body())
        except ProblemError as problem:
            return UnreadableBody(problem)


class StrictJsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(StrictJsonRequest(request.scope, request.receive))

        return handle_strictly


def check_encoding(request: Request) -> None:
    """Raise ProblemError for a compressed body, or for a character set other than UTF-8."""
    if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise ProblemError(
            FailureCode.UNSUPPORTED_MEDIA_TYPE,
            BODY_COMPRESSED,
            headers={"Accept-Encoding": "identity"},
        )
    _, *parameters = request.headers.get("content-type", "").lower().split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    if {value.strip(' "') for name, _, value in pairs if name.strip() == "charset"} - {
        "utf-8",
        "utf8",
    }:
        raise ProblemError(FailureCode.UNSUPPORTED_MEDIA_TYPE, BODY_NOT_UTF8)


def parse_json(body: bytes) -> dict[str, Any]:
    """Return one strict JSON object. Raise ProblemError."""
    try:
        text = body.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_unique_names,
            parse_constant=_refuse_constant,
            parse_float=_finite_number,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise invalid_field(BODY, "must be UTF-8") from None
    except UnicodeEncodeError:
        raise invalid_field(BODY, "contains a lone surrogate") from None
    except RecursionError:
        raise invalid_field(BODY, "is nested too deeply") from None
    except ValueError as error:
        raise invalid_field(BODY, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise invalid_field(BODY, "must be a JSON object")
    if ESCAPED_NUL.search(text):
        raise invalid_field(BODY, "contains the character NUL")
    return cast("dict[str, Any]", value)


def _unique_names(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("a name occurs more than once in an object")
    return names


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite_number(text: str) -> float | int:
    """Return an int for a whole number: to JSON Schema, 5.0 is an integer."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return int(value) if value.is_integer() and abs(value) <= MAX_EXACT_FLOAT else value
