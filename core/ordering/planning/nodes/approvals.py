"""Planning of approval steps: what they offer, and the price and the length of what follows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import MEDIA, DecisionKind, OnFailure, Step, StepOutput
from core.media.operations.port import Expected, Output, Seconds
from core.ordering.errors import FaultCode, FieldError
from core.ordering.planning.nodes.operations import FREE
from core.ordering.planning.nodes.planned import Files, PlannedStep, end_times, in_plan_order
from core.ordering.planning.nodes.purchases import ARTICLES
from core.ordering.planning.step_requests import StepRequest
from core.platform.temporal.policies import STORING_SLACK
from core.store.approvals.looks import PARALLEL_SECONDS, REST_EXPECTED, REST_LOW, REST_SECONDS
from core.store.executions.executions import NewStep

EXPIRES_AFTER: Final = "expires_after_seconds"
"""The parameter with the time to decide."""
LAST_LOOK_SECONDS: Final = 60
"""Between the last moment for a decision and the latest end of the step."""
USUAL_SECONDS: Final = 1
"""The weight of the step in the progress: no estimate of a person's time."""
STORING_SECONDS: Final = int(STORING_SLACK.total_seconds())


@dataclass(slots=True, kw_only=True)
class ApprovalPlanner:
    """Plans approval steps, and collects what is not valid."""

    files: Files
    errors: list[FieldError]

    def plan(self, request: StepRequest) -> PlannedStep | None:
        """Return a step that makes what its options have in common; None if that is not known."""
        sources = {
            pointer: source.step
            for pointer, source in request.parameters.sources.items()
            if isinstance(source, StepOutput)
        }
        planned = self.files.planned
        makers = {pointer: planned[name] for pointer, name in sources.items() if name in planned}
        faults = list(_faults(request, makers))
        self.errors += faults
        if faults or makers.keys() != sources.keys():
            return None
        deadline = int(request.parameters.values[EXPIRES_AFTER])
        optional = [
            maker.name
            for maker in makers.values()
            if maker.request.on_failure is OnFailure.CONTINUE and maker.name not in request.needs
        ]
        step = Step(
            name=request.name,
            kind=DecisionKind.APPROVAL,
            provider=MEDIA,
            model=DecisionKind.APPROVAL,
            deadline_seconds=deadline,
            usual_seconds=USUAL_SECONDS,
            needs=in_plan_order(request.waits_for, planned),
            on_failure=request.on_failure,
            optional_needs=in_plan_order(optional, planned),
        )
        outputs, expected = _common(list(makers.values()))
        return PlannedStep(
            request=request,
            outputs=outputs,
            expected=expected,
            longest_seconds=deadline + LAST_LOOK_SECONDS,
            new=NewStep(step=step, parameters=request.parameters, quote=FREE),
        )


def _faults(request: StepRequest, makers: Mapping[str, PlannedStep]) -> Iterator[FieldError]:
    """Yield the options that are named twice or make files of another kind than the first."""
    seen: set[str] = set()
    kind: MediaKind | None = None
    for pointer, maker in makers.items():
        field = "/".join(pointer.split("/")[:2])  # of the step with a count, not of its candidates
        if maker.name in seen:
            yield request.error(field, f"is also another option: {maker.name!r}")
        seen.add(maker.name)
        made = maker.outputs[0].kind
        kind = kind or made
        if made is not kind:
            detail = f"must be {ARTICLES[kind]} like the first option, not {ARTICLES[made]}"
            yield request.error(field, detail, code=FaultCode.WRONG_MEDIA)


def _common(makers: Sequence[PlannedStep]) -> tuple[tuple[Output, ...], tuple[Expected, ...]]:
    """Return the outputs that all options have in the same place, and what is known of them."""
    first, *others = makers
    outputs: list[Output] = []
    expected: list[Expected] = []
    for number, output in enumerate(first.outputs):
        if number and any(other.outputs[number : number + 1] != (output,) for other in others):
            break
        outputs.append(output)
        expected.append(_any_of([maker.expected[number] for maker in makers]))
    return tuple(outputs), tuple(expected)


def _any_of(files: Sequence[Expected]) -> Expected:
    """Return what is known of a file that is one of these."""
    first = files[0]
    lengths = [file.seconds for file in files if file.seconds is not None]
    seconds = None
    if len(lengths) == len(files):
        seconds = Seconds(
            low=min(each.low for each in lengths),
            expected=max(each.expected for each in lengths),
            worst=max(each.worst for each in lengths),
        )
    same_size = len({(file.width, file.height) for file in files}) == 1
    return Expected(
        kind=first.kind,
        seconds=seconds,
        width=first.width if same_size else None,
        height=first.height if same_size else None,
        frame_rate=first.frame_rate if len({file.frame_rate for file in files}) == 1 else None,
        has_sound=first.has_sound if len({file.has_sound for file in files}) == 1 else None,
    )


def with_rest(new: NewStep, planned: Sequence[PlannedStep], seconds: Mapping[str, int]) -> NewStep:
    """Return an approval step with the price and the length of what follows it.

    planned: all steps in their order. seconds: how long each may take.
    """
    after = _after(new.step.name, planned)
    before = _before(new.step, planned)
    rest = [step for step in planned if step.name in after]
    quotes = [step.new.quote for step in rest if step.new is not None]
    others = end_times([step for step in planned if step.name != new.step.name], seconds)
    parallel = [end for name, end in others.items() if name not in before]
    values = {
        **new.parameters.values,
        REST_LOW: sum(quote.low_nano_usd for quote in quotes),
        REST_EXPECTED: sum(quote.expected_nano_usd for quote in quotes),
        REST_SECONDS: max(end_times(rest, seconds).values(), default=0) + STORING_SECONDS,
        PARALLEL_SECONDS: max(parallel, default=0) + STORING_SECONDS,
    }
    return replace(new, parameters=replace(new.parameters, values=values))


def _after(name: str, planned: Sequence[PlannedStep]) -> set[str]:
    """Return the steps that wait for a step, directly or through others."""
    after = {name}
    for step in planned:
        if not after.isdisjoint(step.request.waits_for):
            after.add(step.name)
    return after - {name}


def _before(step: Step, planned: Sequence[PlannedStep]) -> set[str]:
    """Return the steps that a step waits for, directly or through others."""
    before = set(step.needs)
    for other in reversed(planned):
        if other.name in before:
            before |= other.request.waits_for
    return before
