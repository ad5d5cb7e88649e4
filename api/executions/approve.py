"""POST /api/executions/{id}/approve."""

from typing import Annotated, Final, Self

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field, model_validator

from api.auth.authentication import CurrentUser
from api.executions.parameters import ExecutionIdPath
from api.executions.responses import Approved
from api.http.openapi import problems
from api.http.schemas import RequestBody
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from core.domain.failures import FailureCode
from core.ordering.approve import DecisionOrder, decide_approval

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictJsonRoute)

NAME: Final = r"^[a-z][a-z0-9-]{0,39}$"
StepName = Annotated[str, Field(pattern=NAME)]


class ApproveRequest(RequestBody):
    """The decision about an approval step: one of its options, or none of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"step": "choose", "option": "clip-2"},
                {"step": "choose", "reject": True},
            ]
        }
    )

    step: StepName = Field(description="The approval step; see `waitingFor` of the execution.")
    option: StepName | None = Field(
        None, description="The chosen option. May be omitted if the step has one option only."
    )
    reject: bool = Field(
        False, description="Choose none: the rest is cancelled, and what is paid is kept."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.reject and self.option is not None:
            raise ValueError("send either option or reject")
        return self


@router.post(
    "/executions/{execution_id}/approve",
    summary="Decide about an approval step",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.APPROVAL_NOT_OPEN,
        FailureCode.APPROVAL_DECIDED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def approve_execution(
    request: Request, user_id: CurrentUser, execution_id: ExecutionIdPath, body: ApproveRequest
) -> Approved:
    """Choose an option of a step in `waitingFor`, or reject them all.

    The decision is stored before the answer, and the execution continues within a moment. A
    decision is final: the same request again returns it, and another one is answered with 409.
    """
    order = DecisionOrder(
        user_id=user_id,
        execution_id=execution_id,
        step=body.step,
        option=body.option,
        rejects=body.reject,
    )
    decision = await decide_approval(services_of(request).ordering, order)
    return Approved(
        execution_id=execution_id,
        step=decision.step,
        decision="rejected" if decision.option is None else "approved",
        option=decision.option,
        decided_at=decision.decided_at,
    )
