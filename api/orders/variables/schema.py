"""Uses of variables in the JSON Schema of steps, and the schema of their values."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

from pydantic import Field
from pydantic.json_schema import JsonSchemaValue

from api.http.ids import ASSET_ID
from api.http.schemas import RequestBody
from api.orders.variables.declarations import MAX_NUMBER, MAX_TEXT, VariableName
from core.platform.urls import MAX_URL_CHARS

Resolve = Callable[[JsonSchemaValue], JsonSchemaValue]
"""Return the schema that a `$ref` names, or the schema itself."""
_OF_STEPS: Final = frozenset({"kind", "params"})
_ANNOTATIONS: Final = ("default", "description", "title")
_SCALARS: Final = frozenset({"string", "number", "integer", "boolean"})
_FILE: Final = frozenset({"step", "asset", "url"})
"""Properties that only references to files have."""
_USES: Final = ({"var"}, {"fill"})
"""The properties of uses of variables."""


class VariableUse(RequestBody):
    """The value of a variable, or the file that it names."""

    var: VariableName


class FilledText(RequestBody):
    """A text with the values of variables in the place of `{{name}}`."""

    fill: str = Field(
        max_length=MAX_TEXT, examples=["a {{subject}} at sea, {{style}}, 35 mm photograph"]
    )


VALUE_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "maxLength": MAX_TEXT},
        {"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER},
        {"type": "boolean"},
        {
            "type": "object",
            "properties": {"asset": {"type": "string", "pattern": f"^{ASSET_ID.pattern}$"}},
            "required": ["asset"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"url": {"type": "string", "maxLength": MAX_URL_CHARS}},
            "required": ["url"],
            "additionalProperties": False,
        },
    ]
}


def allow_variables(schemas: dict[str, JsonSchemaValue], prefix: str) -> None:
    """Allow uses of variables wherever the parameters of a step have a value or a file.

    schemas: all schemas of a document, those of steps among them; they are changed. prefix: of
    references to them.
    """

    def resolve(schema: JsonSchemaValue) -> JsonSchemaValue:
        return schemas[str(schema["$ref"]).removeprefix(prefix)] if "$ref" in schema else schema

    steps = [each for each in schemas.values() if each.get("properties", {}).keys() >= _OF_STEPS]
    for model in (VariableUse, FilledText):
        schemas[model.__name__] = model.model_json_schema()
    uses = [{"$ref": f"{prefix}{model.__name__}"} for model in (VariableUse, FilledText)]
    for step in steps:
        for holder, key in list(_places(step["properties"]["params"], resolve, [])):
            _allow(holder, key, uses)


def _allow(holder: JsonSchemaValue, key: str, uses: Sequence[JsonSchemaValue]) -> None:
    """Add the uses to the schema of one place, unless another operation shares and has them."""
    schema: JsonSchemaValue = holder[key]
    if uses[0] in schema.get("anyOf", ()):
        return
    kept = {name: schema.pop(name) for name in _ANNOTATIONS if name in schema}
    parts = schema.pop("anyOf", [])
    holder[key] = {"anyOf": [*parts, *([schema] if schema else ()), *uses], **kept}


def _places(
    schema: JsonSchemaValue, resolve: Resolve, within: list[JsonSchemaValue]
) -> Iterator[tuple[JsonSchemaValue, str]]:
    """Yield where a value or a file stands, as the object and the key of its schema."""
    schema = resolve(schema)
    properties = cast("dict[str, JsonSchemaValue]", schema.get("properties", {}))
    if schema in within or properties.keys() in _USES:
        return
    if _FILE & properties.keys():
        if "url" in properties:
            yield properties, "url"
        return
    within = [*within, schema]
    for part in ("anyOf", "oneOf"):
        for each in schema.get(part, ()):
            yield from _places(each, resolve, within)
    patterns = cast("dict[str, JsonSchemaValue]", schema.get("patternProperties", {}))
    holders = [(each, name) for each in (properties, patterns) for name in each]
    if isinstance(schema.get("items"), dict):
        holders.append((schema, "items"))
    for holder, key in holders:
        child: JsonSchemaValue = holder[key]
        if _is_value(child, resolve):
            yield holder, key
        yield from _places(child, resolve, within)


def _is_value(schema: JsonSchemaValue, resolve: Resolve) -> bool:
    """Return whether the schema takes a text, a number, a flag or a file."""
    schema = resolve(schema)
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return (
        schema.get("type") in _SCALARS
        or "enum" in schema
        or "const" in schema
        or bool(_FILE & schema.get("properties", {}).keys())
        or any(_is_value(each, resolve) for each in parts)
    )
