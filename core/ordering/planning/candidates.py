"""Steps with a count: each is planned as so many candidates, of which an approval chooses one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from core.domain.plans import MAX_STEPS, DecisionKind, Scalar, Source, StepOutput
from core.ordering.errors import FaultCode, FieldError
from core.ordering.planning.step_requests import StepRequest

SEED: Final = "seed"
"""The parameter that has another value for each candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expanded:
    """Steps without counts, and what is not valid about their counts."""

    requests: Sequence[StepRequest]
    errors: Sequence[FieldError]


def with_candidates(requests: Sequence[StepRequest]) -> Expanded:
    """Return the steps with their candidates: `clip-1`, `clip-2` and so on for a step `clip`.

    A step with a count is an option of an approval step, which then has all candidates as options,
    and `needs` of other steps wait for all of them.
    """
    counted = {
        request.name: tuple(f"{request.name}-{number}" for number in range(1, request.count + 1))
        for request in requests
        if request.count > 1
    }
    if not counted:
        return Expanded(requests=requests, errors=())
    errors: list[FieldError] = []
    expanded: list[StepRequest] = []
    for request in requests:
        linked = _with_links(request, counted, errors)
        names = counted.get(request.name)
        expanded += [linked] if names is None else _candidates(linked, names)
    if len(expanded) > MAX_STEPS:
        detail = f"are {len(expanded)} steps with all candidates; a plan has at most {MAX_STEPS}"
        errors.append(FieldError(field="plan/steps", detail=detail, code=FaultCode.TOO_MANY_STEPS))
    return Expanded(requests=expanded, errors=errors)


def _candidates(request: StepRequest, names: Sequence[str]) -> list[StepRequest]:
    return [
        replace(
            request,
            name=name,
            count=1,
            # Equal purchases would be one: without a seed, each candidate is to be another one.
            reuse=request.reuse and SEED in request.parameters.values,
            parameters=replace(
                request.parameters, values=_with_seed(request.parameters.values, number)
            ),
        )
        for number, name in enumerate(names)
    ]


def _with_seed(values: Mapping[str, Scalar], number: int) -> Mapping[str, Scalar]:
    """Return the values with a seed of their own: the same seed gives the same file."""
    seed = values.get(SEED)
    return values if not isinstance(seed, int) else {**values, SEED: seed + number}


def _with_links(
    request: StepRequest, counted: Mapping[str, Sequence[str]], errors: list[FieldError]
) -> StepRequest:
    """Return a step whose references name candidates."""
    sources: dict[str, Source] = {}
    for name, source in request.parameters.sources.items():
        candidates = counted.get(source.step) if isinstance(source, StepOutput) else None
        if candidates is None:
            sources[name] = source
        elif request.kind is DecisionKind.APPROVAL:
            sources |= {
                f"{name}/{number}": StepOutput(step=candidate)
                for number, candidate in enumerate(candidates)
            }
        else:
            sources[name] = replace(source, step=candidates[0])  # the error below suffices
            errors.append(_uncertain(request, name, candidates))
    needs = [name for need in request.needs for name in counted.get(need, (need,))]
    return replace(
        request, needs=tuple(needs), parameters=replace(request.parameters, sources=sources)
    )


def _uncertain(request: StepRequest, name: str, candidates: Sequence[str]) -> FieldError:
    step = candidates[0].rpartition("-")[0]
    return request.error(
        name,
        f"names the step {step!r}, which has a count. Name an approval step that chooses one of "
        f"its candidates, or one of them: {candidates[0]!r} to {candidates[-1]!r}",
        candidates,
        code=FaultCode.UNKNOWN_STEP,
    )
