"""The page of the HTTP API, from the OpenAPI document that the API serves."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

from api.app import create_app
from api.services import Services
from docs.generate.markdown import code, codes, page, paragraph, table

Json = dict[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")
PROBLEM = "application/problem+json"
JSON = "application/json"

INTRO = """\
A running API serves this as an interactive page (`/docs`) and as OpenAPI (`/openapi.json`). JSON is
camelCase; times are UTC in ISO 8601; money is a decimal string of US dollars. Every answer to a
credential with a rate limit has `RateLimit-Policy` and `RateLimit` fields. HEAD is answered wherever GET is. The
rules that all routes have in common are in [requests](requests.md), the codes in
[error codes](errors.md)."""
COMMON = "Every route with a scope may also answer with these problems: {}."


def render() -> str:
    """Return the page: the routes by tag, then the schemas that they use."""
    document = create_app(cast("Services", None)).openapi()
    operations = [operation for _, _, operation in _operations(document)]
    common = _shared([operation for operation in operations if operation.get("security")])
    by_tag: defaultdict[str, list[str]] = defaultdict(list)
    for path, method, operation in _operations(document):
        tag = cast("list[str]", operation.get("tags", ["other"]))[0]
        by_tag[tag].append(_operation(path, method, operation, common))
    routes = [f"## {tag.capitalize()}\n\n" + "\n\n".join(by_tag[tag]) for tag in sorted(by_tag)]
    return page(
        "HTTP API",
        INTRO,
        paragraph(COMMON.format(_problem_list(common))),
        *routes,
        _schemas(document),
    )


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    paths = cast("dict[str, Json]", document["paths"])
    for path in sorted(paths):
        for method in METHODS:
            if method in paths[path]:
                yield path, method, paths[path][method]


def _problems(operation: Json) -> dict[str, str]:
    """Return the problem codes that a route may answer with, each with its status."""
    return {
        code_name: status
        for status, response in cast("dict[str, Json]", operation["responses"]).items()
        for code_name in cast(
            "Json", response.get("content", {}).get(PROBLEM, {}).get("examples", {})
        )
    }


def _shared(operations: list[Json]) -> dict[str, str]:
    """Return the problems that all of these routes have in common."""
    first, *others = map(_problems, operations)
    return {name: first[name] for name in first if all(name in other for other in others)}


def _problem_list(problems: dict[str, str]) -> str:
    return ", ".join(f"`{name}` ({status})" for name, status in problems.items())


def _operation(path: str, method: str, operation: Json, common: dict[str, str]) -> str:
    parts = [
        f"### `{method.upper()} {path}`",
        paragraph(f"**{operation['summary']}.** {operation.get('description', '')}"),
    ]
    scopes = [
        f"{scheme}: {codes(roles)}"
        for needed in cast("list[dict[str, list[str]]]", operation.get("security", []))
        for scheme, roles in needed.items()
    ]
    if scopes:
        parts.append(f"Scope: {'; '.join(dict.fromkeys(scopes))}.")
    if parameters := cast("list[Json]", operation.get("parameters", [])):
        rows = [
            (code(p["name"]), p["in"], _type(p["schema"]), _required(p), _text(p))
            for p in parameters
        ]
        parts.append(table(("parameter", "in", "type", "required", "meaning"), rows))
    body = cast("Json", operation.get("requestBody", {})).get("content", {}).get(JSON, {})
    if schema := body.get("schema"):
        parts.append(_fields(schema) or paragraph(f"Body: {_type(schema)}."))
    parts.append(_responses(operation, common))
    return "\n\n".join(parts)


def _responses(operation: Json, common: dict[str, str]) -> str:
    """Return what a route answers: its results, then its own problems, without the common ones."""
    results: list[str] = []
    for status, response in sorted(cast("dict[str, Json]", operation["responses"]).items()):
        content = cast("dict[str, Json]", response.get("content", {}))
        if PROBLEM in content:
            continue
        kinds = [
            _type(part.get("schema", {})) if kind == JSON else code(kind)
            for kind, part in content.items()
        ]
        results.append(" ".join([status, " or ".join(kinds)]).strip())
    own = {name: status for name, status in _problems(operation).items() if name not in common}
    text = f"Returns {'; '.join(results)}."
    return f"{text}\n\n{paragraph(f'Problems: {_problem_list(own)}.')}" if own else text


def _schemas(document: Json) -> str:
    schemas = cast("dict[str, Json]", document["components"]["schemas"])
    parts = ["## Schemas"]
    for name in sorted(schemas):
        fields = _fields(schemas[name])
        text = paragraph(str(schemas[name].get("description", "")))
        parts.append("\n\n".join(filter(None, (f"### {name}", text, fields))))
    return "\n\n".join(parts)


def _fields(schema: Json) -> str:
    properties = cast("dict[str, Json]", schema.get("properties", {}))
    required = set(cast("list[str]", schema.get("required", [])))
    rows = [
        (code(name), _type(field), "yes" if name in required else "", _text(field))
        for name, field in properties.items()
    ]
    return table(("field", "type", "required", "meaning"), rows) if rows else ""


def _required(parameter: Json) -> str:
    return "yes" if parameter.get("required") else ""


def _text(part: Json) -> str:
    return str(part.get("description") or part.get("schema", {}).get("description") or "")


def _type(schema: Json) -> str:
    """Return the type of a schema with its limits, in a few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(part) for part in schema[union]))
    if "enum" in schema:
        return codes(str(value) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return kind + _limits(schema)


def _limits(schema: Json) -> str:
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength"))
    if low is None and high is None:
        return f" ({schema['format']})" if "format" in schema else ""
    unit = " characters" if schema.get("type") == "string" else ""
    return f" ({low or 0} to {high}{unit})" if high is not None else f" (at least {low}{unit})"
