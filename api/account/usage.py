"""Route of the account's usage in a month: money and videos, held and settled."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from api.auth.authentication import CurrentUser
from api.http.openapi import problems
from api.http.schemas import QueryParameters, ResponseBody, Time, Usd
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.money import usd_text
from core.domain.months import Measure, next_month
from core.store.money.reports.usage import Usage, get_usage

_MONTH = r"^20[0-9]{2}-(0[1-9]|1[0-2])$"

router = APIRouter(prefix="/api", tags=["usage"])


class UsageQuery(QueryParameters):
    month: (
        Annotated[
            str,
            Field(pattern=_MONTH, examples=["2026-11"], description="Default: this month, UTC."),
        ]
        | None
    ) = None


class MoneyUsage(ResponseBody):
    """held: reserved for open bills. settled: billed. limit: the present one; null: unlimited.

    left: what may still be held; null without a limit, and for months other than the present one.
    """

    limit: Usd | None
    held: Usd
    settled: Usd
    left: Usd | None


class VideoUsage(ResponseBody):
    """held: videos in progress. settled: completed videos; failed ones do not count."""

    limit: int | None
    held: int
    settled: int
    left: int | None


class DailyUsage(ResponseBody):
    """Usage of requests and retries that were accepted on this day (UTC)."""

    date: date
    held: Usd
    settled: Usd
    videos_held: int
    videos_settled: int


class ModelUsage(ResponseBody):
    """jobs: purchases, including released ones."""

    provider: str
    model: str
    jobs: int
    held: Usd
    settled: Usd


class Threshold(ResponseBody):
    kind: Measure
    percent: int
    reached_at: Time


class MonthUsage(ResponseBody):
    """The usage of a calendar month in UTC.

    Money belongs to the month in which it was held. byDay and byModel add up to usd and videos.
    resetsAt: the start of the next month. mediaSeconds: the processor time of media steps, which
    are free of charge; mediaSecondsLimit: the present limit of it in a month.
    """

    month: str
    resets_at: Time
    currency: Literal["USD"] = "USD"
    usd: MoneyUsage
    videos: VideoUsage
    by_day: list[DailyUsage]
    by_model: list[ModelUsage]
    media_seconds: float
    media_seconds_limit: int | None
    thresholds: list[Threshold]


@router.get(
    "/usage",
    summary="Get usage",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def read_usage(
    request: Request, user_id: CurrentUser, query: Annotated[UsageQuery, Query()]
) -> MonthUsage:
    """Totals, days and models of a month, from one snapshot. Default: the present month."""
    month = None if query.month is None else date.fromisoformat(f"{query.month}-01")
    services = services_of(request)
    async with services.database.reading_as(user_id) as conn:
        usage = await get_usage(conn, user_id, month)
    return usage_answer(usage, media_seconds=services.limits.media_seconds)


def usage_answer(usage: Usage, *, media_seconds: int | None) -> MonthUsage:
    """Return the answer. media_seconds: the limit of users without a limit of their own."""
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
        media_seconds=usage.media_ms / 1000,
        media_seconds_limit=(
            media_seconds if usage.media_seconds_limit is None else usage.media_seconds_limit
        ),
        thresholds=[
            Threshold(
                kind=threshold.measure,
                percent=threshold.percent,
                reached_at=threshold.reached_at,
            )
            for threshold in usage.thresholds
        ],
    )


def _usd(amount_nano_usd: int | None) -> str | None:
    return None if amount_nano_usd is None else usd_text(amount_nano_usd)
