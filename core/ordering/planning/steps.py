"""Planning of steps: paid ones at their models, media steps by their operations, and approvals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.domain.ids import AssetId
from core.domain.money import NanoUsd
from core.domain.plans import DecisionKind, OperationKind, Plan, PlanType, StepOutput
from core.media.operations.port import Expected, Operation
from core.media.operations.registry import OPERATIONS
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError, StepCost
from core.ordering.planning.candidates import with_candidates
from core.ordering.planning.nodes.approvals import ApprovalPlanner, with_rest
from core.ordering.planning.nodes.operations import OperationPlanner
from core.ordering.planning.nodes.planned import (
    NO_ASSETS,
    Files,
    KnownFile,
    PlannedStep,
    longest_path,
    output_number,
)
from core.ordering.planning.nodes.purchases import (
    Purchase,
    PurchasePlanner,
    no_model,
    with_next,
)
from core.ordering.planning.step_requests import StepRequest, end_steps, in_order, unknown_step
from core.ordering.planning.unused import unused_steps
from core.platform.temporal.policies import STORING_SLACK
from core.providers.registry import Providers
from core.store.executions.executions import NewStep

__all__ = ["NO_ASSETS", "KnownFile", "OutputRequest", "PricedPlan", "no_model", "plan_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRequest:
    """A further result of a plan. output: its name; None for the number. field: its path."""

    name: str
    step: str
    output: str | None = None
    number: int = 0
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedPlan:
    """A plan with the parameters and the quote of each step.

    made: what the first output of each step will be, by the step's name. eta_seconds: how long the
    plan usually takes. warnings: what is valid, and probably not meant.
    """

    plan: Plan
    steps: tuple[NewStep, ...]
    deadline_seconds: int
    made: Mapping[str, Expected]
    eta_seconds: int
    warnings: tuple[FieldError, ...] = ()

    @property
    def low_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(item.quote.low_nano_usd for item in self.steps))

    @property
    def expected_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(item.quote.expected_nano_usd for item in self.steps))

    @property
    def worst_nano_usd(self) -> NanoUsd:
        """The sum that is held when the order is accepted."""
        return NanoUsd(sum(item.quote.worst_nano_usd for item in self.steps))

    @property
    def worst_costs(self) -> tuple[StepCost, ...]:
        return tuple(
            StepCost(step=item.step, nano_usd=item.quote.worst_nano_usd)
            for item in self.steps
            if not item.step.is_free
        )


def plan_steps(
    catalogue: Providers,
    requests: Sequence[StepRequest],
    *,
    plan_type: PlanType,
    result_step: str | None,
    result_field: str = "result",
    outputs: Sequence[OutputRequest] = (),
    assets: Mapping[AssetId, KnownFile] = NO_ASSETS,
    operations: Mapping[OperationKind, Operation[Any]] = OPERATIONS,
) -> PricedPlan:
    """Return the plan of these steps with parameters, prices and deadline.

    result_step: None for the only step that is neither used by another step nor named by an output.
    result_field: its name in errors. assets: the user's assets that the steps name; one that is
    missing is an error. Raises InvalidFieldsError that names every field that is not valid.
    """
    expanded = with_candidates(requests)
    ordered, errors = in_order(expanded.requests)
    errors += expanded.errors
    files = Files(assets=assets)
    purchases: dict[str, Purchase] = {}
    purchase_planner = PurchasePlanner(catalogue=catalogue, files=files, errors=errors)
    operation_planner = OperationPlanner(operations=operations, files=files, errors=errors)
    approval_planner = ApprovalPlanner(files=files, errors=errors)
    for request in ordered:
        if isinstance(request.kind, OperationKind):
            planned = operation_planner.plan(request, request.kind)
        elif isinstance(request.kind, DecisionKind):
            planned = approval_planner.plan(request)
        else:
            purchase = purchase_planner.plan(request, request.kind)
            planned = purchase.planned if purchase is not None else None
            if purchase is not None:
                purchases[request.name] = purchase
        if planned is not None:
            files.planned[request.name] = planned
    further = _outputs(outputs, files.planned, ordered, errors)
    result = _result(result_step, outputs, ordered)
    if result is None:
        names = [request.name for request in ordered]
        allowed = end_steps(ordered) if result_step is None else names
        detail = "must be the name of a step"
        errors.append(FieldError(field=result_field, detail=detail, allowed=allowed))
    warnings: list[FieldError] = []
    if result is not None and not errors:  # a wrong reference can be why a step is not used
        results = frozenset({result, *(output.step for output in outputs)})
        for is_paid, error in unused_steps(ordered, files.planned, results):
            (errors if is_paid else warnings).append(error)
    if errors or result is None:
        raise InvalidFieldsError(*_without_repeats(errors))
    priced = _priced(plan_type, result, further, list(files.planned.values()), purchases)
    return replace(priced, warnings=tuple(warnings))


def _without_repeats(errors: Sequence[FieldError]) -> list[FieldError]:
    """Return the errors, of which all candidates of a step have the same."""
    return [error for place, error in enumerate(errors) if error not in errors[:place]]


def _result(
    name: str | None, outputs: Sequence[OutputRequest], ordered: Sequence[StepRequest]
) -> str | None:
    """Return the name of the result step; None: there is no such step, or several may be meant."""
    if name is not None:
        return name if any(request.name == name for request in ordered) else None
    named = {output.step for output in outputs}
    ends = end_steps(ordered)
    others = [end for end in ends if end not in named] or ends
    return others[0] if len(others) == 1 else None


def _outputs(
    requested: Sequence[OutputRequest],
    planned: Mapping[str, PlannedStep],
    ordered: Sequence[StepRequest],
    errors: list[FieldError],
) -> dict[str, StepOutput]:
    """Return the further results by name."""
    names = [request.name for request in ordered]
    outputs: dict[str, StepOutput] = {}
    for item in requested:
        maker = planned.get(item.step)
        if item.step not in names:
            errors.append(
                FieldError(
                    field=item.field,
                    detail=unknown_step(item.step, names),
                    allowed=sorted(names),
                    code=FaultCode.UNKNOWN_STEP,
                )
            )
        elif maker is None:
            continue  # that step has an error of its own
        elif (number := output_number(maker, item.output, item.number)) is not None:
            outputs[item.name] = StepOutput(step=item.step, output=number)
        else:
            errors.append(
                FieldError(
                    field=item.field,
                    detail=f"names an output that step {item.step!r} does not have",
                    allowed=[output.name for output in maker.outputs],
                    code=FaultCode.UNKNOWN_OUTPUT,
                )
            )
    return outputs


def _priced(
    plan_type: PlanType,
    result: str,
    outputs: Mapping[str, StepOutput],
    planned: Sequence[PlannedStep],
    purchases: Mapping[str, Purchase],
) -> PricedPlan:
    """Return the plan of steps without errors."""
    seconds = {step.name: step.longest_seconds for step in planned}
    longest = longest_path(planned, seconds)
    deadline_seconds = longest + int(STORING_SLACK.total_seconds())
    results = frozenset({result, *(output.step for output in outputs.values())})
    steps: list[NewStep] = []
    for each in planned:
        if each.new is None:
            raise ValueError(f"the step {each.name!r} has neither a price nor an error")
        purchase = purchases.get(each.name)
        stored_with_next = purchase is not None and with_next(
            purchase, purchases, planned, results=results, deadline_seconds=deadline_seconds
        )
        step = replace(each.new.step, stored_with_next=stored_with_next)
        new = replace(each.new, step=step)
        steps.append(with_rest(new, planned, seconds) if step.is_approval else new)
    usual = {new.step.name: new.step.usual_seconds for new in steps}
    return PricedPlan(
        plan=Plan(
            type=plan_type,
            steps=tuple(new.step for new in steps),
            result_step=result,
            outputs=outputs,
        ),
        steps=tuple(steps),
        deadline_seconds=deadline_seconds,
        made={step.name: step.expected[0] for step in planned},
        eta_seconds=longest_path(planned, usual),
    )
