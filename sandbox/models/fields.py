"""Input fields, their meaning and the check of an input against them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.settings import Json, as_object

FieldKind = Literal["string", "integer", "number", "boolean", "size", "object", "list"]
Role = Literal[
    "prompt", "voice", "speed", "seed", "duration", "resolution", "aspect_ratio", "size", "count", "format",
    "sound", "scale", "background", "fit", "timestamps", "image", "end_image", "video", "audio",
]  # fmt: skip
"""The meaning of a field to the sandbox; `prompt` is also the text of speech."""
MEDIA_ROLES: tuple[Role, ...] = ("image", "end_image", "video", "audio")
"""The roles whose value is the URL of a file that the vendor fetches, or a list with one URL."""
Rule = Literal["required", "type", "choice", "minimum", "maximum", "length", "items"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """An input field of a model and its constraints.

    parts: the fields of an object. seconds: the shortest and longest file that a URL may name.
    """

    kind: FieldKind
    role: Role | None = None
    required: bool = False
    default: Any = None
    choices: tuple[str | int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    parts: Mapping[str, "Field"] = field(default_factory=dict[str, "Field"])
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An input field that the model rejects. Each vendor has its own error format."""

    field: str
    rule: Rule
    spec: Field
    value: Any = None


def violations(fields: Mapping[str, Field], body: Mapping[str, Any]) -> list[Violation]:
    """Return all violations in an input; unknown fields are ignored, as the vendors do."""
    broken: list[Violation] = []
    for name, spec in fields.items():
        value = body.get(name)
        if value is None:
            if spec.required:
                broken.append(Violation(field=name, rule="required", spec=spec))
            continue
        rule = _broken_rule(spec, value)
        if rule is not None:
            broken.append(Violation(field=name, rule=rule, spec=spec, value=value))
        elif spec.parts:
            broken += [
                Violation(field=f"{name}.{part.field}", rule=part.rule, spec=part.spec, value=part.value)
                for part in violations(spec.parts, value)
            ]  # fmt: skip
    return broken


def _broken_rule(spec: Field, value: Any) -> Rule | None:
    if spec.kind == "size" and isinstance(value, dict):
        return None if _is_size(value) else "type"  # pyright: ignore[reportUnknownArgumentType] # JSON
    if spec.choices:
        return None if value in spec.choices and not isinstance(value, bool) else "choice"
    if not _has_type(spec.kind, value):
        return "type"
    if spec.minimum is not None and value < spec.minimum:
        return "minimum"
    if spec.maximum is not None and value > spec.maximum:
        return "maximum"
    if spec.max_length is not None and len(value) > spec.max_length:
        return "length"
    if spec.kind == "list" and spec.required and not value:
        return "items"
    return None


def _has_type(kind: FieldKind, value: Any) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind == "integer":
        return isinstance(value, int)
    if kind == "number":
        return isinstance(value, int | float) and math.isfinite(value)
    if kind == "object":
        return isinstance(value, dict)
    if kind == "list":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)  # pyright: ignore[reportUnknownVariableType] # JSON
    return isinstance(value, str)


def _is_size(value: dict[Any, Any]) -> bool:
    return all(
        isinstance(value.get(side), int)
        and not isinstance(value.get(side), bool)
        and 16 <= value[side] <= 4096
        for side in ("width", "height")
    )


def by_role(fields: Mapping[str, Field], body: Mapping[str, Any]) -> dict[Role, Any]:
    """Return the value of each field with a role, with defaults filled in."""
    values: dict[Role, Any] = {}
    for name, spec in fields.items():
        value = body.get(name)
        if spec.parts:
            values |= by_role(spec.parts, as_object(value) or {})
        elif spec.role is not None:
            values[spec.role] = spec.default if value is None else value
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A file that an input names; seconds: the shortest and longest that the model takes."""

    field: str
    role: Role
    url: str
    seconds: tuple[float, float] | None


def named_files(fields: Mapping[str, Field], body: Json) -> Iterator[NamedFile]:
    """Yield the files that an input names, each list in its order."""
    for name, spec in fields.items():
        if spec.role not in MEDIA_ROLES:
            continue
        value = body.get(name)
        for url in [value] if isinstance(value, str) else value or []:
            if url:
                yield NamedFile(field=name, role=spec.role, url=url, seconds=spec.seconds)
