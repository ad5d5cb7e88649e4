"""The operations of the API with all their parameters, read from the OpenAPI document."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


STREAMS: Final = {
    "GET /api/events",
    "GET /api/executions/{execution_id}/events",
    "GET /api/endpoints/{endpoint_id}/stream",
}
"""They do not end by themselves. HEAD takes the same way, without the stream."""


def method_to_send(name: str) -> str:
    """Return the method of an operation, HEAD for a stream."""
    return "HEAD" if name in STREAMS else name.split()[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation.

    takes: `path execution_id`, `query cursor`, `header Idempotency-Key`, `body webhook`;
    nested fields of a body with dots, `*` for any name. example: a valid body, None if the
    operation takes none.
    """

    method: str
    path: str
    takes: frozenset[str]
    example: Mapping[str, Any] | None
    needs_user: bool

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def operations_of(document: Mapping[str, Any]) -> list[Operation]:
    """Return operations in document order, with deletions last."""
    found = [
        _operation(document, path, method, item)
        for path, methods in document["paths"].items()
        for method, item in methods.items()
        if method in _METHODS
    ]
    return sorted(found, key=lambda operation: operation.method == "DELETE")


def _operation(
    document: Mapping[str, Any], path: str, method: str, item: Mapping[str, Any]
) -> Operation:
    takes = {f"{parameter['in']} {parameter['name']}" for parameter in item.get("parameters", ())}
    content = item.get("requestBody", {}).get("content", {})
    assert set(content) <= {"application/json", "multipart/form-data"}, (
        f"{method} {path} takes {set(content)}: read its fields here"
    )
    # Of a route that takes both, requests are made as JSON.
    content = {form: schema for form, schema in content.items() if form == "application/json"}
    example: Mapping[str, Any] | None = None
    for media_type in content.values():
        takes |= {f"body {field}" for field in _fields(document, media_type["schema"])}
        examples = [
            *(item["value"] for item in media_type.get("examples", {}).values()),
            *_schema_examples(document, media_type["schema"]),
        ]
        example = examples[0] if examples else {}
    return Operation(
        method=method.upper(),
        path=path,
        takes=frozenset(takes),
        example=example,
        needs_user=bool(item.get("security")),
    )


def _schema_examples(
    document: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """Return the examples that a body's schema declares, also if the body is optional."""
    yield from schema.get("examples", ())
    if "$ref" in schema:
        *_, model = str(schema["$ref"]).split("/")
        yield from _schema_examples(document, document["components"]["schemas"][model])
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _schema_examples(document, part)


def _fields(
    document: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "", depth: int = 9
) -> Iterator[str]:
    """Return every named field of a schema, including fields of nested objects and lists."""
    if depth == 0:
        return
    reference = schema.get("$ref")
    if reference is not None:
        *_, model = str(reference).split("/")
        yield from _fields(document, document["components"]["schemas"][model], prefix, depth - 1)
    for name, value in cast("dict[str, dict[str, Any]]", schema.get("properties", {})).items():
        yield f"{prefix}{name}"
        yield from _fields(document, value, f"{prefix}{name}.", depth - 1)
    for part in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(part, ()):
            yield from _fields(document, one, prefix, depth - 1)
    if isinstance(schema.get("items"), dict):
        yield from _fields(document, schema["items"], prefix, depth - 1)
    named = schema.get("patternProperties", {}).values()
    for values in (schema.get("additionalProperties"), *named):
        if isinstance(values, dict):
            yield from _fields(document, cast("dict[str, Any]", values), f"{prefix}*.", depth - 1)
