"""What OpenAPI cannot take from the types: bodies that are parsed by hand, and the problems of each
route.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.routing import Route

from api.auth.authentication import usual_scope
from api.http.problems import MEDIA_TYPE, STATUS, ProblemError, problem_document
from api.http.schemas import FieldError, Problem
from core.domain.failures import FailureCode

_REF = "#/components/schemas/{model}"
_EXAMPLE_PATH = "/api/executions"
_OF_EVERY_BODY = (FailureCode.PAYLOAD_TOO_LARGE, FailureCode.REQUEST_TIMED_OUT)
_RATE_HEADERS = {
    "RateLimit-Policy": 'The limit of this class of requests: `"writes";q=100;w=900` is 100 in any 900 seconds.',
    "RateLimit": 'What is left of it: `"writes";r=42;t=13` is 42 now, and more in 13 seconds.',
}


def problems(*codes: FailureCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the problems it may answer with, beside those that every route
    may.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, FailureCode.SERVICE_UNAVAILABLE, FailureCode.INTERNAL_ERROR):
        _add_problem(responses.setdefault(STATUS[code], _no_problem()), code)
    return responses


def _no_problem() -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}, "examples": {}}}
    return {"description": "", "content": content}


def _add_problem(response: dict[str, Any], code: FailureCode) -> None:
    example = problem_document(ProblemError(code), _EXAMPLE_PATH)
    response["description"] = " / ".join(filter(None, [response["description"], example["title"]]))
    response["content"][MEDIA_TYPE]["examples"][code.value] = {"value": example}


def request_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its JSON by hand, strictly."""
    schema = _schema(model)
    examples: Sequence[object] = schema.pop("examples", [])
    media_type = {
        "schema": schema,
        "examples": {
            f"example {number}": {"value": example}
            for number, example in enumerate(examples, start=1)
        },
    }
    return {"requestBody": {"required": required, "content": {"application/json": media_type}}}


def install(app: FastAPI) -> None:
    """Adds to the app's OpenAPI the schemas that its routes refer to by hand."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        schemas = cast("dict[str, Any]", document["components"]["schemas"])
        _drop_validation_errors(document, schemas)
        _add_rates(document)
        _add_scopes(document)
        _add_body_limits(document)
        for model in (Problem, FieldError):
            schemas[model.__name__] = _schema(model)
        return document

    app.openapi = openapi
    _answer_from_memory(app)


def _answer_from_memory(app: FastAPI) -> None:
    """Anybody may ask for it, without a key: written out anew each time, it would cost
    milliseconds.
    """

    @cache
    def described() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    async def answer(_request: Request) -> Response:
        return Response(described(), media_type="application/json")

    for place, route in enumerate(app.routes):
        if isinstance(route, Route) and route.path == app.openapi_url:
            app.routes[place] = Route(route.path, answer, include_in_schema=False)


def _drop_validation_errors(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """What FastAPI adds to every route with a parameter: its own form of 422, which this app never
    answers.
    """
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in cast("dict[str, dict[str, Any]]", document["paths"]).values():
        for operation in operations.values():
            if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"].pop("422", None)


def _add_rates(document: dict[str, Any]) -> None:
    """Whoever needs a key is limited by it, in what and in how often, and told with every answer
    once it is known whose it is.
    """
    document["components"]["headers"] = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in _RATE_HEADERS.items()
    }
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_HEADERS}
    for operations in cast("dict[str, dict[str, Any]]", document["paths"]).values():
        for operation in operations.values():
            if not operation.get("security"):
                continue
            responses: dict[str, Any] = operation["responses"]
            for code in (FailureCode.RATE_LIMITED, FailureCode.INSUFFICIENT_SCOPE):
                response = deepcopy(
                    responses.get(str(STATUS[code]), _no_problem())
                )  # the route's own stays as it is
                _add_problem(response, code)
                responses[str(STATUS[code])] = response
            for status, response in responses.items():
                if status != str(STATUS[FailureCode.UNAUTHENTICATED]):
                    response["headers"] = response.get("headers", {}) | headers


def _add_scopes(document: dict[str, Any]) -> None:
    """What a key or token must be for, as the roles of its scheme: what a route says, else what its
    method needs.
    """
    for path, operations in cast("dict[str, dict[str, Any]]", document["paths"]).items():
        for method, operation in operations.items():
            for needed in cast("list[dict[str, list[str]]]", operation.get("security", [])):
                for roles in needed.values():
                    roles += [] if roles else [usual_scope(method.upper(), path).value]


def _add_body_limits(document: dict[str, Any]) -> None:
    """Add the problems of `BodyLimits` to every operation that reads a body."""
    for operations in cast("dict[str, dict[str, Any]]", document["paths"]).values():
        for operation in operations.values():
            if "requestBody" not in operation:
                continue
            for code in _OF_EVERY_BODY:
                _add_problem(
                    operation["responses"].setdefault(str(STATUS[code]), _no_problem()), code
                )


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF)
    schema.pop("$defs", None)  # these are components themselves
    return schema
