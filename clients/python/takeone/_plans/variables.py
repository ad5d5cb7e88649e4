"""Variables of a plan: values that a run or a template gives."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from takeone._calls.values import Media, camel, media

VariableType = Literal["text", "number", "integer", "boolean", "image", "video", "audio"]
FILES: Final = frozenset(("image", "video", "audio"))
PLACEHOLDER: Final = re.compile(r"\{\{([a-z][A-Za-z0-9]*)\}\}")
NAME: Final = re.compile(r"[a-z][A-Za-z0-9]{0,39}")


@dataclass(frozen=True)
class Variable:
    """A declared variable. In a plan it stands for its value."""

    name: str
    declaration: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Fill:
    """A text with the values of variables in the place of each `{{name}}`."""

    text: str
    variables: Sequence[Variable]


Text = str | Variable | Fill
Number = float | Variable
Whole = int | Variable
Flag = bool | Variable


def variable(
    name: str,
    type: VariableType = "text",
    *,
    default: str | float | bool | Media | None = None,
    description: str | None = None,
    choices: Sequence[str | float] | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Variable:
    """Declare a variable, and return what stands for its value in steps.

    name: letters and digits, for example `subject`. Without a default, each run needs a value. A
    template needs limits: of a text `max_length` or `choices`, of a number `minimum` and `maximum`
    or `choices`.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name of a variable: up to 40 letters and digits are allowed, and "
            "the first is a lower-case letter."
        )
    members: Mapping[str, object] = {
        "type": type,
        "default": media(default) if type in FILES and default is not None else default,  # type: ignore[arg-type]
        "description": description,
        "choices": None if choices is None else list(choices),
        "min_length": min_length,
        "max_length": max_length,
        "minimum": minimum,
        "maximum": maximum,
    }
    return Variable(
        name, {camel(key): value for key, value in members.items() if value is not None}
    )


def fill(text: str, *variables: Variable) -> Fill:
    """Return a text in which each `{{name}}` is replaced by the value of that variable.

    For example `fill("{{subject}} at dusk", subject)`.
    """
    used, named = set(PLACEHOLDER.findall(text)), {each.name for each in variables}
    if used != named:
        raise ValueError(
            f"The text names {_listed(used)}, and the variables are {_listed(named)}; they must be "
            "the same."
        )
    return Fill(text, variables)


def declarations(variables: Iterator[Variable]) -> Mapping[str, Any]:
    """Return the declarations of variables by name. Two of one name must be the same."""
    declared: dict[str, Any] = {}
    for each in variables:
        if declared.setdefault(each.name, each.declaration) != each.declaration:
            raise ValueError(f"The variable {each.name} is declared twice, in different ways.")
    return declared


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
