"""What all routes share that accept an order."""

from typing import Final

from fastapi import Request, Response

from api.auth.authentication import Caller
from api.executions.parameters import idempotency_key
from api.executions.presenter import accepted_response, status_url
from api.executions.requests import OrderBody
from api.executions.responses import Accepted
from api.http.openapi import problems
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId
from core.domain.money import nano_usd
from core.ordering.accept import Order, accept_order
from core.ordering.planning.requests import PlanRequest

ORDER_CODES: Final = (
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
    FailureCode.PAYLOAD_TOO_LARGE,
    FailureCode.UNSUPPORTED_MEDIA_TYPE,
    FailureCode.INVALID_REQUEST,
    FailureCode.MEDIA_UNSUPPORTED,
    FailureCode.MEDIA_DAMAGED,
    FailureCode.MEDIA_TOO_LARGE,
    FailureCode.MEDIA_UNAVAILABLE,
    FailureCode.ASSET_LIMIT_REACHED,
    FailureCode.STORAGE_UNAVAILABLE,
    FailureCode.IDEMPOTENCY_CONFLICT,
    FailureCode.IDEMPOTENCY_IN_PROGRESS,
)
ORDER_PROBLEMS: Final = problems(*ORDER_CODES)


async def accept(
    request: Request,
    caller: Caller,
    body: OrderBody,
    planned: PlanRequest,
    *,
    operation: str,
    idempotency_header: str | None,
) -> Response:
    """Accept the order of a request and return its 202.

    planned: what the body requests. operation: the name that idempotency keys are bound to.
    """
    services = services_of(request)
    order = Order(
        user_id=caller.user_id,
        key_id=caller.key_id,
        request=planned,
        max_cost_nano_usd=nano_usd(body.max_cost) if body.max_cost is not None else None,
        webhook_url=body.webhook,
        webhook_secret=body.webhook_secret,
        metadata=body.metadata or {},
        idempotency_key=idempotency_key(idempotency_header, operation, body=body),
    )

    def render(execution_id: ExecutionId) -> bytes:
        answer = Accepted(
            execution_id=execution_id, status_url=status_url(services.public_base_url, execution_id)
        )
        return answer.model_dump_json(by_alias=True).encode()

    return accepted_response(await accept_order(services.ordering, order, render))
