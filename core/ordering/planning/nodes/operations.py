"""Planning of media steps, which run on our own processors and are free of charge."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, cast

from core.domain.media.content import MediaKind
from core.domain.money import NanoUsd
from core.domain.plans import MEDIA, AssetSource, OperationKind, Parameters, Step
from core.domain.prices import Price, Quote, Unit
from core.media.operations.port import Expected, Operation, OperationParameters, Seconds
from core.media.operations.references import references_in
from core.ordering.errors import FaultCode, FieldError
from core.ordering.planning.nodes.planned import (
    TIMED,
    UNKNOWN_SECONDS,
    Files,
    PlannedStep,
    UsedFile,
    in_plan_order,
)
from core.ordering.planning.nodes.purchases import ARTICLES
from core.ordering.planning.nodes.shifts import with_shift
from core.ordering.planning.step_requests import StepRequest
from core.store.executions.executions import NewStep

LONGEST_OUTPUT_SECONDS: Final = 900
START_SECONDS: Final = 2
"""Of a media step that makes a picture or a text."""
SECONDS_PER_SECOND: Final = 1.2
"""Of work for each second of a film of 720p; larger films take longer in proportion."""
DEADLINE_SECONDS: Final = 600
DEADLINE_PER_SECOND: Final = 30
"""A step may be tried three times on a busy machine."""
_PIXELS_720P: Final = 1280 * 720
FREE: Final = Quote(
    price=Price(
        unit=Unit.RUN, unit_nano_usd=Decimal(0), source="this service", read_on="2026-11-29"
    ),
    low_nano_usd=NanoUsd(0),
    expected_nano_usd=NanoUsd(0),
    worst_nano_usd=NanoUsd(0),
)
"""The quote of every media step."""
_GUESSES: Final = (MediaKind.VIDEO, MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.TRANSCRIPT)


@dataclass(slots=True, kw_only=True)
class OperationPlanner:
    """Plans media steps, and collects what is not valid."""

    operations: Mapping[OperationKind, Operation[Any]]
    files: Files
    errors: list[FieldError]

    def plan(self, request: StepRequest, kind: OperationKind) -> PlannedStep | None:
        """Return a step with what it makes; None if that is not known for its errors."""
        operation = self.operations[kind]
        earlier = {name: planned.request for name, planned in self.files.planned.items()}
        parameters = with_shift(request, earlier)
        if parameters is None:
            raise TypeError(f"the media step {request.name!r} has no parameters")
        used, errors = self.files.used_by(request)
        errors += self._wrong_files(request, operation, used)
        errors += _misplaced_options(request)
        self.errors += errors
        if errors or used.keys() != request.parameters.sources.keys():
            return None
        inputs = {
            pointer: file.expected or _assumed(file, operation.accepts(parameters, pointer))
            for pointer, file in used.items()
        }
        faults = operation.faults(parameters, inputs)
        self.errors += [request.error(each.pointer, each.message, each.allowed) for each in faults]
        if faults:
            return None
        outputs = tuple(operation.outputs(parameters, inputs))
        expected = operation.expect(parameters, inputs)
        self.errors += _too_long(request, expected.seconds)
        longest, usual = work_seconds(expected, inputs)
        self.errors += request.deadline_errors(longest)
        deadline = request.deadline(longest)
        step = Step(
            name=request.name,
            kind=kind,
            provider=MEDIA,
            model=kind.value,
            deadline_seconds=deadline,
            usual_seconds=usual,
            needs=in_plan_order(request.waits_for, self.files.planned),
            on_failure=request.on_failure,
            optional_needs=in_plan_order(request.optional_needs, self.files.planned),
            makes=outputs[0].kind,
        )
        sources = {pointer: file.source for pointer, file in used.items()}
        return PlannedStep(
            request=request,
            outputs=outputs,
            expected=(expected, *(Expected(kind=output.kind) for output in outputs[1:])),
            longest_seconds=deadline,
            new=NewStep(
                step=step,
                parameters=Parameters(
                    sources=sources, operation=stored_parameters(parameters, sources)
                ),
                quote=FREE,
            ),
        )

    def _wrong_files(
        self, request: StepRequest, operation: Operation[Any], used: Mapping[str, UsedFile]
    ) -> Iterator[FieldError]:
        for pointer, file in used.items():
            accepted = operation.accepts(request.operation, pointer)
            if file.expected is None or file.expected.kind in accepted:
                continue
            kinds = " or ".join(ARTICLES[kind] for kind in MediaKind if kind in accepted)
            yield request.error(
                pointer,
                f"must be {kinds}, not {ARTICLES[file.expected.kind]}",
                code=FaultCode.WRONG_MEDIA,
            )


def _misplaced_options(request: StepRequest) -> Iterator[FieldError]:
    for pointer in sorted(request.optional):
        if not any(part.isdigit() for part in pointer.split("/")):
            yield request.error(
                pointer, "cannot be optional: only an item of a list can be left out"
            )


def _assumed(file: UsedFile, accepted: frozenset[MediaKind]) -> Expected:
    """Return what is assumed of a file at an address, which a quote does not fetch."""
    likely = file.likely_kind
    kind = likely if likely in accepted else next(each for each in _GUESSES if each in accepted)
    assert kind is not None  # noqa: S101 - for the type checker: None is in no set of kinds
    return Expected(kind=kind, seconds=UNKNOWN_SECONDS if kind in TIMED else None)


def _too_long(request: StepRequest, seconds: Seconds | None) -> Iterator[FieldError]:
    if seconds is not None and seconds.expected > LONGEST_OUTPUT_SECONDS:
        yield FieldError(
            field=f"{request.path}params".rstrip("/"),
            detail=f"would make {seconds.expected:.0f} s; the longest output is "
            f"{LONGEST_OUTPUT_SECONDS} s",
            code=FaultCode.OUTPUT_TOO_LONG,
        )


def work_seconds(made: Expected, inputs: Mapping[str, Expected]) -> tuple[int, int]:
    """Return the deadline and the usual run time of a media step, in seconds."""
    read = [each.seconds for each in inputs.values() if each.seconds is not None]
    if made.seconds is None:  # a picture or a text: the inputs are searched at most once
        worst = max((each.worst for each in read), default=0.0)
        return DEADLINE_SECONDS + math.ceil(worst), START_SECONDS
    size = 1.0
    if made.kind is MediaKind.VIDEO and made.width and made.height:
        size = max(0.25, made.width * made.height / _PIXELS_720P)
    elif made.kind is MediaKind.AUDIO:
        size = 0.05
    usual = START_SECONDS + made.seconds.expected * SECONDS_PER_SECOND * size
    deadline = DEADLINE_PER_SECOND * made.seconds.worst + max(
        (each.worst for each in read), default=0
    )
    return DEADLINE_SECONDS + math.ceil(deadline), math.ceil(usual)


def stored_parameters(
    parameters: OperationParameters, sources: Mapping[str, object]
) -> dict[str, object]:
    """Return the published form of parameters with every default, and assets in place of URLs.

    sources: by the pointers of the references.
    """
    plain: dict[str, object] = parameters.model_dump(mode="json", by_alias=True)
    for pointer, reference in references_in(parameters):
        source = sources[pointer]
        if isinstance(source, AssetSource):
            compact: dict[str, object] = {"asset": source.asset}
        else:
            compact = {"step": reference.step}
            if reference.output is not None:
                compact["output"] = reference.output
        if reference.optional:
            compact["optional"] = True
        _set_at(plain, pointer, compact)
    return plain


def _set_at(plain: dict[str, object], pointer: str, value: object) -> None:
    *parents, last = pointer.split("/")
    target: object = plain
    for part in parents:
        target = _child(target, part)
    if isinstance(target, list):
        cast("list[object]", target)[int(last)] = value
    else:
        cast("dict[str, object]", target)[last] = value


def _child(parent: object, part: str) -> object:
    if isinstance(parent, list):
        return cast("Sequence[object]", parent)[int(part)]
    return cast("Mapping[str, object]", parent)[part]
