"""POST /api/quotes."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from api.auth.authentication import CurrentUser
from api.executions.requests import GenerateVideoRequest
from api.http.openapi import problems
from api.http.schemas import ResponseBody, Usd
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.money import usd_text
from core.domain.prices import Unit
from core.ordering.planning.quote import quote_video
from core.store.executions.executions import NewStep

router = APIRouter(prefix="/api", tags=["quotes"], route_class=StrictJsonRoute)

Low = Annotated[
    Usd, Field(description="The least that a completed job usually costs; an estimate.")
]
Expected = Annotated[Usd, Field(description="What a completed job usually costs; an estimate.")]
Worst = Annotated[
    Usd, Field(description="The most that the price allows; held when the request is accepted.")
]


class QuotedJob(ResponseBody):
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


class Quote(ResponseBody):
    """What a request may cost now, by job and in sum. An accepted request keeps its prices."""

    currency: Literal["USD"] = "USD"
    jobs: list[QuotedJob]
    low: Low
    expected: Expected
    worst: Worst


@router.post(
    "/quotes",
    summary="Quote a video",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def create_quote(request: Request, user_id: CurrentUser, body: GenerateVideoRequest) -> Quote:
    """Return what `POST /api/generate-video` would hold for the same body.

    Nothing is started, held or stored. Budgets, `maxCost` and other limits are not checked; see
    `GET /api/usage`.
    """
    services = services_of(request).ordering
    plan = await quote_video(services, user_id, body.video_request(), webhook_url=body.webhook)
    return Quote(
        jobs=[_job(item) for item in plan.steps],
        low=usd_text(plan.low_nano_usd),
        expected=usd_text(plan.expected_nano_usd),
        worst=usd_text(plan.worst_nano_usd),
    )


def _job(new: NewStep) -> QuotedJob:
    step, quote, price = new.step, new.quote, new.quote.price
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
    )
