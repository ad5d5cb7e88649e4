"""POST /api/executions/{id}/retry."""

from fastapi import APIRouter, Request, Response

from api.auth.authentication import CurrentCaller
from api.executions.parameters import ExecutionIdPath, IdempotencyHeader, idempotency_key
from api.executions.presenter import accepted_response, retried_response
from api.executions.requests import RetryRequest
from api.executions.responses import Retried
from api.http.openapi import problems
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.money import nano_usd
from core.ordering import retry as ordering

NO_BODY = RetryRequest.model_validate({})

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictJsonRoute)


@router.post(
    "/executions/{execution_id}/retry",
    status_code=202,
    response_model=Retried,
    summary="Retry an execution",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.BUDGET_EXCEEDED,
        FailureCode.KEY_SPEND_LIMIT_EXCEEDED,
        FailureCode.MAX_COST_EXCEEDED,
        FailureCode.OPEN_LIMIT_REACHED,
        FailureCode.MEDIA_LIMIT_REACHED,
        FailureCode.QUEUE_FULL,
        FailureCode.PROVIDER_QUEUE_FULL,
        FailureCode.SERVICE_BUDGET_EXCEEDED,
        FailureCode.PROVIDER_NOT_ACCEPTING,
        FailureCode.PROVIDER_KEY_REFUSED,
        FailureCode.NOT_FOUND,
        FailureCode.EXECUTION_NOT_ENDED,
        FailureCode.NOTHING_TO_RETRY,
        FailureCode.POSSIBLE_DOUBLE_COST,
        FailureCode.PROVIDER_MODEL_UNAVAILABLE,
        FailureCode.ASSET_DELETED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
        FailureCode.IDEMPOTENCY_CONFLICT,
        FailureCode.IDEMPOTENCY_IN_PROGRESS,
    ),
)
async def retry_execution(
    request: Request,
    caller: CurrentCaller,
    execution_id: ExecutionIdPath,
    body: RetryRequest = NO_BODY,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Run a failed or cancelled execution again, under the same id.

    Steps that are paid for are kept. The other steps are bought again, and their worst price of
    today is held.
    """
    services = services_of(request)
    order = ordering.RetryOrder(
        user_id=caller.user_id,
        key_id=caller.key_id,
        execution_id=execution_id,
        max_cost_nano_usd=nano_usd(body.max_cost) if body.max_cost is not None else None,
        accepts_double_cost=body.accept_possible_double_cost,
        idempotency_key=idempotency_key(idempotency_header, "retry", execution_id, body=body),
    )

    def render(retry: ordering.QueuedRetry) -> bytes:
        return (
            retried_response(services.public_base_url, retry)
            .model_dump_json(by_alias=True)
            .encode()
        )

    return accepted_response(await ordering.retry_execution(services.ordering, order, render))
