"""Approval steps in the bodies of plans: a decision of the user between options."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from api.http.schemas import RequestBody
from api.orders.plan_steps import StepFields, StepName
from core.domain.plans import MAX_STEPS, DecisionKind, Parameters, StepOutput
from core.ordering.assets.sources import RequestedSource
from core.ordering.errors import FieldError
from core.ordering.planning.nodes.approvals import EXPIRES_AFTER
from core.ordering.planning.step_requests import StepRequest

DEFAULT_SECONDS: Final = 24 * 3600
MAX_SECONDS: Final = 7 * 24 * 3600


class ApprovalOption(RequestBody):
    """A step to choose from. All options make files of one kind."""

    step: StepName


class ApprovalParameters(RequestBody):
    options: Annotated[list[ApprovalOption], Field(min_length=1, max_length=MAX_STEPS)] = Field(
        description="One option: to continue or not. A step with `count` stands for all of its "
        "candidates."
    )
    expires_after_seconds: Annotated[int, Field(ge=60, le=MAX_SECONDS)] = Field(
        DEFAULT_SECONDS, description="The time to decide. After it, the step fails."
    )


class ApprovalStep(StepFields):
    """A step that waits for `POST /api/executions/{execution_id}/approve`, free of charge.

    Its file is that of the chosen option.
    """

    kind: Literal["approval"]
    params: ApprovalParameters

    def step_request(self, position: int) -> StepRequest:
        path = f"plan/steps/{position}/"
        return StepRequest(
            name=self.name,
            kind=DecisionKind.APPROVAL,
            parameters=Parameters(values={EXPIRES_AFTER: self.params.expires_after_seconds}),
            on_failure=self.on_failure,
            needs=tuple(dict.fromkeys(self.needs)),
            path=path,
            field_prefix=f"{path}params/",
        )

    def files(self, position: int) -> dict[str, RequestedSource]:
        """Return the options, by the paths of their fields."""
        return {
            f"plan/steps/{position}/params/options/{place}": StepOutput(step=option.step)
            for place, option in enumerate(self.params.options)
        }

    def faults(self, position: int) -> Iterator[FieldError]:
        """Yield the fields that an approval step does not have."""
        if self.deadline_seconds is not None:
            yield FieldError(
                field=f"plan/steps/{position}/deadlineSeconds",
                detail="does not apply to an approval step. Set params/expiresAfterSeconds",
            )
