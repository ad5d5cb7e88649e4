"""POST /api/generate-video."""

from fastapi import APIRouter, Request, Response

from api.auth.authentication import CurrentCaller
from api.executions.parameters import IdempotencyHeader
from api.executions.requests import GenerateVideoRequest
from api.executions.responses import Accepted
from api.http.strict_json import StrictJsonRoute
from api.orders.accept import ORDER_PROBLEMS, accept

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictJsonRoute)


@router.post(
    "/generate-video",
    status_code=202,
    response_model=Accepted,
    summary="Create a video",
    responses=ORDER_PROBLEMS,
)
async def generate_video(
    request: Request,
    caller: CurrentCaller,
    body: GenerateVideoRequest,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Accept the request, hold its worst price and start the execution.

    The answer does not wait for the video: poll `statusUrl`, or set `webhook`.
    """
    return await accept(
        request,
        caller,
        body,
        body.plan_request(),
        operation="generate-video",
        idempotency_header=idempotency_header,
    )
