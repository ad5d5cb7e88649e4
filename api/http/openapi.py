"""What OpenAPI cannot take from the types: problems, rate headers, request ids and scopes."""

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.routing import Route

from api.auth.authentication import usual_scope
from api.http.middleware import request_ids
from api.http.problems import openai_errors
from api.http.problems.documents import MEDIA_TYPE, STATUS, ProblemError, problem_document
from api.http.schemas import FieldError, Problem
from core.domain.failures import FailureCode

TAGS: Final = [
    {"name": "executions", "description": "Create, read, cancel and retry video executions."},
    {"name": "events", "description": "Follow executions: event streams and timelines."},
    {"name": "templates", "description": "Stored plans, which are run with values."},
    {"name": "quotes", "description": "Prices of a request before it is made."},
    {"name": "models", "description": "Models, their inputs and prices."},
    {"name": "assets", "description": "Files: uploads, and outputs of executions."},
    {"name": "endpoints", "description": "URLs that receive webhooks."},
    {"name": "webhooks", "description": "The delivery log and resends."},
    {"name": "usage", "description": "Money and videos used in a month."},
    {"name": "OpenAI clients", "description": "For the unchanged clients of OpenAI."},
    {"name": "API keys", "description": "The account's API keys."},
    {"name": "provider keys", "description": "The account's own keys at providers."},
    {"name": "callbacks", "description": "For providers only."},
    {"name": "health", "description": "Probes."},
]
BODY_PROBLEMS: Final = (FailureCode.PAYLOAD_TOO_LARGE, FailureCode.REQUEST_TIMED_OUT)
CREDENTIAL_PROBLEMS: Final = (FailureCode.RATE_LIMITED, FailureCode.INSUFFICIENT_SCOPE)
RATE_HEADERS: Final = {
    "RateLimit-Policy": "The limit of this class of requests: "
    '`"writes";q=100;w=900` is 100 in any 900 seconds.',
    "RateLimit": 'What is left of it: `"writes";r=42;t=13` is 42 now, and more in 13 seconds.',
}
ID_HEADER: Final = {
    request_ids.HEADER: "The id of the request: the one sent in this header, or a new one."
}
_REF: Final = "#/components/schemas/{model}"
_EXAMPLE_PATH: Final = "/api/executions"
_EXAMPLE_ID: Final = "req_019ac5e0f3a47b6c9d1e2f3a4b5c6d7e"

Document = dict[str, Any]


def problems(*codes: FailureCode) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: these problems and those that every route may return."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, FailureCode.SERVICE_UNAVAILABLE, FailureCode.INTERNAL_ERROR):
        _add_problem(responses.setdefault(STATUS[code], _empty_problem()), code)
    return responses


def install(app: FastAPI, allow_variables: Callable[[dict[str, Document], str], None]) -> None:
    """Complete the app's OpenAPI document, and serve it from memory.

    allow_variables: changes the schemas of steps, which references with this prefix name.
    """
    generate = app.openapi

    def openapi() -> Document:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        components = cast("dict[str, Document]", document["components"])
        components["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in {**RATE_HEADERS, **ID_HEADER}.items()
        }
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        allow_variables(components["schemas"], _REF.format(model=""))
        for model in (Problem, FieldError):
            components["schemas"][model.__name__] = _schema(model)
        for path, operations in cast("dict[str, Document]", document["paths"]).items():
            for method, operation in cast("dict[str, Document]", operations).items():
                _complete(operation, method.upper(), path)
        return document

    app.openapi = openapi
    _serve_from_memory(app)


def _complete(operation: Document, method: str, path: str) -> None:
    responses: dict[str, Document] = operation["responses"]
    if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)  # FastAPI's own form of 422, which this app never returns
    codes = [
        *(BODY_PROBLEMS if "requestBody" in operation else ()),
        *(CREDENTIAL_PROBLEMS if operation.get("security") else ()),
    ]
    if path.startswith(openai_errors.PATH):
        _answer_like_openai(responses)
    for code in codes:
        status = str(STATUS[code])
        # A response object may be shared by routes.
        responses[status] = deepcopy(responses.get(status, _empty_problem()))
        _add_problem(responses[status], code)
    for status, response in responses.items():
        limited = operation.get("security") and status != str(STATUS[FailureCode.UNAUTHENTICATED])
        names = [*ID_HEADER, *(RATE_HEADERS if limited else ())]
        references = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        response["headers"] = response.get("headers", {}) | references
    for requirement in cast("list[dict[str, list[str]]]", operation.get("security", [])):
        for scopes in requirement.values():
            scopes += [] if scopes else [usual_scope(method, path).value]


def _answer_like_openai(responses: dict[str, Document]) -> None:
    """Document the problems of a route below /v1: 400 instead of 422."""
    moved = responses.pop(str(openai_errors.UNPROCESSABLE), None)
    if moved is not None:
        kept = responses.setdefault(str(openai_errors.BAD_REQUEST), _empty_problem())
        texts = [kept["description"], moved["description"]]
        kept["description"] = " / ".join(filter(None, texts))
        kept["content"][MEDIA_TYPE]["examples"] |= moved["content"][MEDIA_TYPE]["examples"]
    for response in responses.values():
        problem: Document = response.get("content", {}).get(MEDIA_TYPE, {})
        for example in cast("dict[str, Document]", problem.get("examples", {})).values():
            example["value"] = openai_errors.openai_document(example["value"])


def _empty_problem() -> Document:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}, "examples": {}}}
    return {"description": "", "content": content}


def _add_problem(response: Document, code: FailureCode) -> None:
    example = problem_document(ProblemError(code), _EXAMPLE_PATH, _EXAMPLE_ID)
    examples: Document = response["content"][MEDIA_TYPE]["examples"]
    if code.value in examples:
        return
    response["description"] = " / ".join(filter(None, [response["description"], example["title"]]))
    examples[code.value] = {"value": example}


def _serve_from_memory(app: FastAPI) -> None:
    """Serve the document as bytes made once: it needs no key, and making it takes milliseconds."""

    @cache
    def document_bytes() -> bytes:
        return json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode()

    @cache
    def tag() -> str:
        return f'"{hashlib.sha256(document_bytes()).hexdigest()[:32]}"'

    async def respond(request: Request) -> Response:
        headers = {"ETag": tag(), "Cache-Control": "no-cache"}
        known = request.headers.get("if-none-match", "").replace("W/", "").split(",")
        if {tag(), "*"} & {each.strip() for each in known}:
            return Response(status_code=304, headers=headers)
        return Response(document_bytes(), media_type="application/json", headers=headers)

    for index, route in enumerate(app.routes):
        if isinstance(route, Route) and route.path == app.openapi_url:
            app.routes[index] = Route(route.path, respond, include_in_schema=False)


def _schema(model: type[BaseModel]) -> Document:
    schema = model.model_json_schema(ref_template=_REF)
    schema.pop("$defs", None)  # these are components themselves
    return schema
