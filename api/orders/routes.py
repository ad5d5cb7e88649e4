"""POST /api/generate-image, /generate-audio, /transcribe, /executions; the schema of plans."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import RootModel

from api.auth.authentication import CurrentCaller, CurrentUser
from api.executions.parameters import IdempotencyHeader, idempotency_key
from api.executions.presenter import accepted_response
from api.executions.responses import Accepted
from api.http.openapi import problems
from api.http.strict_json import StrictJsonRoute
from api.orders.accept import ORDER_PROBLEMS, accept
from api.orders.bodies import GenerateAudioRequest, GenerateImageRequest, TranscribeRequest
from api.orders.executions import CreateExecutionRequest
from api.orders.plans import PlanBody
from api.orders.variables.schema import allow_variables
from api.services import services_of
from api.templates.orders import find_answer_of, order_of
from core.domain.failures import FailureCode
from core.ordering.errors import InvalidFieldsError

EXECUTIONS: Final = "executions"
"""What idempotency keys of plans are bound to."""

router = APIRouter(prefix="/api", tags=["executions"], route_class=StrictJsonRoute)


@router.post(
    "/generate-image",
    status_code=202,
    response_model=Accepted,
    summary="Create an image",
    responses=ORDER_PROBLEMS,
)
async def generate_image(
    request: Request,
    caller: CurrentCaller,
    body: GenerateImageRequest,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Accept the request, hold its worst price and start the execution.

    The answer does not wait for the image: poll `statusUrl`, or set `webhook`.
    """
    return await accept(
        request,
        caller,
        body,
        body.plan_request(),
        operation="generate-image",
        idempotency_header=idempotency_header,
    )


@router.post(
    "/generate-audio",
    status_code=202,
    response_model=Accepted,
    summary="Create speech",
    responses=ORDER_PROBLEMS,
)
async def generate_audio(
    request: Request,
    caller: CurrentCaller,
    body: GenerateAudioRequest,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Accept the request, hold its worst price and start the execution.

    The answer does not wait for the speech: poll `statusUrl`, or set `webhook`. Models that report
    when each word is spoken have a second output, a transcript.
    """
    return await accept(
        request,
        caller,
        body,
        body.plan_request(),
        operation="generate-audio",
        idempotency_header=idempotency_header,
    )


@router.post(
    "/transcribe",
    status_code=202,
    response_model=Accepted,
    summary="Transcribe sound",
    responses=ORDER_PROBLEMS,
)
async def transcribe(
    request: Request,
    caller: CurrentCaller,
    body: TranscribeRequest,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Accept the request, hold its worst price and start the execution.

    The answer does not wait for the transcript: poll `statusUrl`, or set `webhook`. The result is a
    JSON file with the words and their times. Of a video, the sound is extracted first, which takes
    seconds, and only the sound is sent.
    """
    return await accept(
        request,
        caller,
        body,
        body.plan_request(),
        operation="transcribe",
        idempotency_header=idempotency_header,
    )


@router.post(
    "/executions",
    status_code=202,
    response_model=Accepted,
    summary="Create an execution",
    responses=ORDER_PROBLEMS,
)
async def create_execution(
    request: Request,
    caller: CurrentCaller,
    body: CreateExecutionRequest,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Accept a plan of paid and media steps, hold its worst price and start the execution.

    `template` names a stored plan instead. Every error of the plan and of `values` is returned at
    once, each with the path of its field.
    """
    services = services_of(request)
    try:
        order = await order_of(services, caller.user_id, body)
    except InvalidFieldsError:
        key = idempotency_key(idempotency_header, EXECUTIONS, body=body)
        answer = await find_answer_of(services, caller.user_id, key)
        if answer is None:
            raise
        return accepted_response(answer)
    with order.names.named():
        return await accept(
            request,
            caller,
            body,
            order.request(),
            operation=EXECUTIONS,
            idempotency_header=idempotency_header,
        )


class PlanSchema(RootModel[dict[str, Any]]):
    """A JSON Schema (draft 2020-12)."""


def _plan_schema() -> PlanSchema:
    schema = PlanBody.model_json_schema(mode="validation")
    allow_variables(schema["$defs"], "#/$defs/")
    return PlanSchema(schema)


_PLAN_SCHEMA: Final = _plan_schema()


@router.get(
    "/plans/schema",
    summary="Get the schema of plans",
    responses=problems(FailureCode.UNAUTHENTICATED),
)
async def get_plan_schema(_user_id: CurrentUser) -> PlanSchema:
    """Return the JSON Schema of `plan` in `POST /api/executions`, with every media step.

    Rules between fields and between steps are beyond a schema: `POST /api/quotes` checks all of
    them.
    """
    return _PLAN_SCHEMA
