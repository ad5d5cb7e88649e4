"""What OpenAPI cannot take from the types: bodies that are parsed by hand, and the problems of each route."""

from collections.abc import Sequence
from typing import Any, cast

from fastapi import FastAPI
from pydantic import BaseModel

from api.problems import MEDIA_TYPE, STATUS, ProblemError, problem_document
from api.schemas import FieldError, Problem
from contracts.failures import FailureCode

_REF = "#/components/schemas/{model}"
_EXAMPLE_PATH = "/api/executions"


def problems(*codes: FailureCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: the problems it may answer with, beside those that every route may."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, FailureCode.SERVICE_UNAVAILABLE, FailureCode.INTERNAL_ERROR):
        example = problem_document(ProblemError(code), _EXAMPLE_PATH)
        response = responses.setdefault(
            STATUS[code],
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}, "examples": {}}},
            },
        )
        response["description"] = " / ".join(filter(None, [response["description"], example["title"]]))
        response["content"][MEDIA_TYPE]["examples"][code.value] = {"value": example}
    return responses


def request_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its JSON by hand, strictly."""
    schema = _schema(model)
    examples: Sequence[object] = schema.pop("examples", [])
    media_type = {
        "schema": schema,
        "examples": {f"example {number}": {"value": example} for number, example in enumerate(examples, start=1)},
    }
    return {"requestBody": {"required": required, "content": {"application/json": media_type}}}


def install(app: FastAPI) -> None:
    """Adds to the app's OpenAPI the schemas that its routes refer to by hand."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = cast("dict[str, Any]", document["components"]["schemas"])
        _drop_validation_errors(document, schemas)
        for model in (Problem, FieldError):
            schemas[model.__name__] = _schema(model)
        return document

    app.openapi = openapi


def _drop_validation_errors(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """What FastAPI adds to every route with a parameter: its own form of 422, which this app never answers."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in cast("dict[str, dict[str, Any]]", document["paths"]).values():
        for operation in operations.values():
            if MEDIA_TYPE not in operation["responses"].get("422", {}).get("content", {}):
                operation["responses"].pop("422", None)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_REF)
    schema.pop("$defs", None)  # these are components themselves
    return schema
