"""Retry an execution."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api.auth.authentication import CurrentUser
from api.executions.accepting import IdempotencyHeader, accepted_response, check_idempotency_key
from api.executions.schemas import KeptStep, Retried, RetryRequest, StepToPay
from api.http.bodies import read_optional_json
from api.http.ids import EXECUTION_ID
from api.http.openapi import problems, request_body
from api.http.problems import not_found, validation_problem
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId
from core.domain.money import usd_text
from core.ordering import retry as ordering
from core.ordering.idempotency import IdempotencyKey, request_sha256

_PATH: Final = "/api/executions"

router = APIRouter(prefix="/api", tags=["executions"])


@router.post(
    "/executions/{execution_id}/retry",
    status_code=202,
    response_model=Retried,
    summary="Go on from what is paid",
    openapi_extra=request_body(RetryRequest, required=False),
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.BUDGET_EXCEEDED,
        FailureCode.MAX_COST_EXCEEDED,
        FailureCode.OPEN_LIMIT_REACHED,
        FailureCode.SERVICE_BUDGET_EXCEEDED,
        FailureCode.PROVIDER_NOT_ACCEPTING,
        FailureCode.PROVIDER_KEY_REFUSED,
        FailureCode.NOT_FOUND,
        FailureCode.EXECUTION_NOT_ENDED,
        FailureCode.NOTHING_TO_RETRY,
        FailureCode.POSSIBLE_DOUBLE_COST,
        FailureCode.PROVIDER_MODEL_UNAVAILABLE,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
        FailureCode.IDEMPOTENCY_CONFLICT,
        FailureCode.IDEMPOTENCY_IN_PROGRESS,
    ),
)
async def retry_execution(
    request: Request,
    user_id: CurrentUser,
    execution_id: str,
    idempotency_key: IdempotencyHeader = None,
) -> Response:
    """Only a failed or cancelled execution. What is paid for is not bought again; the rest is held
    at today's price.
    """
    services = services_of(request)
    plain = await read_optional_json(request)
    check_idempotency_key(idempotency_key)
    if not EXECUTION_ID.fullmatch(execution_id):
        raise not_found(_PATH)
    key = None
    if idempotency_key is not None:
        sha256 = request_sha256("retry", execution_id, body=plain)
        key = IdempotencyKey(key=idempotency_key, request_sha256=sha256)
    order = ordering.RetryOrder(
        user_id=user_id,
        execution_id=ExecutionId(execution_id),
        accepts_double_cost=_parse(plain).accept_possible_double_cost,
        idempotency_key=key,
    )

    def render(retry: ordering.QueuedRetry) -> bytes:
        return _retried(retry, services.public_base_url).model_dump_json(by_alias=True).encode()

    return accepted_response(await ordering.retry_execution(services.ordering, order, render))


def _parse(plain: dict[str, Any]) -> RetryRequest:
    try:
        return RetryRequest.model_validate(plain)
    except ValidationError as error:
        raise validation_problem(error.errors(include_url=False, include_input=False)) from None


def _retried(retry: ordering.QueuedRetry, base_url: str) -> Retried:
    return Retried(
        execution_id=retry.execution_id,
        status_url=f"{base_url}{_PATH}/{retry.execution_id}",
        generation=retry.generation,
        kept=[
            KeptStep(
                step=item.step,
                job_id=item.job_id,
                state=item.state,
                cost=usd_text(item.cost_nano_usd),
            )
            for item in retry.kept
        ],
        to_pay=[
            StepToPay(
                step=cost.step.name,
                provider=cost.step.provider,
                model=cost.step.model,
                estimated=usd_text(cost.nano_usd),
            )
            for cost in retry.to_buy
        ],
        estimated=usd_text(retry.held_nano_usd),
    )
