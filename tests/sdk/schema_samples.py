"""Answers made of the schemas of the OpenAPI document."""

from typing import Any, cast

Schema = dict[str, Any]
TEXT = "1"
"""Reads as text, as an amount of money and as a time."""
DAY = "2026-11-29"
NEW = "a-new-value"


class Samples:
    """Values of schemas.

    full: nullable members have a value. newer: of a later service, with further members and values
    of enumerations.
    """

    def __init__(self, document: Schema, *, full: bool = True, newer: bool = False) -> None:
        self._schemas: dict[str, Schema] = document["components"]["schemas"]
        self._full = full
        self._newer = newer

    def of(self, schema: Schema) -> Any:
        """Return a value of a schema."""
        if "$ref" in schema:
            return self.of(self._schemas[schema["$ref"].rpartition("/")[2]])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return NEW if self._newer else schema["enum"][0]
        if "anyOf" in schema:
            return self._any_of(schema["anyOf"])
        if schema.get("type") == "object" or "properties" in schema:
            return self._object(schema)
        return self._plain(schema)

    def _any_of(self, choices: list[Schema]) -> Any:
        nullable = {"type": "null"} in choices
        if nullable and not self._full:
            return None
        return self.of(next(choice for choice in choices if choice != {"type": "null"}))

    def _object(self, schema: Schema) -> dict[str, Any]:
        properties = cast("dict[str, Schema]", schema.get("properties", {}))
        required = schema.get("required", [])
        made = {
            name: self.of(member)
            for name, member in properties.items()
            if self._full or name in required
        }
        return {**made, "aNewMember": {"a": 1}} if self._newer and properties else made

    def _plain(self, schema: Schema) -> Any:
        match schema.get("type"):
            case "array":
                return [self.of(schema["items"])] if self._full else []
            case "integer":
                return 1
            case "number":
                return 1.5
            case "boolean":
                return True
            case "string":
                return DAY if schema.get("format") == "date" else TEXT
            case _:
                return None
