"""Values in the place of a plan's variables: the plan as it is read afterwards, and its errors."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final, cast

from api.orders.variables.declarations import (
    MAX_VARIABLES,
    VARIABLE,
    AnyVariable,
    BooleanVariable,
    FileVariable,
    Value,
    ValueFault,
    declaration_faults,
    read_variable,
)
from core.ordering.errors import FaultCode, FieldError

VAR: Final = "var"
FILL: Final = "fill"
MAX_FILLED: Final = 256 * 1024
"""Characters that values may add to a plan: a body of 64 KB can name one long value often."""
MAX_DEPTH: Final = 32
"""No parameter is nested as deeply."""
MAX_NAME: Final = 40
MAX_FAULTS: Final = 50
_PLACEHOLDER: Final = re.compile(rf"\{{\{{({VARIABLE})\}}\}}")
_CONSTANT: Final = frozenset({"step", "output"})
"""Of a reference: variables do not change which step uses which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledPlan:
    """A plan as JSON with values in the place of its variables.

    variables: the valid declarations. uses: the variables in each field that has one, by its path.
    broken: fields without a usable value, of which nothing else is reported.
    """

    plan: object
    variables: Mapping[str, AnyVariable] = field(default_factory=dict[str, AnyVariable])
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    broken: frozenset[str] = frozenset()
    faults: tuple[FieldError, ...] = ()

    def used_at(self, path: str) -> tuple[str, ...]:
        """Return the variables that make this field, or a field that it is a part of."""
        return next((self.uses[each] for each in _and_parents(path) if each in self.uses), ())

    def is_broken(self, path: str) -> bool:
        return any(each in self.broken for each in _and_parents(path))


def fill_plan(plan: object, values: object) -> FilledPlan:
    """Return the plan with these values, and otherwise with the defaults of its variables.

    plan, values: as they were sent. What is wrong with their form is reported by reading them.
    """
    sent = mapping_of(plan)
    declared, chosen = mapping_of(sent.get("variables")), mapping_of(values)
    if not sent or len(declared) > MAX_VARIABLES:
        return FilledPlan(plan=plan)
    variables = {
        name: variable
        for name, raw in declared.items()
        if (variable := read_variable(raw)) is not None
    }
    walk = _Walk(declared=declared)
    for name, variable in variables.items():
        walk.take(name, variable, mapping_of(declared[name]).get("default"), chosen)
    walk.faults += [
        FieldError(
            field=f"values/{name[:MAX_NAME]}",
            detail=f"is not a variable of the plan{_similar(name, declared)}",
            allowed=sorted(declared),
            code=FaultCode.UNKNOWN_VARIABLE,
        )
        for name in list(chosen)[:MAX_FAULTS]
        if name not in declared
    ]
    filled = walk.steps(sent.get("steps"))
    used = {name for names in walk.uses.values() for name in names}
    walk.faults += [
        FieldError(
            field=f"plan/variables/{name}",
            detail="is not used in the params of any step",
            code=FaultCode.UNUSED_VARIABLE,
        )
        for name in variables
        if name not in used
    ]
    return FilledPlan(
        plan={**sent, "steps": filled} if "steps" in sent else sent,
        variables=variables,
        uses=walk.uses,
        broken=frozenset(walk.broken),
        faults=tuple(walk.faults),
    )


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Copies steps with values in the place of variables.

    declared: every declaration, also invalid ones. not_words: variables that cannot be a part of a
    text. added: characters that values have added.
    """

    declared: Mapping[str, object]
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    not_words: set[str] = field(default_factory=set[str])
    uses: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    broken: set[str] = field(default_factory=set[str])
    faults: list[FieldError] = field(default_factory=list[FieldError])
    added: int = 0

    def take(
        self, name: str, variable: AnyVariable, default: object, chosen: Mapping[str, object]
    ) -> None:
        """Take the value of a variable, if it has a valid one."""
        if isinstance(variable, FileVariable | BooleanVariable):
            self.not_words.add(name)
        faults = list(declaration_faults(variable, default))
        place = f"plan/variables/{name}"
        self.faults += [_error(f"{place}/{each}", fault) for each, fault in faults]
        if name in chosen:
            fault = None if faults else variable.value_fault(chosen[name])
            if fault is not None:
                self.faults.append(_error(f"values/{name}", fault))
            elif not faults:
                self.values[name] = cast("Value", chosen[name])
        elif default is None:
            missing = ValueFault(
                detail=f"is missing: the variable {name!r} has no default", code=FaultCode.MISSING
            )
            self.faults.append(_error(f"values/{name}", missing))
        elif not faults:
            self.values[name] = cast("Value", default)

    def steps(self, raw: object) -> object:
        """Return the steps with values in their params."""
        if not isinstance(raw, list):
            return raw
        steps: list[object] = []
        for place, each in enumerate(cast("list[object]", raw)):
            step = mapping_of(each)
            if "params" in step:
                params = self._filled(step["params"], f"plan/steps/{place}/params", 0)
                steps.append({**step, "params": params})
            else:
                steps.append(each)
        return steps

    def _filled(self, raw: object, path: str, depth: int) -> object:
        if depth > MAX_DEPTH:
            return raw
        if isinstance(raw, list):
            return [
                self._filled(item, f"{path}/{place}", depth + 1)
                for place, item in enumerate(cast("list[object]", raw))
            ]
        if not isinstance(raw, dict):
            return raw
        item = cast("dict[str, object]", raw)
        if depth > 0 and item.keys() == {VAR}:
            return self._value(path, item[VAR])
        if depth > 0 and item.keys() == {FILL}:
            return self._text(path, item[FILL])
        return {
            name: value
            if name in _CONSTANT and depth > 0 and "step" in item
            else self._filled(value, f"{path}/{name}", depth + 1)
            for name, value in item.items()
        }

    def _value(self, path: str, name: object) -> object:
        if not isinstance(name, str):
            return self._break(path, 'must be {"var": name}')
        if name not in self.declared:
            return self._unknown(path, name)
        self.uses[path] = (name,)
        value = self.values.get(name)
        if value is None:
            self.broken.add(path)
            return None
        self._add(path, len(value) if isinstance(value, str) else 0)
        return value

    def _text(self, path: str, text: object) -> object:
        """Return a text with values in the place of its placeholders."""
        if not isinstance(text, str):
            return self._break(path, 'must be {"fill": text}')
        names = tuple(dict.fromkeys(_PLACEHOLDER.findall(text)))
        if "{{" in _PLACEHOLDER.sub(" ", text):
            return self._break(
                path, "has {{ without the name of a variable; a placeholder is {{name}}"
            )
        self.uses[path] = tuple(name for name in names if name in self.declared)
        unknown = next((name for name in names if name not in self.declared), None)
        if unknown is not None:
            return self._unknown(path, unknown)
        other = next((name for name in names if name in self.not_words), None)
        if other is not None:
            return self._break(path, f"takes texts and numbers only, and {other!r} is neither")
        if any(name not in self.values for name in names):
            self.broken.add(path)
            return None
        words = {name: _word(self.values[name]) for name in names}
        self._add(path, sum(len(words[name]) for name in _PLACEHOLDER.findall(text)))
        if path in self.broken:
            return None
        return _PLACEHOLDER.sub(lambda place: words[place[1]], text)

    def _add(self, path: str, characters: int) -> None:
        """Count characters, and refuse the field with which they are too many."""
        before, self.added = self.added, self.added + characters
        if self.added > MAX_FILLED:
            self.broken.add(path)
            if before <= MAX_FILLED:
                self.faults.append(
                    FieldError(
                        field=path,
                        detail=f"the values of all fields together have more than {MAX_FILLED} "
                        "characters",
                        code=FaultCode.TOO_LONG,
                    )
                )

    def _unknown(self, path: str, name: str) -> None:
        self.broken.add(path)
        if len(self.faults) >= MAX_FAULTS:
            return
        name = name[:MAX_NAME]
        self.faults.append(
            FieldError(
                field=path,
                detail=f"names the unknown variable {name!r}{_similar(name, self.declared)}",
                allowed=sorted(self.declared),
                code=FaultCode.UNKNOWN_VARIABLE,
            )
        )

    def _break(self, path: str, detail: str) -> None:
        self.broken.add(path)
        self.faults.append(FieldError(field=path, detail=detail))


def _error(path: str, fault: ValueFault) -> FieldError:
    return FieldError(field=path, detail=fault.detail, allowed=fault.allowed, code=fault.code)


def _word(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _similar(name: str, declared: Mapping[str, object]) -> str:
    similar = get_close_matches(name, sorted(declared), n=1)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def mapping_of(value: object) -> Mapping[str, object]:
    """Return a JSON object as it was sent; empty for anything else."""
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _and_parents(path: str) -> Iterator[str]:
    """Yield a path and those of the fields that it is a part of, the nearest first."""
    while path:
        yield path
        path = path.rpartition("/")[0]
