"""Steps of a plan while they are imported, with the place that each of their fields came from."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from core.domain.media.content import MediaKind
from core.ordering.importing.reading import Node

MAX_NAME: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of the foreign plan, or an operation inside another job's parameters.

    name: of its step. makes: None if its type is not imported. waits_for: ids of jobs. inputs:
    operations whose file it uses where its parameters name no file. depth: how many operations it
    is inside of.
    """

    name: str
    type: str
    pointer: str
    params: Node
    makes: MediaKind | None
    waits_for: tuple[Node, ...] = ()
    inputs: tuple[Node, ...] = ()
    depth: int = 0


@dataclass(slots=True, kw_only=True)
class Draft:
    """A step. fields: JSON Pointers into the request by the step's own paths (`params/image`).

    reads: the steps whose files it uses.
    """

    job: Job
    name: str
    kind: str
    makes: MediaKind
    params: dict[str, object] = field(default_factory=dict[str, object])
    model: str | None = None
    provider: str | None = None
    needs: list[str] = field(default_factory=list[str])
    reads: set[str] = field(default_factory=set[str])
    fields: dict[str, str] = field(default_factory=dict[str, str])

    def put(self, name: str, value: object, node: Node) -> None:
        """Set a parameter."""
        self.params[name] = value
        self.fields[f"params/{name}"] = node.pointer

    def to_json(self) -> dict[str, object]:
        """Return the step in its published form."""
        plain: dict[str, object] = {"name": self.name, "kind": self.kind}
        if self.model is not None:
            plain["model"] = self.model
        if self.provider is not None:
            plain["provider"] = self.provider
        plain["params"] = self.params
        if self.needs:
            plain["needs"] = self.needs
        return plain

    def pointer_of(self, path: str) -> str:
        """Return the place in the request that a field of the step came from."""
        parts = path.split("/") if path else []
        while parts:
            pointer = self.fields.get("/".join(parts))
            if pointer is not None:
                return pointer
            parts.pop()
        return self.job.pointer


def step_name(text: str, taken: Collection[str]) -> str:
    """Return a name that a step can have, different from those that are taken."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if not plain or not plain[0].isalpha():
        plain = f"step-{plain}".rstrip("-")
    name = plain[:MAX_NAME].rstrip("-")
    number = 1
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = plain[: MAX_NAME - len(suffix)].rstrip("-") + suffix
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlaces:
    """Where the fields of a converted plan came from."""

    drafts: tuple[Draft, ...]
    jobs: str
    outputs: Mapping[str, str]

    def pointer_of(self, path: str) -> str:
        """Return the JSON Pointer into the request. path: of a field, such as `plan/result`."""
        match path.split("/"):
            case ["plan", "steps", place, *rest] if place.isdigit():
                return self.drafts[int(place)].pointer_of("/".join(rest))
            case ["plan", "outputs", name, *_] if name in self.outputs:
                return self.outputs[name]
            case _:
                return self.jobs
