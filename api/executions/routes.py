"""Executions over HTTP: accepted with their money held, read from rows, cancelled."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api.auth.authentication import CurrentUser
from api.executions.accepting import (
    IdempotencyHeader,
    accepted_response,
    check_idempotency_key,
)
from api.executions.presenter import cancelled_answer, execution_answer, list_answer
from api.executions.schemas import (
    Accepted,
    Cancelled,
    Execution,
    ExecutionList,
    GenerateVideoRequest,
    ListQuery,
)
from api.http.bodies import read_json
from api.http.ids import EXECUTION_ID, decode_cursor, encode_cursor
from api.http.openapi import problems, request_body
from api.http.problems import invalid_field, not_found, validation_problem
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId, UserId
from core.domain.money import nano_usd
from core.ordering import cancel as ordering
from core.ordering.accept import VideoOrder, accept_video
from core.ordering.idempotency import IdempotencyKey, request_sha256
from core.ordering.plan import VideoRequest
from core.store.executions.status import (
    ExecutionFilter,
    ExecutionStatusRecord,
    find_execution,
    list_executions,
)

_PATH = "/api/executions"

router = APIRouter(prefix="/api", tags=["executions"])


@router.post(
    "/generate-video",
    status_code=202,
    response_model=Accepted,
    summary="Prompt in, video out",
    openapi_extra=request_body(GenerateVideoRequest),
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.BUDGET_EXCEEDED,
        FailureCode.MAX_COST_EXCEEDED,
        FailureCode.OPEN_LIMIT_REACHED,
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
    request: Request, user_id: CurrentUser, idempotency_key: IdempotencyHeader = None
) -> Response:
    """Holds the worst price of a video and begins its work. Answers at once: follow `statusUrl`, or
    name a webhook.
    """
    plain = await read_json(request)
    check_idempotency_key(idempotency_key)
    services, wanted = services_of(request), parse_request(plain)
    key = None
    if idempotency_key is not None:
        sha256 = request_sha256("generate-video", body=plain)
        key = IdempotencyKey(key=idempotency_key, request_sha256=sha256)

    def render(execution_id: ExecutionId) -> bytes:
        body = Accepted(
            execution_id=execution_id,
            status="queued",
            status_url=f"{services.public_base_url}{_PATH}/{execution_id}",
        )
        return body.model_dump_json(by_alias=True).encode()

    order = VideoOrder(
        user_id=user_id,
        request=video_request(wanted),
        max_cost_nano_usd=nano_usd(wanted.max_cost) if wanted.max_cost is not None else None,
        webhook_url=wanted.webhook,
        webhook_secret=wanted.webhook_secret,
        metadata=wanted.metadata or {},
        idempotency_key=key,
    )
    return accepted_response(await accept_video(services.ordering, order, render))


def parse_request(plain: dict[str, Any]) -> GenerateVideoRequest:
    """Raises ProblemError naming every field that is wrong."""
    try:
        wanted = GenerateVideoRequest.model_validate(plain)
    except ValidationError as error:
        raise validation_problem(error.errors(include_url=False, include_input=False)) from None
    if wanted.webhook_secret is not None and wanted.webhook is None:
        raise invalid_field("webhookSecret", "needs a webhook to sign")
    return wanted


def video_request(body: GenerateVideoRequest) -> VideoRequest:
    return VideoRequest(
        prompt=body.prompt,
        duration_seconds=body.duration,
        resolution=body.resolution,
        aspect_ratio=body.aspect_ratio,
        seed=body.seed,
        image_model=body.image_model,
        video_model=body.video_model,
    )


@router.get(
    "/executions/{execution_id}",
    summary="How an execution stands",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def read_execution(request: Request, user_id: CurrentUser, execution_id: str) -> Execution:
    """From PostgreSQL alone, as of one moment."""
    return execution_answer(await _get(services_of(request), user_id, execution_id))


@router.get(
    "/executions",
    summary="Own executions, newest first",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def read_executions(
    request: Request, user_id: CurrentUser, query: Annotated[ListQuery, Query()]
) -> ExecutionList:
    """Follow `nextCursor` with the same filters; executions that come meanwhile do not move the
    pages.
    """
    wanted = ExecutionFilter(
        limit=query.limit,
        before_id=decode_cursor(query.cursor) if query.cursor is not None else None,
        status=query.status,
        type=query.type,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    async with services_of(request).database.reading_as(user_id) as conn:
        page = await list_executions(conn, user_id, wanted)
    return list_answer(
        page, encode_cursor(page.next_before_id) if page.next_before_id is not None else None
    )


@router.post(
    "/executions/{execution_id}/cancel",
    summary="End an execution",
    response_model=Cancelled,
    responses={
        200: {"description": "It has ended, now or before."},
        202: {"description": "It is ending; what is spent is not known yet.", "model": Cancelled},
        **problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
    },
)
async def cancel_execution(
    request: Request, response: Response, user_id: CurrentUser, execution_id: str
) -> Cancelled:
    """Nothing more is bought, what runs at providers is cancelled. Waits up to 5 s for the end.
    Repeating is safe.
    """
    if not EXECUTION_ID.fullmatch(execution_id):
        raise not_found(_PATH)
    services = services_of(request).ordering
    execution = await ordering.cancel_execution(services, user_id, ExecutionId(execution_id))
    response.status_code = 200 if execution.status.ended else 202
    return cancelled_answer(execution.execution_id, execution)


async def _get(services: Services, user_id: UserId, execution_id: str) -> ExecutionStatusRecord:
    """Raises ProblemError: never was, or another user's."""
    if EXECUTION_ID.fullmatch(execution_id):
        async with services.database.reading_as(user_id) as conn:
            record = await find_execution(conn, user_id, ExecutionId(execution_id))
        if record is not None:
            return record
    raise not_found(_PATH)
