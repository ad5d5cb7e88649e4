"""What a request may cost, before it is made: by the plan, the prices and the code that will hold
and settle it.
"""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from api.auth.authentication import CurrentUser
from api.executions.routes import parse_request, video_request
from api.executions.schemas import GenerateVideoRequest
from api.http.bodies import read_json
from api.http.openapi import problems, request_body
from api.http.schemas import ResponseBody as Wire
from api.http.schemas import Usd
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.money import usd_text
from core.domain.prices import Unit
from core.ordering.quote import quote_video
from core.store.executions.executions import NewStep

router = APIRouter(prefix="/api", tags=["money"])

Low = Annotated[
    Usd, Field(description="The least that it usually costs if it completes; an estimate.")
]
Expected = Annotated[Usd, Field(description="What it usually costs if it completes; an estimate.")]
Worst = Annotated[
    Usd, Field(description="The most that its price allows: what is held when it is accepted.")
]


class QuotedJob(Wire):
    """unitPrice: of one unit; where it was read, GET /api/models tells. readOn: the day on which it
    was read.
    """

    step: str
    provider: str
    model: str
    unit: Unit
    unit_price: Usd
    read_on: date
    low: Low
    expected: Expected
    worst: Worst


class Quote(Wire):
    """What a request may cost now, and the sums of its jobs. A request that is accepted keeps its
    prices.
    """

    currency: Literal["USD"] = "USD"
    jobs: list[QuotedJob]
    low: Low
    expected: Expected
    worst: Worst


@router.post(
    "/quotes",
    summary="What a request would cost",
    openapi_extra=request_body(GenerateVideoRequest),
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
    ),
)
async def create_quote(request: Request, user_id: CurrentUser) -> Quote:
    """Takes the body of `POST /api/generate-video`, and refuses what that would refuse as invalid.
    Starts nothing, holds nothing, keeps nothing. Budgets, `maxCost` and other limits are not asked:
    see `GET /api/usage`.
    """
    body = parse_request(await read_json(request))
    plan = await quote_video(services_of(request).ordering, user_id, video_request(body))
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
