"""The values of a foreign plan with their places in the request, and what an import reports."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, cast

from core.ordering.errors import FaultCode

MAX_DEPTH: Final = 40
"""Of values inside each other. A plan of the Synthome SDK has fewer than ten levels."""


class NoteCode(StrEnum):
    """What the import changed or left out."""

    KEY_REFUSED = "key_refused"
    IGNORED = "ignored"
    CHANGED = "changed"
    RENAMED = "renamed"
    ORDER_KEPT = "order_kept"
    SOURCE_CHOSEN = "source_chosen"
    STEP_ADDED = "step_added"
    OUTPUT_KEPT = "output_kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A change that the user should read. pointer: a JSON Pointer into the request."""

    pointer: str
    code: NoteCode
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportFault:
    """A reason why a plan is not imported. pointer: a JSON Pointer into the request."""

    pointer: str
    detail: str
    code: FaultCode = FaultCode.INVALID
    allowed: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its JSON Pointer."""

    value: object
    pointer: str

    def members(self) -> "dict[str, Node]":
        """Return the members of an object by name, without those that are null."""
        if not isinstance(self.value, Mapping):
            return {}
        return {
            name: Node(value, child_pointer(self.pointer, name))
            for name, value in cast("Mapping[str, object]", self.value).items()
            if value is not None
        }

    def entries(self) -> "list[Node]":
        """Return the entries of a list; a value that is no list is its only entry."""
        if not isinstance(self.value, list):
            return [self]
        return [
            Node(value, child_pointer(self.pointer, str(place)))
            for place, value in enumerate(cast("list[object]", self.value))
        ]


def child_pointer(pointer: str, name: str) -> str:
    """Return the JSON Pointer of a member or an entry (RFC 6901)."""
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


@dataclass(slots=True)
class Report:
    """The reasons against an import, and its notes."""

    faults: list[ImportFault] = field(default_factory=list[ImportFault])
    notes: list[Note] = field(default_factory=list[Note])

    def refuse(
        self,
        pointer: str,
        detail: str,
        code: FaultCode = FaultCode.INVALID,
        allowed: Sequence[object] = (),
    ) -> None:
        fault = ImportFault(pointer=pointer, detail=detail, code=code, allowed=tuple(allowed))
        self.faults.append(fault)

    def note(self, pointer: str, code: NoteCode, detail: str) -> None:
        self.notes.append(Note(pointer=pointer, code=code, detail=detail))


class Fields:
    """The members of an object. Each has to be taken; what is left is refused."""

    def __init__(self, node: Node, report: Report) -> None:
        self.pointer = node.pointer
        self._left = node.members()
        self._report = report
        if not isinstance(node.value, Mapping):
            report.refuse(node.pointer, "must be an object")

    def take(self, *names: str) -> Node | None:
        """Return the value under the first of these names, all of which have the same meaning."""
        taken = [(name, self._left.pop(name)) for name in names if name in self._left]
        if not taken:
            return None
        (first, node), *others = taken
        for _, other in others:
            if other.value != node.value:
                self._report.refuse(
                    other.pointer, f"differs from {first}, which has the same meaning"
                )
        return node

    def ignore(self, name: str, reason: str, *, when: Collection[object] | None = None) -> None:
        """Leave a member out and note it. when: only for these values; others stay."""
        node = self._left.get(name)
        if node is None or (when is not None and node.value not in when):
            return
        del self._left[name]
        self._report.note(node.pointer, NoteCode.IGNORED, f"is left out: {reason}")

    def rest(self) -> Iterator[tuple[str, Node]]:
        """Yield the members that are left, and leave none."""
        left, self._left = self._left, {}
        yield from left.items()

    def refuse_rest(self, allowed: Sequence[str]) -> None:
        """Report the members that are left."""
        for _, node in self.rest():
            self._report.refuse(
                node.pointer,
                f"is not imported; allowed here: {', '.join(allowed)}",
                FaultCode.UNKNOWN_FIELD,
                allowed,
            )


_SECRET_NAMES: Final = frozenset(
    {"apikey", "providerapikeys", "webhooksecret", "hftoken", "apitoken", "authorization"}
)


def without_secrets(node: Node, report: Report, depth: int = 0) -> object:
    """Return a value without its API keys and other secrets, each of which is noted.

    Only the names of the members decide, so the value of a secret is not read.
    """
    if depth > MAX_DEPTH:
        report.refuse(node.pointer, f"is nested too deeply (limit {MAX_DEPTH})")
        return None
    if isinstance(node.value, list):
        return [without_secrets(entry, report, depth + 1) for entry in node.entries()]
    if not isinstance(node.value, Mapping):
        return node.value
    kept: dict[str, object] = {}
    for name, member in node.members().items():
        if name.lower().replace("_", "").replace("-", "") in _SECRET_NAMES:
            report.note(
                member.pointer,
                NoteCode.KEY_REFUSED,
                "is not taken, stored or logged. Store keys of your own at a provider with "
                "PUT /api/provider-keys/{provider}, and webhook secrets with POST /api/endpoints",
            )
        else:
            kept[name] = without_secrets(member, report, depth + 1)
    return kept
