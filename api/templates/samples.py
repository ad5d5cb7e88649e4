"""Values with which a template is checked when it is created: one of each kind, and the limits."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from api.orders.variables.declarations import (
    MAX_CHOICES,
    AnyVariable,
    BooleanVariable,
    FileVariable,
    IntegerVariable,
    NumberVariable,
    TextVariable,
    Value,
    plain,
)
from core.ordering.errors import FaultCode, FieldError

MAX_SAMPLES: Final = 100
"""The values of all variables together that one template may have to be checked with."""
SHOWN: Final = 60
_FILE_NAMES: Final = {"image": "image.png", "video": "video.mp4", "audio": "audio.mp3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A value of one variable. field: of the declaration that allows it; empty: the variable."""

    name: str
    field: str
    value: Value

    @property
    def place(self) -> str:
        return f"plan/variables/{self.name}" + (f"/{self.field}" if self.field else "")

    @property
    def shown(self) -> str:
        """Return the value, or the length of a long text, for a sentence."""
        if isinstance(self.value, Mapping):
            return "any file"
        if isinstance(self.value, str) and not self.field.startswith("choices"):
            return f"a text of {len(self.value)} characters"
        text = json.dumps(self.value, ensure_ascii=False)
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def usual_values(
    variables: Mapping[str, AnyVariable], defaults: frozenset[str]
) -> dict[str, Value]:
    """Return a usual value for each variable without a default.

    defaults: the variables that have one.
    """
    return {
        name: value
        for name, variable in variables.items()
        if name not in defaults and (value := _usual(variable)) is not None
    }


def _usual(variable: AnyVariable) -> Value | None:
    """Return a usual value; None: the declaration has no limits."""
    match variable:
        case BooleanVariable():
            return False
        case FileVariable():
            return _any_file(variable)
        case TextVariable(choices=None, max_length=None):
            return None
        case TextVariable(choices=None):
            return "x" * ((variable.least + (variable.max_length or 0) + 1) // 2)
        case NumberVariable(choices=None) | IntegerVariable(choices=None):
            return variable.minimum
        case _:
            return plain(variable.choices[0]) if variable.choices else None


def limit_faults(variables: Mapping[str, AnyVariable]) -> Iterator[FieldError]:
    """Yield an error for each variable whose values cannot all be checked and priced."""
    for name, variable in variables.items():
        needed = ""
        match variable:
            case TextVariable(choices=None, max_length=None):
                needed = "maxLength, or choices"
            case NumberVariable(choices=None) | IntegerVariable(choices=None) if (
                variable.minimum is None or variable.maximum is None
            ):
                needed = "minimum and maximum, or choices"
            case _:
                continue
        yield FieldError(
            field=f"plan/variables/{name}",
            detail=f"needs {needed}, so that every value can be checked and priced",
            code=FaultCode.MISSING,
        )
    total = sum(1 for _ in samples(variables))
    if total > MAX_SAMPLES:
        yield FieldError(
            field="plan/variables",
            detail=f"have {total} values to check; at most {MAX_SAMPLES} are allowed. Declare fewer "
            "choices",
            code=FaultCode.OUT_OF_RANGE,
        )


def samples(variables: Mapping[str, AnyVariable]) -> Iterator[Sample]:
    """Yield every choice, and the values at the limits."""
    for name, variable in variables.items():
        for field, value in _limits(variable):
            yield Sample(name=name, field=field, value=value)


def _limits(variable: AnyVariable) -> Iterator[tuple[str, Value]]:
    match variable:
        case BooleanVariable():
            yield from (("", False), ("", True))
        case FileVariable():
            yield "", _any_file(variable)
        case TextVariable(choices=None):
            if variable.max_length is not None:
                # Digits are spoken for the longest time.
                yield "maxLength", "0" * variable.max_length
                yield "minLength", "x" * variable.least
        case IntegerVariable(choices=None, minimum=int(low), maximum=int(high)) if (
            high - low < MAX_CHOICES
        ):
            yield from (("", value) for value in range(low, high + 1))
        case NumberVariable(choices=None) | IntegerVariable(choices=None):
            limits = ("minimum", variable.minimum), ("maximum", variable.maximum)
            yield from ((field, value) for field, value in limits if value is not None)
        case _:
            for place, choice in enumerate(variable.choices or ()):
                yield f"choices/{place}", plain(choice)


def _any_file(variable: FileVariable) -> Value:
    """Return a file of which nothing but its kind is known. It is never fetched."""
    return {"url": f"https://example.com/{_FILE_NAMES[variable.type]}"}
