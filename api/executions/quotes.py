"""POST /api/quotes and, for each route that accepts an order, POST /api/quotes/{route}."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request
from pydantic import Discriminator, Field, Tag

from api.auth.authentication import CurrentUser
from api.executions.requests import GenerateVideoRequest, OrderBody
from api.http.openapi import problems
from api.http.problems.documents import PLAN_BODY, VIDEO_BODY, json_pointer
from api.http.schemas import ResponseBody, Usd
from api.http.strict_json import StrictJsonRoute
from api.orders.bodies import GenerateAudioRequest, GenerateImageRequest, TranscribeRequest
from api.orders.executions import CreateExecutionRequest
from api.services import services_of
from api.templates.orders import order_of
from core.domain.failures import FailureCode
from core.domain.ids import UserId
from core.domain.money import NanoUsd, nano_usd, usd_text
from core.domain.prices import Unit
from core.media.operations.port import Expected as MadeFile
from core.ordering.accept import check_max_cost
from core.ordering.errors import FaultCode
from core.ordering.planning.quote import quote_order
from core.ordering.planning.requests import PlanRequest
from core.ordering.planning.reuse import Reuse, expect_reuse, without_reused
from core.store.executions.executions import NewStep

router = APIRouter(prefix="/api", tags=["quotes"], route_class=StrictJsonRoute)

Low = Annotated[
    Usd, Field(description="The least that a completed job usually costs; an estimate.")
]
Expected = Annotated[Usd, Field(description="What a completed job usually costs; an estimate.")]
Worst = Annotated[
    Usd, Field(description="The most that the price allows; held when the request is accepted.")
]


class Length(ResponseBody):
    """How many seconds a file will last: estimates, and the longest that is held for."""

    low: float
    expected: float
    worst: float


class QuotedJob(ResponseBody):
    """What one step may cost. Media and approval steps are free; their provider is `media`."""

    step: str
    provider: str
    model: str
    unit: Unit
    unit_price: Usd = Field(
        description="The price of one unit. `GET /api/models` returns its source."
    )
    read_on: date = Field(description="The day on which the price was read at its source.")
    low: Low
    expected: Expected
    worst: Worst
    seconds: int = Field(description="How long the step usually runs; an estimate.")
    output_seconds: Length | None = Field(
        description="How long its first file will last; null for a picture, and if not known."
    )
    reuse: Reuse = Field(
        description="`yes`: `low` and `expected` are 0; `worst` is held until the step begins."
    )


class QuoteWarning(ResponseBody):
    """Something in a plan that is valid and probably not meant. pointer: into the request."""

    pointer: str
    code: FaultCode
    detail: str


class Quote(ResponseBody):
    """What a request may cost now, by job and in sum. An accepted request keeps its prices."""

    currency: Literal["USD"] = "USD"
    jobs: list[QuotedJob]
    low: Low
    expected: Expected
    worst: Worst
    eta_seconds: int = Field(
        description="How long the steps usually take one after the other, where they wait for each "
        "other; an estimate without queues."
    )
    warnings: list[QuoteWarning] = Field(
        default_factory=list[QuoteWarning],
        description="What is probably not meant, such as a step whose file is not used.",
    )


_PROBLEMS: Final = problems(
    FailureCode.UNAUTHENTICATED,
    FailureCode.PAYLOAD_TOO_LARGE,
    FailureCode.UNSUPPORTED_MEDIA_TYPE,
    FailureCode.INVALID_REQUEST,
    FailureCode.MEDIA_UNSUPPORTED,
    FailureCode.MEDIA_TOO_LARGE,
)


def _body_tag(value: object) -> str:
    is_plan = isinstance(value, CreateExecutionRequest) or (
        isinstance(value, Mapping) and ("plan" in value or "template" in value)
    )
    return PLAN_BODY if is_plan else VIDEO_BODY


QuotedBody = Annotated[
    Annotated[GenerateVideoRequest, Tag(VIDEO_BODY)]
    | Annotated[CreateExecutionRequest, Tag(PLAN_BODY)],
    Discriminator(_body_tag),
]
"""The body of a video; with a `plan` or a `template`, that of a plan."""


@router.post(
    "/quotes",
    summary="Quote a video or a plan",
    responses=_PROBLEMS | problems(FailureCode.MAX_COST_EXCEEDED),
)
async def create_quote(request: Request, user_id: CurrentUser, body: QuotedBody) -> Quote:
    """Return what `POST /api/generate-video` or, for a plan, `POST /api/executions` would hold.

    Nothing is started, held, fetched or stored: a file at a URL counts as what its parameter takes,
    at the worst price. Budgets and other limits are not checked; see `GET /api/usage`. Of a plan,
    every error is returned, and `maxCost` is checked.
    """
    if isinstance(body, CreateExecutionRequest):
        return await quote_plan(request, user_id, body)
    return await _quote(request, user_id, body, body.plan_request())


@router.post("/quotes/generate-image", summary="Quote an image", responses=_PROBLEMS)
async def quote_image(request: Request, user_id: CurrentUser, body: GenerateImageRequest) -> Quote:
    """Return what `POST /api/generate-image` would hold for the same body."""
    return await _quote(request, user_id, body, body.plan_request())


@router.post("/quotes/generate-audio", summary="Quote speech", responses=_PROBLEMS)
async def quote_audio(request: Request, user_id: CurrentUser, body: GenerateAudioRequest) -> Quote:
    """Return what `POST /api/generate-audio` would hold for the same body."""
    return await _quote(request, user_id, body, body.plan_request())


@router.post("/quotes/transcribe", summary="Quote a transcript", responses=_PROBLEMS)
async def quote_transcript(
    request: Request, user_id: CurrentUser, body: TranscribeRequest
) -> Quote:
    """Return what `POST /api/transcribe` would hold for the same body.

    Nothing is fetched: a recording at a URL counts with the longest length that the model takes,
    and a video with its own length until its sound is extracted.
    """
    return await _quote(request, user_id, body, body.plan_request())


@router.post(
    "/quotes/executions",
    summary="Quote a plan",
    responses=_PROBLEMS | problems(FailureCode.MAX_COST_EXCEEDED),
)
async def quote_plan(request: Request, user_id: CurrentUser, body: CreateExecutionRequest) -> Quote:
    """Return what `POST /api/quotes` returns for the same body."""
    limit = nano_usd(body.max_cost) if body.max_cost is not None else None
    order = await order_of(services_of(request), user_id, body)
    with order.names.named():
        return await _quote(request, user_id, body, order.request(), max_cost_nano_usd=limit)


async def _quote(
    request: Request,
    user_id: UserId,
    body: OrderBody,
    planned: PlanRequest,
    *,
    max_cost_nano_usd: NanoUsd | None = None,
) -> Quote:
    services = services_of(request).ordering
    plan = await quote_order(services, user_id, planned, webhook_url=body.webhook)
    check_max_cost(plan, max_cost_nano_usd)
    reuse = await expect_reuse(services, user_id, plan.steps)
    plan = replace(plan, steps=without_reused(plan.steps, reuse))
    return Quote(
        jobs=[
            _job(item, plan.made.get(item.step.name), reuse[item.step.name]) for item in plan.steps
        ],
        eta_seconds=plan.eta_seconds,
        low=usd_text(plan.low_nano_usd),
        expected=usd_text(plan.expected_nano_usd),
        worst=usd_text(plan.worst_nano_usd),
        warnings=[
            QuoteWarning(pointer=json_pointer(each.field), code=each.code, detail=each.detail)
            for each in plan.warnings
        ],
    )


def _job(new: NewStep, made: MadeFile | None, reuse: Reuse) -> QuotedJob:
    step, quote, price = new.step, new.quote, new.quote.price
    length = made.seconds if made is not None else None
    return QuotedJob(
        step=step.name,
        provider=step.provider,
        model=step.model,
        unit=price.unit,
        unit_price=price.unit_usd_text,
        read_on=date.fromisoformat(price.read_on),
        low=usd_text(quote.low_nano_usd),
        expected=usd_text(quote.expected_nano_usd),
        worst=usd_text(quote.worst_nano_usd),
        seconds=step.usual_seconds,
        output_seconds=None
        if length is None
        else Length(
            low=round(length.low, 1),
            expected=round(length.expected, 1),
            worst=round(length.worst, 1),
        ),
        reuse=reuse,
    )
