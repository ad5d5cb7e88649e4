"""POST /api/generate-video."""

from fastapi import APIRouter, Request, Response

from api.auth.authentication import CurrentUser
from api.executions.parameters import IdempotencyHeader, idempotency_key
from api.executions.presenter import accepted_response, status_url
from api.executions.requests import GenerateVideoRequest
from api.executions.responses import Accepted
from api.http.openapi import problems
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId
from core.domain.money import nano_usd
from core.ordering.accept import VideoOrder, accept_video

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictJsonRoute)


@router.post(
    "/generate-video",
    status_code=202,
    response_model=Accepted,
    summary="Create a video",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.BUDGET_EXCEEDED,
        FailureCode.MAX_COST_EXCEEDED,
        FailureCode.OPEN_LIMIT_REACHED,
        FailureCode.QUEUE_FULL,
        FailureCode.PROVIDER_QUEUE_FULL,
        FailureCode.SERVICE_BUDGET_EXCEEDED,
        FailureCode.PROVIDER_NOT_ACCEPTING,
        FailureCode.PROVIDER_KEY_REFUSED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
        FailureCode.IDEMPOTENCY_CONFLICT,
        FailureCode.IDEMPOTENCY_IN_PROGRESS,
    ),
)
async def generate_video(
    request: Request,
    user_id: CurrentUser,
    body: GenerateVideoRequest,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Accept the request, hold its worst price and start the execution.

    The answer does not wait for the video: poll `statusUrl`, or set `webhook`.
    """
    services = services_of(request)
    order = VideoOrder(
        user_id=user_id,
        request=body.video_request(),
        max_cost_nano_usd=nano_usd(body.max_cost) if body.max_cost is not None else None,
        webhook_url=body.webhook,
        webhook_secret=body.webhook_secret,
        metadata=body.metadata or {},
        idempotency_key=idempotency_key(idempotency_header, "generate-video", body=body),
    )

    def render(execution_id: ExecutionId) -> bytes:
        answer = Accepted(execution_id=execution_id, status_url=status_url(services, execution_id))
        return answer.model_dump_json(by_alias=True).encode()

    return accepted_response(await accept_video(services.ordering, order, render))
