"""Executions over HTTP: accepted with their money held, read from rows, cancelled."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api.auth.authentication import CurrentUser
from api.executions.accepting import (
    IdempotencyKey,
    accepted,
    check_idempotency_key,
    claim_key,
    keep_answer,
    replayed,
    request_sha256,
    start,
)
from api.executions.breakers import check_accepting
from api.executions.limit_problems import NO_ROOM, max_cost_problem, no_room_problem
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
from api.webhooks.fields import check_webhook_url
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId, UserId, new_execution_id
from core.domain.messages.executions import ExecutionOrder
from core.domain.money import NanoUsd, nano_usd
from core.domain.states import ExecutionStatus
from core.ordering.offers import offered_to
from core.ordering.plan import PlannedExecution, plan_generate_video
from core.ordering.workflow_starts import signal_cancel
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.executions.executions import (
    NewExecution,
    insert_execution,
    mark_cancel_requested,
    own_secret_context,
)
from core.store.executions.idempotency import KeptAnswer, find_answer
from core.store.executions.status import (
    ExecutionFilter,
    ExecutionStatusRecord,
    find_execution,
    list_executions,
)
from core.store.executions.unfinished import get_order
from core.store.jobs.callbacks import notify_open_jobs

CANCEL_WAIT_SECONDS = 5.0
CANCEL_LOOK_SECONDS = 0.15
CANCEL_REASON = "asked for by the user"

_PATH = "/api/executions"

log = get_logger(__name__)
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
    request: Request, user_id: CurrentUser, idempotency_key: IdempotencyKey = None
) -> Response:
    """Holds the worst price of a video and begins its work. Answers at once: follow `statusUrl`, or
    name a webhook.
    """
    services = services_of(request)
    plain = await read_json(request)
    check_idempotency_key(idempotency_key)
    sha256 = request_sha256("generate-video", body=plain)
    if idempotency_key is not None:
        async with services.database.reading_as(user_id) as conn:
            earlier = await find_answer(conn, user_id, idempotency_key)
        if earlier is not None:
            return replayed(earlier, sha256)
    wanted = parse_request(plain)
    check_webhook_url(services.outbound, "webhook", wanted.webhook)
    planned = plan_generate_video(await offered_to(services, user_id), wanted)
    new = _new_execution(services, user_id, wanted, planned)
    _check_max_cost(new)
    answer = Accepted(
        execution_id=new.execution_id,
        status="queued",
        status_url=f"{services.public_base_url}{_PATH}/{new.execution_id}",
    )
    body = answer.model_dump_json(by_alias=True).encode()
    kept = KeptAnswer(request_sha256=sha256, answer=body)
    has_room = await _accept(services, new, idempotency_key, kept)
    if isinstance(has_room, KeptAnswer):
        return replayed(has_room, sha256)
    if has_room:
        order = ExecutionOrder(
            execution_id=new.execution_id, user_id=user_id, generation=1, plan=new.plan
        )
        await start(services, order, wanted.prompt)
    return accepted(body)


def parse_request(plain: dict[str, Any]) -> GenerateVideoRequest:
    """Raises ProblemError naming every field that is wrong."""
    try:
        wanted = GenerateVideoRequest.model_validate(plain)
    except ValidationError as error:
        raise validation_problem(error.errors(include_url=False, include_input=False)) from None
    if wanted.webhook_secret is not None and wanted.webhook is None:
        raise invalid_field("webhookSecret", "needs a webhook to sign")
    return wanted


def _new_execution(
    services: Services, user_id: UserId, wanted: GenerateVideoRequest, planned: PlannedExecution
) -> NewExecution:
    execution_id = new_execution_id()
    secret = wanted.webhook_secret
    return NewExecution(
        execution_id=execution_id,
        user_id=user_id,
        plan=planned.plan,
        steps=planned.steps,
        request=wanted.model_dump(
            by_alias=True, exclude_none=True, exclude={"webhook", "webhook_secret", "metadata"}
        ),
        metadata=wanted.metadata or {},
        webhook_url=wanted.webhook,
        webhook_secret_sealed=(
            None
            if secret is None
            else services.secrets.seal(secret, context=own_secret_context(execution_id))
        ),
        deadline_seconds=planned.deadline_seconds,
        max_cost_nano_usd=nano_usd(wanted.max_cost) if wanted.max_cost is not None else None,
    )


def _check_max_cost(new: NewExecution) -> None:
    worst = [(item.step, item.held_nano_usd) for item in new.steps]
    if (
        new.max_cost_nano_usd is not None
        and sum(price for _, price in worst) > new.max_cost_nano_usd
    ):
        raise max_cost_problem(new.max_cost_nano_usd, worst)


async def _accept(
    services: Services, new: NewExecution, idempotency_key: str | None, kept: KeptAnswer
) -> KeptAnswer | bool:
    """Everything that makes a 202 true, in one transaction; or the answer of who was faster with
    the same key.

    True: it may run at once. False: it waits until one of its user's executions has ended, and is
    started then.
    """
    try:
        async with services.database.as_user(new.user_id) as conn:
            if idempotency_key is not None:
                faster = await claim_key(conn, new.user_id, idempotency_key)
                if faster is not None:
                    return faster
                await keep_answer(conn, new.user_id, idempotency_key, kept)
            await check_accepting(conn, new.user_id, (item.step.provider for item in new.steps))
            has_room = await insert_execution(conn, new, services.limits)
    except NO_ROOM as error:
        needed = NanoUsd(sum(step.held_nano_usd for step in new.steps))
        raise await no_room_problem(services, new.user_id, error, needed) from None
    log.info(
        "execution accepted", execution_id=new.execution_id, user_id=new.user_id, has_room=has_room
    )
    return has_room


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
    services = services_of(request)
    record = await _get(services, user_id, execution_id)
    if not record.status.ended:
        async with services.database.as_user(user_id) as conn:
            await mark_cancel_requested(
                conn, record.execution_id, CANCEL_REASON, generation=record.generation
            )
            await notify_open_jobs(conn, record.execution_id)
        record = await _wait_for_end(services, user_id, record)
    response.status_code = 200 if record.status.ended else 202
    return cancelled_answer(record.execution_id, record)


async def _wait_for_end(
    services: Services, user_id: UserId, record: ExecutionStatusRecord
) -> ExecutionStatusRecord:
    """Tells the workflow, and looks at the row until it has ended or the time is over."""
    execution_id = record.execution_id
    loop = asyncio.get_running_loop()
    until = loop.time() + CANCEL_WAIT_SECONDS
    if (
        not await _signal(services, execution_id, record.generation)
        and record.status is ExecutionStatus.QUEUED
    ):
        await _start_to_end(services, user_id, execution_id)
    while True:
        record = await _get(services, user_id, execution_id)
        if record.status.ended or loop.time() > until:
            return record
        await asyncio.sleep(CANCEL_LOOK_SECONDS)


async def _signal(services: Services, execution_id: ExecutionId, generation: int) -> bool:
    """What cannot be told now, the sweep tells: the order itself is committed. False: there is
    nobody to tell.
    """
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            return await signal_cancel(
                services.temporal, execution_id, CANCEL_REASON, generation=generation
            )
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning("cancel not signalled yet", execution_id=execution_id, reason=str(error)[:200])
        return True


async def _start_to_end(services: Services, user_id: UserId, execution_id: ExecutionId) -> None:
    """It waits for room, so it has no workflow: the one that is started now ends it, and needs
    none.
    """
    async with services.database.reading_as(user_id) as conn:
        stored = await get_order(conn, execution_id)
    await start(services, stored.order(), stored.prompt)


async def _get(services: Services, user_id: UserId, execution_id: str) -> ExecutionStatusRecord:
    """Raises ProblemError: never was, or another user's."""
    if EXECUTION_ID.fullmatch(execution_id):
        async with services.database.reading_as(user_id) as conn:
            record = await find_execution(conn, user_id, ExecutionId(execution_id))
        if record is not None:
            return record
    raise not_found(_PATH)
