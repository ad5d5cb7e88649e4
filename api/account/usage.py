"""What a user holds and has spent in a month, over HTTP."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import ConfigDict, Field

from api.auth.authentication import CurrentUser
from api.http.openapi import problems
from api.http.schemas import ResponseBody as Wire
from api.http.schemas import Time, Usd
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.money import usd_text
from core.domain.months import Measure, next_month
from core.store.money.usage import Usage, get_usage

_MONTH = r"^20[0-9]{2}-(0[1-9]|1[0-2])$"

router = APIRouter(prefix="/api", tags=["money"])


class UsageQuery(Wire):
    model_config = ConfigDict(extra="forbid")

    month: (
        Annotated[
            str,
            Field(pattern=_MONTH, examples=["2026-11"], description="Default: this month, UTC."),
        ]
        | None
    ) = None


class MoneyUsage(Wire):
    """held: for bills that are still open. settled: billed. limit: as it is now; null: none.

    left: what may still be held; null without a limit, and for another month than this one.
    """

    limit: Usd | None
    held: Usd
    settled: Usd
    left: Usd | None


class VideoUsage(Wire):
    """held: begun. settled: completed; others do not count."""

    limit: int | None
    held: int
    settled: int
    left: int | None


class DailyUsage(Wire):
    """Of what was begun on this day (UTC), by a request or a retry."""

    date: date
    held: Usd
    settled: Usd
    videos_held: int
    videos_settled: int


class ModelUsage(Wire):
    """jobs: purchases, those that were given back included."""

    provider: str
    model: str
    jobs: int
    held: Usd
    settled: Usd


class Threshold(Wire):
    kind: Measure
    percent: int
    reached_at: Time


class MonthUsage(Wire):
    """A calendar month in UTC; money belongs to the month in which it was held. byDay and byModel
    add up to usd and videos. resetsAt: when the next month begins.
    """

    month: str
    resets_at: Time
    currency: Literal["USD"] = "USD"
    usd: MoneyUsage
    videos: VideoUsage
    by_day: list[DailyUsage]
    by_model: list[ModelUsage]
    thresholds: list[Threshold]


@router.get(
    "/usage",
    summary="What a month has used",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def read_usage(
    request: Request, user_id: CurrentUser, query: Annotated[UsageQuery, Query()]
) -> MonthUsage:
    """This month by default, in all, by day and by model: held and settled. As of one moment."""
    month = None if query.month is None else date.fromisoformat(f"{query.month}-01")
    async with services_of(request).database.reading_as(user_id) as conn:
        return usage_answer(await get_usage(conn, user_id, month))


def usage_answer(usage: Usage) -> MonthUsage:
    money, videos = usage.nano_usd, usage.videos
    return MonthUsage(
        month=f"{usage.month:%Y-%m}",
        resets_at=next_month(usage.month),
        usd=MoneyUsage(
            limit=_usd(money.limit),
            held=usd_text(money.held),
            settled=usd_text(money.settled),
            left=_usd(money.left) if usage.is_present else None,
        ),
        videos=VideoUsage(
            limit=videos.limit,
            held=videos.held,
            settled=videos.settled,
            left=videos.left if usage.is_present else None,
        ),
        by_day=[
            DailyUsage(
                date=day.day,
                held=usd_text(day.held_nano_usd),
                settled=usd_text(day.settled_nano_usd),
                videos_held=day.held_videos,
                videos_settled=day.settled_videos,
            )
            for day in usage.days
        ],
        by_model=[
            ModelUsage(
                provider=model.provider,
                model=model.model,
                jobs=model.jobs,
                held=usd_text(model.held_nano_usd),
                settled=usd_text(model.settled_nano_usd),
            )
            for model in usage.models
        ],
        thresholds=[
            Threshold(kind=one.measure, percent=one.percent, reached_at=one.reached_at)
            for one in usage.thresholds
        ],
    )


def _usd(amount_nano_usd: int | None) -> str | None:
    return None if amount_nano_usd is None else usd_text(amount_nano_usd)
