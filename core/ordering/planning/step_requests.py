"""Steps as they are ordered, and the order in which they can be planned."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from core.domain.plans import AnyKind, OnFailure, Parameters, StepOutput
from core.media.operations.port import OperationParameters
from core.ordering.errors import FaultCode, FieldError

_PUBLIC_NAMES: Final = {"duration_seconds": "duration"}


def public_name(name: str) -> str:
    """Return the name of a parameter in requests, in snake case."""
    return _PUBLIC_NAMES.get(name, name)


def parameter_name(public: str) -> str:
    """Return the parameter that requests name so, in snake case. The inverse of public_name."""
    return next((name for name, word in _PUBLIC_NAMES.items() if word == public), public)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRequest:
    """A step as it was ordered. model: None for the preferred one of the kind that fits.

    models: the model and its alternatives, in the order in which they are tried, instead of model.
    provider: needed where several providers have models of the same name.
    named: the names of the outputs that are used, by parameter; without, the number counts.
    optional: the parameters whose files are left out if their steps fail.
    operation: of a media step, its parameters; their references are among the sources.
    needs: steps to wait for, besides those whose outputs are used. reuse: of a paid step.
    count: how many candidates of the step are planned (see `with_candidates`).
    deadline_seconds: None for that of the model or the operation, which is the longest possible.
    path: in errors, precedes the names of its own fields. field_prefix: precedes those of its
    parameters. model_field: the name of the field with its model.
    """

    name: str
    kind: AnyKind
    parameters: Parameters
    model: str | None = None
    models: tuple[str, ...] = ()
    provider: str | None = None
    named: Mapping[str, str] = field(default_factory=dict[str, str])
    optional: frozenset[str] = frozenset()
    operation: OperationParameters | None = None
    on_failure: OnFailure = OnFailure.STOP
    needs: tuple[str, ...] = ()
    count: int = 1
    reuse: bool = False
    deadline_seconds: int | None = None
    path: str = ""
    field_prefix: str = ""
    model_field: str = "model"

    @property
    def tried(self) -> tuple[str | None, ...]:
        """Return the models in the order in which they are tried."""
        return self.models or (self.model,)

    @property
    def waits_for(self) -> frozenset[str]:
        return self.parameters.steps | frozenset(self.needs)

    @property
    def optional_needs(self) -> frozenset[str]:
        """Return the steps of which only files that may be left out are used."""
        required = {
            source.step
            for name, source in self.parameters.sources.items()
            if isinstance(source, StepOutput) and name not in self.optional
        }
        return self.waits_for - required - frozenset(self.needs)

    def deadline(self, longest: int) -> int:
        """Return the deadline of the step in seconds. longest: of its model or operation."""
        return min(longest, self.deadline_seconds or longest)

    def deadline_errors(self, longest: int) -> Iterator[FieldError]:
        """Yield the error of a deadline that is too long."""
        if self.deadline(longest) != (self.deadline_seconds or longest):
            yield self.own_error(
                "deadline_seconds",
                f"must be at most {longest}, how long the step may take",
                code=FaultCode.OUT_OF_RANGE,
            )

    def own_error(
        self,
        name: str,
        detail: str,
        allowed: Sequence[object] = (),
        code: FaultCode = FaultCode.INVALID,
    ) -> FieldError:
        """Return an error of a field of the step itself."""
        return FieldError(
            field=self.path + name, detail=detail, allowed=list(allowed) or None, code=code
        )

    def error(
        self,
        name: str,
        detail: str,
        allowed: Sequence[object] = (),
        code: FaultCode = FaultCode.INVALID,
    ) -> FieldError:
        """Return an error of a parameter. name: of a media step, a pointer."""
        return FieldError(
            field=self.field_prefix + public_name(name),
            detail=detail,
            allowed=list(allowed) or None,
            code=code,
        )


def in_order(requests: Sequence[StepRequest]) -> tuple[list[StepRequest], list[FieldError]]:
    """Return the steps, each after the steps that it waits for, otherwise as given; and errors.

    A step with the name of an earlier one is left out, and so is an order that does not exist.
    """
    by_name: dict[str, StepRequest] = {}
    errors = [
        request.own_error(
            "name",
            f"is also the name of another step: {request.name!r}",
            code=FaultCode.DUPLICATE_NAME,
        )
        for request in requests
        if by_name.setdefault(request.name, request) is not request
    ]
    for request in requests:
        errors += _unknown_steps(request, by_name.keys())
    ordered: list[StepRequest] = []
    waiting = list(by_name.values())
    while waiting:
        open_ = {request.name: request for request in waiting}
        ready = next((each for each in waiting if open_.keys().isdisjoint(each.waits_for)), None)
        if ready is None:
            circle = _circle(open_)
            ready = open_[circle[0]]
            detail = f"is part of a circle: {' → '.join([*circle, circle[0]])}"
            errors.append(ready.own_error("needs", detail, code=FaultCode.CYCLE))
        ordered.append(ready)
        waiting.remove(ready)
    return ordered, errors


def _circle(waiting: Mapping[str, StepRequest]) -> list[str]:
    """Return steps of which each waits for the next, and the last for the first."""
    path: list[str] = [next(iter(waiting))]
    while True:
        following = next(name for name in waiting if name in waiting[path[-1]].waits_for)
        if following in path:
            circle = path[path.index(following) :]
            first = min(circle, key=list(waiting).index)
            place = circle.index(first)
            return circle[place:] + circle[:place]
        path.append(following)


def end_steps(requests: Sequence[StepRequest]) -> list[str]:
    """Return the steps that no other step waits for."""
    used = frozenset[str]().union(*(request.waits_for for request in requests))
    return [request.name for request in requests if request.name not in used]


def unknown_step(name: str, names: Collection[str]) -> str:
    """Return the sentence about a step that does not exist, with the most similar name."""
    similar = get_close_matches(name, sorted(names), n=1)
    suggestion = f"; did you mean {similar[0]!r}?" if similar else ""
    return f"names the unknown step {name!r}{suggestion}"


def _unknown_steps(request: StepRequest, names: Collection[str]) -> Iterator[FieldError]:
    allowed = sorted(names)
    for name, source in request.parameters.sources.items():
        if isinstance(source, StepOutput) and source.step not in names:
            detail = unknown_step(source.step, names)
            yield request.error(name, detail, allowed, code=FaultCode.UNKNOWN_STEP)
    for need in request.needs:
        if need not in names:
            detail = unknown_step(need, names)
            yield request.own_error("needs", detail, allowed, code=FaultCode.UNKNOWN_STEP)
