"""Plans in request bodies: steps of any kind, and what they use of each other."""

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, JsonValue, field_validator

from api.http.schemas import RequestBody
from api.orders.approval_steps import ApprovalStep
from api.orders.plan_steps import MediaStep, NamedOutput, PaidStep, StepName, step_type
from api.orders.variables.declarations import MAX_VARIABLES, Variable, VariableName
from core.domain.plans import MAX_STEPS, RESULT, DecisionKind, PlanType
from core.media.operations.registry import OPERATIONS
from core.ordering.assets.sources import RequestedSource
from core.ordering.errors import InvalidFieldsError
from core.ordering.planning.requests import StepsRequest
from core.ordering.planning.steps import OutputRequest

MAX_OUTPUTS: Final = 20
PLAN_WITH_VARIABLES: Final[dict[str, JsonValue]] = {
    "version": 1,
    "variables": {
        "subject": {"type": "text", "maxLength": 100},
        "seconds": {"type": "integer", "choices": [5, 10], "default": 5},
    },
    "steps": [
        {
            "name": "clip",
            "kind": "video",
            "params": {
                "prompt": {"fill": "{{subject}} over a harbour at dusk"},
                "duration": {"var": "seconds"},
            },
        }
    ],
}
"""An example for the documentation."""

if TYPE_CHECKING:
    PlanStep = PaidStep | MediaStep | ApprovalStep
else:
    PlanStep = step_type(OPERATIONS, {DecisionKind.APPROVAL: ApprovalStep})


def _only_names(schema: dict[str, Any]) -> None:
    """Allow no other names than those of the pattern."""
    schema["anyOf"][0]["additionalProperties"] = False


class PlanBody(RequestBody):
    """Steps in any order. A step starts when the steps that it uses have completed."""

    version: Literal[1]
    steps: Annotated[list[PlanStep], Field(min_length=1, max_length=MAX_STEPS)]
    result: StepName | None = Field(
        None,
        description="The step whose output is the result. Default: the only step that neither "
        "another step nor `outputs` uses.",
    )
    outputs: Annotated[dict[StepName, NamedOutput], Field(max_length=MAX_OUTPUTS)] = Field(
        default_factory=dict[str, NamedOutput],
        json_schema_extra={"additionalProperties": False},
        description="Further results by names of your own, for example a poster or subtitles. The "
        "name `result` is that of the result.",
    )

    variables: Annotated[dict[VariableName, Variable], Field(max_length=MAX_VARIABLES)] | None = (
        Field(
            None,
            json_schema_extra=_only_names,
            description='What `{"var": name}` and `{"fill": "… {{name}} …"}` in `params` stand '
            "for.",
        )
    )

    @field_validator("outputs")
    @classmethod
    def _not_result(cls, value: dict[str, NamedOutput]) -> dict[str, NamedOutput]:
        if RESULT in value:
            raise ValueError("must not have the name 'result', which is that of the result")
        return value


class OnlyPlan(RequestBody):
    """A body with a plan alone, for errors with the paths that they have in requests."""

    plan: PlanBody


def steps_request(plan: PlanBody) -> StepsRequest:
    """Return what a plan requests.

    Raises InvalidFieldsError for addresses of files that are not valid.
    """
    steps: list[PlanStep] = plan.steps
    faults = [fault for place, step in enumerate(steps) for fault in step.faults(place)]
    if faults:
        raise InvalidFieldsError(*faults)
    files: dict[str, RequestedSource] = {}
    for place, step in enumerate(steps):
        files |= step.files(place)
    return StepsRequest(
        type=PlanType.PLAN,
        steps=tuple(step.step_request(place) for place, step in enumerate(steps)),
        result_step=plan.result,
        result_field="plan/result",
        outputs=tuple(
            OutputRequest(
                name=name,
                step=output.step,
                output=output.name,
                number=output.number,
                field=f"plan/outputs/{name}",
            )
            for name, output in plan.outputs.items()
        ),
        stored={},
        files=files,
    )
