"""The plan of a composition: its nodes in order, with names, as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from takeone._calls.values import MEDIA_NAMES, Media, camel, media
from takeone._plans.nodes import Node, Output
from takeone._plans.variables import Fill, Variable, declarations
from takeone.models.assets import Asset
from takeone.models.executions import ResultFile

VERSION: Final = 1
FILE_NAMES: Final = MEDIA_NAMES | {"media", "words"}
"""Parameters where a text is an address."""


class Composition:
    """Steps that make a film. The last one makes the result.

    Further steps that no other step uses are outputs under their own names. outputs: further
    results by names of your own.
    """

    def __init__(self, nodes: Sequence[Node], outputs: Mapping[str, Node | Output]) -> None:
        if not nodes:
            raise ValueError("A composition needs at least one step.")
        self._result = nodes[-1]
        self._outputs = {name: _as_output(file) for name, file in outputs.items()}
        named = [output.node for output in self._outputs.values()]
        self._order = _in_order([*nodes, *named])
        self._names = _names(self._order)
        self._variables = declarations(
            variable for node in self._order for variable in _variables_in(node.params)
        )
        used = {id(need) for node in self._order for need in _needs(node)}
        for node in nodes[:-1]:
            if id(node) not in used and node not in named:
                self._outputs[self._names[node]] = Output(node)

    def to_plan(self) -> dict[str, Any]:
        """Return the plan as JSON: the `plan` of `POST /api/executions`."""
        plan: dict[str, Any] = {
            "version": VERSION,
            "steps": [self._step(node) for node in self._order],
            "result": self._names[self._result],
        }
        if self._variables:
            plan["variables"] = dict(self._variables)
        if self._outputs:
            plan["outputs"] = {
                name: self._reference(output) for name, output in self._outputs.items()
            }
        return plan

    def _step(self, node: Node) -> dict[str, Any]:
        made: dict[str, Any] = {"name": self._names[node], "kind": node.kind}
        if len(node.models) == 1:
            made["model"] = node.models[0]
        elif node.models:
            made["models"] = list(node.models)
        if node.provider is not None:
            made["provider"] = node.provider
        if node.needs:
            made["needs"] = [self._names[need] for need in node.needs]
        if node.on_failure != "stop":
            made["onFailure"] = node.on_failure
        if node.deadline_seconds is not None:
            made["deadlineSeconds"] = node.deadline_seconds
        if node.reuse is not None:
            made["reuse"] = node.reuse
        if node.count is not None:
            made["count"] = node.count
        made["params"] = self._object(node.params)
        return made

    def _object(self, values: Mapping[str, object]) -> dict[str, Any]:
        return {
            camel(name): self._value(camel(name), value)
            for name, value in values.items()
            if value is not None
        }

    def _value(self, name: str, value: object) -> Any:
        if isinstance(value, Node | Output):
            return self._reference(_as_output(value))
        if isinstance(value, Variable):
            return {"var": value.name}
        if isinstance(value, Fill):
            return {"fill": value.text}
        if isinstance(value, Asset | ResultFile) or (isinstance(value, str) and name in FILE_NAMES):
            return dict(media(cast("Media", value)))
        if isinstance(value, Mapping):
            return self._object(cast("Mapping[str, object]", value))
        if isinstance(value, list | tuple):
            return [self._value("", item) for item in cast("Sequence[object]", value)]
        return value

    def _reference(self, output: Output) -> dict[str, Any]:
        name = self._names[output.node]
        candidate = "" if output.candidate is None else f"-{output.candidate}"
        made: dict[str, Any] = {"step": f"{name}{candidate}"}
        if output.name is not None:
            made["output"] = output.name
        if output.optional:
            made["optional"] = True
        return made


def _as_output(file: Node | Output) -> Output:
    return file if isinstance(file, Output) else Output(file)


def _needs(node: Node) -> Iterator[Node]:
    """Yield the nodes that a node uses or waits for."""
    yield from node.needs
    for value in _leaves(node.params):
        if isinstance(value, Node | Output):
            yield _as_output(value).node


def _variables_in(params: object) -> Iterator[Variable]:
    for value in _leaves(params):
        if isinstance(value, Variable):
            yield value
        elif isinstance(value, Fill):
            yield from value.variables


def _leaves(value: object) -> Iterator[object]:
    """Yield the values within mappings and lists at any depth."""
    if isinstance(value, Mapping):
        for item in cast("Mapping[str, object]", value).values():
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            yield from _leaves(item)
    else:
        yield value


def _in_order(nodes: Sequence[Node]) -> Sequence[Node]:
    """Return the nodes and all that they use, each once, after those that it uses."""
    order: dict[Node, None] = {}

    def add(node: Node) -> None:
        if node not in order:
            for need in _needs(node):
                add(need)
            order[node] = None

    for node in nodes:
        add(node)
    return list(order)


def _names(order: Sequence[Node]) -> Mapping[Node, str]:
    """Return a name for each node: its own, or its kind and a number."""
    own = [node.name for node in order if node.name is not None]
    if twice := {name for name in own if own.count(name) > 1}:
        raise ValueError(f"Two steps have the same name: {', '.join(sorted(twice))}.")
    taken = {*own, *(name for node in order for name in _candidates(node))}
    names: dict[Node, str] = {}
    numbers: dict[str, int] = {}
    for node in order:
        name = node.name
        while name is None or (name in taken and node.name is None):
            numbers[node.kind] = numbers.get(node.kind, 0) + 1
            name = f"{node.kind}-{numbers[node.kind]}"
        names[node] = name
    return names


def _candidates(node: Node) -> Iterator[str]:
    """Yield the names that the service gives to the candidates of a named step."""
    if node.name is not None:
        for number in range(1, (node.count or 0) + 1):
            yield f"{node.name}-{number}"
